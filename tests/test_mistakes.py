"""Wrong images among those to be learned: found by models that have not seen them."""

from __future__ import annotations

import csv
import inspect
import io
import json
import re
from functools import partial
from importlib import import_module
from typing import get_args

import numpy as np
import pytest
import yaml
from PIL import Image

import pyocgan
from conftest import TINY, tiny
from pyocgan import figures
from pyocgan.baselines import BASELINES
from pyocgan.cli.suspects import Method, suspects
from pyocgan.data import open_source, read_inferred
from pyocgan.errors import InputError, UsageError
from pyocgan.mistakes import PARTS, judged, unfitted

WRONG = 4
NEIGHBOURS = {"scores": "neighbours", "epochs": 1}  # which need no training to tell


@pytest.fixture(scope="module")
def mixed(digits, tmp_path_factory):
    """A folder of 60 eights and 4 images of noise, white at a corner where no 8 is."""
    images, labels = digits
    folder = tmp_path_factory.mktemp("mixed")
    eights = images[labels == 8][:60]
    wrong = np.random.default_rng(0).integers(0, 256, (WRONG, 8, 8), np.uint8)
    wrong[:, :2, :2] = 255
    for number, pixels in enumerate(np.concatenate([eights, wrong])):
        Image.fromarray(pixels).save(folder / f"{number}{'_wrong' * (number >= 60)}.png")
    return folder


def images_in(folder):
    return read_inferred(open_source(folder))[2]


def test_wrong_images_come_first(mixed):
    names, scores = pyocgan.suspicion(tiny(settings=NEIGHBOURS), mixed, parts=3)
    assert names == open_source(mixed).names
    assert scores.shape == (64,)
    first = [names[row] for row in np.argsort(-scores)[:WRONG]]
    assert all("wrong" in name for name in first)


def test_each_image_is_judged_once_by_a_model_that_has_not_seen_it(mixed, monkeypatch):
    images, learned = images_in(mixed), []
    fit = pyocgan.NoveltyDetector.fit

    def watched(self, pixels):
        learned.append({one.tobytes() for one in pixels})
        return fit(self, pixels)

    monkeypatch.setattr(pyocgan.NoveltyDetector, "fit", watched)
    detector = tiny(fpr=0.001)  # out of reach of so few, and not needed
    parts = list(judged(partial(unfitted, detector), images, 4, 0))
    assert sorted(np.concatenate([rows for rows, _ in parts])) == list(range(64))
    for (rows, scores), known in zip(parts, learned, strict=True):
        assert len(rows) == len(scores) == 16
        assert len(known) == 48
        assert known.isdisjoint(one.tobytes() for one in images.pixels[rows])
    assert not hasattr(detector, "calibration_")


def test_copies_do_not_vouch_for_each_other(mixed):
    images = images_in(mixed)
    twice = np.concatenate([images.pixels, images.pixels[-WRONG:]])
    for rows, _ in judged(tiny, read_inferred(open_source(twice))[2], 4, 0):
        assert [64 + place in rows for place in range(WRONG)] == [
            60 + place in rows for place in range(WRONG)
        ]


@pytest.mark.parametrize("parts", [1, 65, -2, 2.5, "3"])
def test_parts_that_cannot_be_dealt_are_refused(mixed, parts):
    expected = re.escape(f"parts = {parts!r} must be from 2 to 64, the number of different images")
    with pytest.raises(UsageError, match=expected):
        pyocgan.suspicion(tiny(), mixed, parts=parts)


def test_every_image_may_be_a_part_of_its_own_whatever_the_seed(mixed):
    dealt = list(judged(BASELINES["knn"][1], images_in(mixed), 64, 5_000_000_000))
    assert sorted(int(row) for rows, _ in dealt for row in rows) == list(range(64))
    assert len(dealt) == 64


def test_too_few_images_are_refused(eights):
    with pytest.raises(InputError, match="cannot be calibrated"):
        pyocgan.suspicion(tiny(), eights[:4], parts=2)


def test_the_command_lists_and_draws_the_most_suspicious_first(command, mixed, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY | NEIGHBOURS))
    flags = ("--parts=3", f"--config={config}", "--preset=fast", "--picture", tmp_path / "s.png")
    code, out, errors = command("data", "suspects", mixed, *flags)
    assert code == 0, errors
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 64
    assert {row["path"] for row in rows[:WRONG]} == {str(p) for p in mixed.glob("*wrong*")}
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert errors[0] == "looking at folder of 64 images"
    assert errors[-1] == "part 3 of 3: 21 images judged"
    with Image.open(tmp_path / "s.png") as picture:
        below = 2 * figures.CAPTION
        assert picture.width / (picture.height - 5 * below) == pytest.approx(8 / 5, rel=0.02)
        bright = np.asarray(picture.convert("L"))
    assert bright[5, 5] > 128 > bright[-below - 5, -5], "noise comes first, the last is an 8"
    assert bright[-below:, -200:].min() < 50, "its place and its score stand below"


def test_where_the_picture_cannot_be_drawn_nothing_is_trained(command, mixed, tmp_path):
    code, out, errors = command("data", "suspects", mixed, "--picture", tmp_path / "odd.jpg")
    assert (code, out) == (2, "")
    assert "odd.jpg' must end in .png" in errors[-1]
    (tmp_path / "a.png").mkdir()
    code, out, errors = command("data", "suspects", mixed, "--picture", tmp_path / "a.png")
    assert (code, out) == (1, "")
    assert errors[-1].endswith("it is there and is no plain file")
    for name, reason in (("0.png", "is read here"), ("odd.png", "is in")):
        code, out, errors = command("data", "suspects", mixed, "--picture", mixed / name)
        assert (code, out) == (2, "")
        assert reason in errors[-1]


def test_the_picture_is_drawn_though_nobody_reads_the_list(command, mixed, tmp_path, monkeypatch):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr(import_module("pyocgan.cli.terminal"), "CsvWriter", closed)
    flags = ("--method=knn", "--picture", tmp_path / "s.png")
    assert command("data", "suspects", mixed, *flags)[0] == 141
    assert (tmp_path / "s.png").exists()


def test_methods_without_training_find_them_too(command, mixed):
    flags = ("--parts=3", "--method=knn_gradients")
    code, out, errors = command("data", "suspects", mixed, *flags)
    assert code == 0, errors
    first = [row["path"] for row in csv.DictReader(io.StringIO(out))][:WRONG]
    assert {*first} == {str(path) for path in mixed.glob("*wrong*")}
    _, lines, _ = command("data", "suspects", mixed, *flags, "--json")
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["path"] for row in rows[:WRONG]] == first
    assert all(set(row) == {"path", "score"} for row in rows)
    assert len(rows) == 64


def test_command_and_library_deal_out_alike():
    assert inspect.signature(suspects).parameters["parts"].default == PARTS
    assert get_args(Method) == ("ocgan", *BASELINES)


def test_a_generator_of_seeds_stays_where_it_is(mixed):
    state = np.random.RandomState(0)
    pyocgan.suspicion(tiny(settings=NEIGHBOURS, random_state=state), mixed, parts=2)
    assert state.randint(2**31) == np.random.RandomState(0).randint(2**31)


def test_one_different_image_cannot_be_compared():
    images = read_inferred(open_source(np.zeros((3, 8, 8), np.uint8)))[2]
    with pytest.raises(InputError, match="3 images, all alike: there is nothing to compare"):
        next(judged(BASELINES["knn"][1], images, 5, 0))
