"""Small defects on drawn industrial photographs: `default` beside the training-free methods.

`python -m benchmarks.defects`: washers, fabric and wood of 224×224 pixels, each with its own grain
and light and at its own place. 220 flawless ones train; 60 more and 60 with a scratch, spot, stain
or smear are told apart. All is drawn from a seed, and no setting was chosen on these pictures but
what docs/research.md says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from pyocgan.baselines import BASELINES
from pyocgan.detector import NoveltyDetector
from pyocgan.figures import heat_picture, image_grid, png_bytes
from pyocgan.files import write_bytes
from pyocgan.methods import FPR

from .development import auroc

SIDE = 224  # pixels drawn, and all of them seen
TRAINED, TESTED = 220, 60
DEFECTS = ("scratch", "spot", "stain", "smear")

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
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(45, 83)
    row, column = SIDE / 2 + radius * np.sin(angle), SIDE / 2 + radius * np.cos(angle)

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
    options = parser.parse_args(arguments)
    trained, tested = (20, 8) if options.quick else (TRAINED, TESTED)
    settings = {"epochs": 1, "least_iterations": 1} if options.quick else {}
    print("| pictures | score | AUROC |", *(f" {defect} |" for defect in DEFECTS), sep="")
    print("|---|---|---|", "---|" * len(DEFECTS), sep="")
    shown = []
    for draw in (washer, fabric, grain):
        rng = np.random.default_rng(options.seed)
        X = as_pixels([draw(rng) for _ in range(trained)])
        flawless = as_pixels([draw(rng) for _ in range(tested)])
        kinds = np.resize(DEFECTS, tested)
        spoiled = as_pixels([spoil(draw(rng), str(kind), rng) for kind in kinds])
        tests = np.concatenate([flawless, spoiled])
        detector = NoveltyDetector("default", settings=settings, fpr=FPR, random_state=options.seed)
        for title, scores in _all_scores(detector, X, tests).items():
            print(_row(draw, title, scores, kinds), flush=True)
        shown.append(_with_heat(spoiled[:4], detector.heatmap(spoiled[:4])))
    if options.picture is not None:
        write_bytes(options.picture, png_bytes(image_grid(np.concatenate(shown, 1), cell=96)))


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


def _row(draw: Draw, title: str, scores: NDArray[np.float64], kinds: NDArray[np.str_]) -> str:
    flawless, spoiled = scores[: len(kinds)], scores[len(kinds) :]
    groups = [spoiled, *(spoiled[kinds == kind] for kind in DEFECTS)]
    cells = [f"{auroc(flawless, group):.3f}" for group in groups]
    return " | ".join([f"| {draw.__name__}", title, *cells]) + " |"


if __name__ == "__main__":
    main()
