"""Shared fixtures: small images from scikit-learn's digits, and a tiny fitted model of the 8s."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

os.environ["OMP_NUM_THREADS"] = "1"  # also for the commands that tests start

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from pyocgan.cli import run
from pyocgan.detector import NoveltyDetector

torch.set_num_threads(1)

TINY = {
    "autoencoder_width": 4,
    "classifier_width": 4,
    "visual_width": 4,
    "latent_size": 4,
    "epochs": 2,
    "batch_size": 32,
    # The whole method with the paper's score, whatever the preset has.
    "stage": "+mining",
    "scores": "error",
    "reconstruction_weight": 10.0,
    "gradient_weight": 0.0,
    "least_iterations": 1,
    "learning_rate": 2e-4,
}


def tiny_flags(**changes):
    return [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | changes).items()]


def tiny(**parameters):
    settings = TINY | parameters.pop("settings", {})
    return NoveltyDetector(settings=settings, **{"fpr": 0.1, "device": "cpu"} | parameters)


def ocgan(*arguments, **options):
    """Start the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pyocgan", *map(str, arguments)],
        **{"capture_output": True, "text": True, "timeout": 120} | options,
    )


@contextmanager
def started(*command, **options):
    """Start Python with a command in a process that ends with the block, whatever happens in it."""
    with subprocess.Popen([sys.executable, *map(str, command)], **options) as process:
        try:
            yield process
        finally:
            process.terminate()  # of a grid, its workers too


@pytest.fixture(scope="session")
def digits():
    """All digits: uint8 (1797, 8, 8) and their labels."""
    data = load_digits()
    return np.round(data.images * 255 / 16).astype(np.uint8), data.target


@pytest.fixture(scope="session")
def eights(digits):
    images, labels = digits
    return images[labels == 8][:120]


@pytest.fixture(scope="session")
def others(digits):
    images, labels = digits
    return images[labels != 8][:150]


@pytest.fixture(scope="session")
def detector(eights):
    """A tiny fitted detector; tests must not change it."""
    return tiny().fit(eights)


@pytest.fixture(scope="session")
def model(detector, tmp_path_factory):
    """The folder of `detector`; tests must not change it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    detector.save(folder)
    return folder


@pytest.fixture
def command(capsys):
    """Run the command in this process: (exit code, standard output, lines of standard error)."""

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return call


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """Keep the caller's OCGAN_ variables out, but for the place of the data."""
    for name in os.environ:
        if name.startswith("OCGAN_") and name != "OCGAN_DATA_ROOT":
            monkeypatch.delenv(name)


def weave(n, rng):
    """Fabric at a random place: uint8 (n, 64, 64)."""
    at = rng.uniform(0, 6, (2, n, 1, 1))
    rows, columns = np.mgrid[:64, :64]
    fabric = np.sin(0.9 * rows + at[0]) * np.sin(0.9 * columns + at[1])
    return np.uint8(127 + 60 * fabric + rng.normal(0, 4, (n, 64, 64)))


def draw_spots(images, places, side, grey):
    """Draw a square on each image, its corner at (row, column)."""
    for image, (row, column) in zip(images, places, strict=True):
        image[row : row + side, column : column + side] = grey


def hottest(heat):
    """Row and column of the hottest pixel of each heat map: (n, 2)."""
    return np.array([np.unravel_index(one.argmax(), one.shape) for one in heat])
