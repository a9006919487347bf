"""Scoring from end to end, against nothing but the networks' forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pyocgan import NoveltyDetector
from pyocgan.data import open_source, read
from pyocgan.networks import Networks
from pyocgan.scoring import device_of, exactly

from .timing import Timings, alternate
from .work import Scale

BATCH = 256
BARE, BARE_LAST = "bare forward pass", "bare forward pass, channels last"
BARE_WHOLE = "bare forward pass, channels last, no TF32"  # as we score on a GPU
ARRAY, FOLDER, DECODER = "ours, uint8 array", "ours, folder of PNG files", "decoding alone"


def fitted(scale: Scale) -> NoveltyDetector:
    """A detector of the scale's networks after two steps of an auto-encoder."""
    settings = scale.config().to_dict() | {"stage": "ae", "epochs": 1, "batch_size": 16}
    detector = NoveltyDetector("paper", settings=settings, fpr=0.5, device=scale.device)
    return detector.fit(scale.images(48))


def compare(scale: Scale, device: torch.device) -> tuple[Timings, int]:
    """Time both bare passes, an array and a folder; the timings, and images for each."""
    detector, images = fitted(scale), scale.images(scale.scored)
    plain, last = _contiguous(detector, scale), detector.networks_
    x = torch.rand(BATCH, scale.channels, *detector.rule_.image_size, device=device) * 2 - 1
    x_last = x.to(memory_format=torch.channels_last)
    batches = len(images) // BATCH
    forward_last = partial(_forward, last, x_last, batches)
    with folder_of(images) as folder:
        source = open_source(folder)
        cases: dict[str, Callable[[], object]] = {
            BARE: partial(_forward, plain, x, batches),
            BARE_LAST: forward_last,
            **({BARE_WHOLE: exactly(forward_last)} if device.type == "cuda" else {}),
            ARRAY: partial(detector.novelty_scores, images),
            FOLDER: partial(detector.novelty_scores, folder),
            DECODER: partial(read, source, detector.rule_),
        }
        return alternate(cases, device, budget=scale.budget), len(images)


def by_number(scale: Scale, device: torch.device, counts: Mapping[str, int]) -> Timings:
    """Time scoring as the number of images grows."""
    detector = fitted(scale)
    cases = {
        name: partial(detector.novelty_scores, scale.images(count))
        for name, count in counts.items()
    }
    return alternate(cases, device, budget=scale.budget / 4)


@torch.no_grad()
def _forward(nets: Networks, x: torch.Tensor, batches: int) -> None:
    for _ in range(batches):
        nets.De(nets.En(x))


def _contiguous(detector: NoveltyDetector, scale: Scale) -> Networks:
    """The detector's networks as one builds them: contiguous."""
    nets = Networks(detector.config_, scale.channels, detector.rule_.image_size)
    nets.load_state_dict(detector.networks_.state_dict())
    return nets.to(device_of(detector.networks_)).eval()


@contextmanager
def folder_of(images: NDArray[np.uint8]) -> Iterator[Path]:
    """Write images into a folder of PNG files, for as long as the block lasts."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for index, pixels in enumerate(images):
            Image.fromarray(pixels.squeeze()).save(folder / f"{index:06}.png")
        yield folder
