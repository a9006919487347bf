"""Small defects on large pictures: `default` beside the training-free methods.

`python -m benchmarks.defects`: drawn washers, fabric and wood of 224×224 pixels, each with its own
grain and light and at its own place. 220 flawless ones train; 60 more and 60 with a scratch, spot,
stain or smear are told apart, and their pixels by the heat map. `--pictures retina,cells,stars`:
pieces of scikit-image's photographs, of which the left trains and the right is tested, with such
defects drawn on them. `--faults others` draws what is less like the flaws that P of `pyocgan.flaws`
learns from. All is drawn from a seed, and no setting was chosen on these pictures but what
docs/research.md says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

from pyocgan.baselines import BASELINES
from pyocgan.calibration import ANY_FPR
from pyocgan.detector import NoveltyDetector
from pyocgan.evaluation import pixel_auroc
from pyocgan.figures import heat_picture, image_grid, png_bytes
from pyocgan.files import write_bytes

from .development import auroc

SIDE = 224  # pixels drawn, and all of them seen
TRAINED, TESTED = 220, 60
SEEN = 0.04  # of the range [0, 1]: what a defect changes by less nobody sees
NEAR = 4  # pixels about a defect that count as on it for the hottest pixel
DEFECTS = ("scratch", "spot", "stain", "smear")
OTHERS = ("hole", "flat", "noise", "bulge", "turned", "hair", "shine")

Picture = NDArray[np.float64]  # (SIDE, SIDE, 1 or 3) in [0, 1]
Draw = Callable[[np.random.Generator], Picture]

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def washer(rng: np.random.Generator) -> Picture:
    """A turned metal ring, lit from a side, within three pixels of the middle."""
    y, x = ROWS - SIDE / 2 - rng.uniform(-3, 3), COLUMNS - SIDE / 2 - rng.uniform(-3, 3)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ring = gaussian_filter(((radius > 38) & (radius < 90)).astype(float), 1.2)
    grain = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1) * 0.09
    light = 0.62 + 0.18 * np.cos(angle - rng.uniform(-0.3, 0.3) - 0.8) + 0.03 * np.sin(1.3 * radius)
    grey = 0.12 + ring * (light - 0.12 + grain) + rng.normal(0, 0.02, (SIDE, SIDE))
    metal: Picture = grey[..., None] * np.array([1.0, 0.97, 0.9])
    return metal


def fabric(rng: np.random.Generator) -> Picture:
    """A weave that starts anywhere, with uneven light."""
    across, down = rng.uniform(0, 2 * np.pi, 2)
    threads = np.sign(np.sin(0.55 * COLUMNS + across + 0.15 * np.sin(0.05 * ROWS + down)))
    grey = 0.5 + 0.18 * threads * np.sin(0.55 * ROWS + down)
    grey = gaussian_filter(grey + rng.normal(0, 0.06, (SIDE, SIDE)), 0.7)
    light = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 30) * 2.4
    woven: Picture = (grey * (1 + light))[..., None] * np.array([0.75, 0.8, 1.0])
    return woven


def grain(rng: np.random.Generator) -> Picture:
    """Planed wood: bent rings that lie closer or farther apart, and fibres along them."""
    fibres = gaussian_filter(rng.normal(size=(SIDE, SIDE)), (1.0, 14)) * 1.6
    bend = 6 * np.sin(2 * np.pi * COLUMNS / SIDE * rng.uniform(0.5, 1.5) + rng.uniform(0, 6.28))
    apart = 0.35 * (1 + 0.1 * rng.normal())
    rings = np.sin((ROWS + bend) * apart + rng.uniform(0, 6.28))
    fine = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 0.7) * 0.05
    wood = (0.5 + 0.1 * rings + 0.35 * fibres + fine)[..., None]
    planed: Picture = wood * np.array([1.0, 0.78, 0.55])
    return planed


def spoil(picture: Picture, defect: str, rng: np.random.Generator) -> Picture:
    """Return the picture with a defect of 5 to 30 pixels, on the ring of a washer."""
    row, column = _on_the_ring(rng)

    def blob(low: float, high: float) -> Picture:
        square = (ROWS - row) ** 2 + (COLUMNS - column) ** 2
        round_one: Picture = np.exp(-square / (2 * rng.uniform(low, high) ** 2))[..., None]
        return round_one

    result: Picture
    if defect == "scratch":
        way, length = rng.uniform(0, np.pi), rng.uniform(12, 26)
        t = np.linspace(-length / 2, length / 2, 80)
        line = np.zeros((SIDE, SIDE))
        line[(row + t * np.sin(way)).astype(int), (column + t * np.cos(way)).astype(int)] = 1
        mask = np.clip(gaussian_filter(line, 0.9) * 2.5, 0, 1)[..., None]
        result = picture + rng.choice([-0.3, 0.3]) * mask
    elif defect == "spot":
        result = picture + rng.choice([-0.28, 0.25]) * blob(2.5, 4.5)
    elif defect == "stain":
        result = picture + np.array([0.12, -0.1, -0.1]) * blob(4, 7)
    else:
        smear = blob(6, 9)
        result = picture * (1 - smear) + gaussian_filter(picture, (3, 3, 0)) * smear
    return result


def spoil_otherwise(picture: Picture, fault: str, rng: np.random.Generator) -> Picture:
    """Return the picture with a fault of 10 to 60 pixels, on the ring of a washer."""
    row, column = _on_the_ring(rng)
    radius = rng.uniform(5, 9)
    away = np.hypot(ROWS - row, COLUMNS - column)
    inside = gaussian_filter((away < radius).astype(float), 0.8)[..., None]
    result: Picture
    if fault == "hole":
        result = picture * (1 - inside) + 0.05 * inside
    elif fault == "flat":
        result = picture * (1 - inside) + picture[away < radius].mean(0) * inside
    elif fault == "noise":
        result = picture + inside * rng.normal(0, 0.15, picture.shape)
    elif fault == "bulge":  # twice as large in its middle
        share = 1 - 0.5 * np.exp(-((away / radius) ** 2) / 2)
        places = [row + (ROWS - row) * share, column + (COLUMNS - column) * share]
        bands = [map_coordinates(band, places, order=1) for band in np.moveaxis(picture, 2, 0)]
        result = np.stack(bands, 2)
    elif fault == "turned":
        to_middle = SIDE // 2 - int(row), SIDE // 2 - int(column)
        turned = np.rot90(np.roll(picture, to_middle, (0, 1)))
        back = np.roll(turned, (-to_middle[0], -to_middle[1]), (0, 1))
        result = picture * (1 - inside) + back * inside
    elif fault == "hair":
        t, bend, way = np.linspace(-30, 30, 300), rng.uniform(-0.02, 0.02), rng.uniform(0, np.pi)
        rows = row + t * np.sin(way) + bend * t**2 * np.cos(way)
        columns = column + t * np.cos(way) - bend * t**2 * np.sin(way)
        line = np.zeros((SIDE, SIDE))
        line[rows.astype(int).clip(0, SIDE - 1), columns.astype(int).clip(0, SIDE - 1)] = 1
        result = picture * (1 - (gaussian_filter(line, 0.6) * 1.2).clip(0, 0.5)[..., None])
    else:
        result = picture + 0.2 * np.exp(-(away**2) / (2 * 14**2))[..., None]
    return result


def _on_the_ring(rng: np.random.Generator) -> tuple[float, float]:
    """Draw the row and column of a place on a washer."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(45, 83)
    return SIDE / 2 + radius * np.sin(angle), SIDE / 2 + radius * np.cos(angle)


@dataclass(frozen=True)
class Task:
    """Learn `train`; tell `normal` from `novel`. Uint8 (N, H, W, K).

    `is_spoiled`, (N, H, W), says which pixels of `novel` a defect changed, where that is known.
    """

    train: NDArray[np.uint8]
    normal: NDArray[np.uint8]
    novel: NDArray[np.uint8]
    is_spoiled: NDArray[np.bool_] | None = None


def task(
    draw: Draw, draw_test: Draw, kinds: Sequence[str], rng: np.random.Generator, trained: int
) -> Task:
    """Draw pictures to train, and for each of the kinds a flawless one and a spoiled one."""
    train = as_pixels([draw(rng) for _ in range(trained)])
    normal = as_pixels([draw_test(rng) for _ in kinds])
    novel, before = [], []
    for kind in kinds:
        before.append(draw_test(rng))
        novel.append(SPOIL[kind](before[-1], kind, rng))
    differences = np.abs(np.clip(novel, 0, 1) - np.clip(before, 0, 1)).max(-1)
    return Task(train, normal, as_pixels(novel), differences > SEEN)


def halves(photograph: Picture) -> tuple[Draw, Draw]:
    """Return what cuts pieces out of a photograph: out of its left, which trains, and its right.

    The right is as wide as a piece: pieces of it differ in height alone.
    """
    height, width, _ = photograph.shape

    def piece(first: int, last: int, rng: np.random.Generator) -> Picture:
        row, column = rng.integers(0, height - SIDE + 1), rng.integers(first, last - SIDE + 1)
        cut: Picture = photograph[row : row + SIDE, column : column + SIDE]
        return cut

    middle = width - SIDE  # nothing right of it trains
    return partial(piece, 0, middle), partial(piece, middle, width)


def retina() -> Picture:
    """The middle of an eye's background."""
    whole: Picture = skimage.data.retina()[400:1000, 400:1100] / 255  # type: ignore[no-untyped-call]
    return whole


def cells() -> Picture:
    """A stained section of tissue."""
    whole: Picture = skimage.data.immunohistochemistry() / 255  # type: ignore[no-untyped-call]
    return whole


def stars() -> Picture:
    """A part of the Hubble deep field."""
    whole: Picture = skimage.data.hubble_deep_field()[:512, :700] / 255  # type: ignore[no-untyped-call]
    return whole


DRAWN: dict[str, Draw] = {"washer": washer, "fabric": fabric, "grain": grain}
PHOTOGRAPHS: dict[str, Callable[[], Picture]] = {"retina": retina, "cells": cells, "stars": stars}
SPOIL: dict[str, Callable[[Picture, str, np.random.Generator], Picture]] = {
    **dict.fromkeys(DEFECTS, spoil),
    **dict.fromkeys(OTHERS, spoil_otherwise),
}


def as_pixels(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """Return pictures as a camera gives them: (N, SIDE, SIDE, K)."""
    return (np.clip(np.stack(pictures), 0, 1) * 255).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, fit and print a table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defects", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="few pictures, one epoch: does it run?"
    )
    parser.add_argument(
        "--picture", type=Path, help="draw some defects there, and where they were found"
    )
    parser.add_argument("--pictures", default=",".join(DRAWN), help="or retina, cells, stars")
    parser.add_argument("--faults", choices=("usual", "others"), default="usual")
    options = parser.parse_args(arguments)
    trained, tested = (20, 8) if options.quick else (TRAINED, TESTED)
    settings = {"epochs": 1, "least_iterations": 1, "flaw_steps": 1} if options.quick else {}
    faults = DEFECTS if options.faults == "usual" else OTHERS
    kinds = np.resize(faults, tested)
    print("| pictures | score | AUROC |", *(f" {fault} |" for fault in faults), sep="")
    print("|---|---|---|", "---|" * len(faults), sep="")
    shown, places = [], []
    for name in options.pictures.split(","):
        rng = np.random.default_rng(options.seed)
        found = task(*_pair(name), kinds.tolist(), rng, trained)
        tests = np.concatenate([found.normal, found.novel])
        detector = NoveltyDetector(
            "default", settings=settings, fpr=ANY_FPR, random_state=options.seed
        )
        for title, scores in _all_scores(detector, found.train, tests).items():
            print(_row(name, title, scores, kinds, faults), flush=True)
        heat = detector.heatmap(tests)
        places.append(f"- {name}: {where(heat, found)}")
        shown.append(_with_heat(found.novel[:4], heat[tested:][:4]))
    print("", "Where, by the heat map (AUROC over the pixels of all tested pictures):", sep="\n")
    print(*places, sep="\n")
    if options.picture is not None:
        write_bytes(options.picture, png_bytes(image_grid(np.concatenate(shown, 1), cell=96)))


def _pair(name: str) -> tuple[Draw, Draw]:
    """Return what draws pictures of a name, to train and to test."""
    return (DRAWN[name],) * 2 if name in DRAWN else halves(PHOTOGRAPHS[name]())


def where(heat: NDArray[np.float32], found: Task) -> str:
    """Say how well heat maps, of flawless pictures and then of others, show what is spoiled."""
    assert found.is_spoiled is not None
    flawless, spoiled = np.split(heat, [len(found.normal)])
    hottest = spoiled.reshape(len(spoiled), -1).argmax(1)
    near = [binary_dilation(mask, iterations=NEAR).flat[at] for mask, at in
            zip(found.is_spoiled, hottest, strict=True)]  # fmt: skip
    figure = pixel_auroc(heat, np.concatenate([np.zeros(flawless.shape, bool), found.is_spoiled]))
    return f"pixels {figure:.3f}, the hottest on or by the defect in {sum(near)} of {len(near)}"


def _all_scores(
    detector: NoveltyDetector, X: NDArray[np.uint8], tests: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    started = time.perf_counter()
    parts = detector.fit(X).score_parts(tests)
    title = f"**default** ({time.perf_counter() - started:.0f} s)"
    found = {title: np.sum(list(parts.values()), axis=0), **parts}
    return found | {name: make().fit(X).novelty_scores(tests) for name, make in BASELINES.values()}


def _with_heat(images: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return images, and below each itself under its heat map: (2, n, H, W, 3)."""
    pairs = zip(images, heat, strict=True)
    glowing = [np.asarray(heat_picture(Image.fromarray(image), own)) for image, own in pairs]
    return np.stack([images, np.stack(glowing)])


def _row(
    name: str,
    title: str,
    scores: NDArray[np.float64],
    kinds: NDArray[np.str_],
    faults: Sequence[str],
) -> str:
    flawless, spoiled = scores[: len(kinds)], scores[len(kinds) :]
    groups = [spoiled, *(spoiled[kinds == fault] for fault in faults)]
    cells = [f"{auroc(flawless, group):.3f}" for group in groups]
    return " | ".join([f"| {name}", title, *cells]) + " |"


if __name__ == "__main__":
    main()
