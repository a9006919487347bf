"""Images that no setting was chosen on: `default` beside the training-free methods.

`python -m benchmarks.unseen`: faces of 25×25 pixels among other pieces of photographs, and small
defects drawn on photographs of bricks, grass and gravel, all from scikit-image. With `--fonts
FOLDER --letters אבגד` the letters of a script as well, printed, turned and bent a little: a
detector learns one letter in two thirds of the folder's families of fonts and meets all of them in
the others. Mean and deviation over seeds, which draw the split, the crops and the defects.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pyocgan.baselines import BASELINES
from pyocgan.calibration import ANY_FPR
from pyocgan.detector import NoveltyDetector
from pyocgan.figures import image_grid, png_bytes
from pyocgan.files import write_bytes

from .defects import TESTED, TRAINED, Task, halves, task
from .development import auroc, head

MATERIALS = ("brick", "grass", "gravel")
GREY_DEFECTS = ("scratch", "spot", "smear")
LETTER, CANVAS = 28, 84  # pixels of a letter's image, and of the canvas it is printed on
PRINTS = 4  # of a letter in a font
SHOWN = 64  # pixels of an image in the picture

Pixels = NDArray[np.uint8]  # (N, H, W, 1)


def faces(rng: np.random.Generator) -> Task:
    """100 faces (75 of them to train) and 100 other pieces of the photographs (LFW)."""
    lfw = skimage.data.lfw_subset()  # type: ignore[no-untyped-call]
    pieces = (lfw[..., None] * 255).astype(np.uint8)
    drawn = pieces[rng.permutation(100)]
    return Task(drawn[:75], drawn[75:], pieces[100:])


def material(name: str, rng: np.random.Generator, trained: int, tested: int) -> Task:
    """Pieces of 224×224 of a photograph: the left of it trains, the right is flawless or not."""
    photograph = getattr(skimage.data, name)()[..., None] / 255
    return task(*halves(photograph), np.resize(GREY_DEFECTS, tested).tolist(), rng, trained)


def letters(fonts: Path, wanted: str, rng: np.random.Generator) -> Iterator[Task]:
    """One task a letter: novel are the other letters, in families of fonts that none trained on."""
    files = sorted(path for path in fonts.iterdir() if path.suffix.lower() in (".ttf", ".otf"))
    family = {path: path.stem.partition("-")[0] for path in files}
    families = sorted(set(family.values()))
    held_out = set(rng.permutation(families)[: len(families) // 3])
    known = [path for path in files if family[path] not in held_out]
    others = [path for path in files if family[path] in held_out]
    seen = {letter: printed(letter, known, rng) for letter in wanted}
    unseen = {letter: printed(letter, others, rng) for letter in wanted}
    for letter in wanted:
        novel = np.concatenate([unseen[other] for other in wanted if other != letter])
        yield Task(seen[letter], unseen[letter], novel)


def printed(letter: str, fonts: Sequence[Path], rng: np.random.Generator) -> Pixels:
    """Print a letter in each font, white on black: (PRINTS·fonts, LETTER, LETTER, 1)."""
    images = []
    for path in fonts:
        font = ImageFont.truetype(str(path), 3 * CANVAS // 4)
        for _ in range(PRINTS):
            canvas = Image.new("L", (CANVAS, CANVAS))
            middle = CANVAS / 2
            left, top, right, bottom = font.getbbox(letter)
            corner = (middle - (left + right) / 2, middle - (top + bottom) / 2)
            ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=font)
            angle, shear = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.2, 0.2)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            bend = turn @ np.array([[1, shear], [0, 1]]) * rng.uniform(0.9, 1.2, (2, 1))
            offset = middle - bend @ np.full(2, middle) + rng.uniform(-4, 4, 2)
            rows = np.column_stack([bend, offset]).ravel().tolist()
            moved = canvas.transform(
                canvas.size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR
            )
            images.append(np.asarray(moved.resize((LETTER, LETTER), Image.Resampling.BOX)))
    return np.stack(images)[..., None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, and print a table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unseen", description=__doc__)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--fonts", type=Path, help="a folder of fonts (.ttf, .otf)")
    parser.add_argument("--letters", default="", help="letters that all of these fonts have")
    parser.add_argument("--only-letters", action="store_true", help="no faces, no materials")
    parser.add_argument(
        "--quick", action="store_true", help="few pictures, one epoch: does it run?"
    )
    parser.add_argument("--picture", type=Path, help="draw some images of each kind there")
    options = parser.parse_args(arguments)
    settings = {"epochs": 1, "least_iterations": 1, "flaw_steps": 1} if options.quick else {}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    titles = ["images", "default", *(title for title, _ in BASELINES.values())]
    print(*head(titles, len(titles)), sep="\n")
    shown = []
    for kind in _kinds(options):
        found = []
        for seed in seeds:
            tasks = _tasks(kind, options, np.random.default_rng(seed))
            found.append(np.mean([_measure(task, settings, seed) for task in tasks], axis=0))
        print(_row(kind, np.array(found)), flush=True)
        shown += [_some(tasks[0].normal), _some(tasks[0].novel)]
    if options.picture is not None:
        write_bytes(options.picture, png_bytes(image_grid(np.stack(shown), cell=SHOWN)))


def _kinds(options: argparse.Namespace) -> list[str]:
    kinds = [] if options.only_letters else ["faces", *MATERIALS]
    return kinds + (["letters"] if options.fonts else [])


def _tasks(kind: str, options: argparse.Namespace, rng: np.random.Generator) -> list[Task]:
    if kind == "faces":
        return [faces(rng)]
    if kind == "letters":
        return list(letters(options.fonts, options.letters, rng))
    return [material(kind, rng, *((20, 9) if options.quick else (TRAINED, TESTED)))]


def _some(images: Pixels, count: int = 9) -> Pixels:
    """Return some of the images at one size: (count, SHOWN, SHOWN, 1)."""
    some = [Image.fromarray(x[..., 0]) for x in images[:: len(images) // count][:count]]
    return np.stack([np.asarray(image.resize((SHOWN, SHOWN)))[..., None] for image in some])


def _measure(task: Task, settings: dict[str, int], seed: int) -> list[float]:
    """Return the AUROC of `default` and of each method without training."""
    default = NoveltyDetector("default", settings=settings, fpr=ANY_FPR, random_state=seed)
    detectors = [default, *(make() for _, make in BASELINES.values())]
    tests = np.concatenate([task.normal, task.novel])
    scores = [detector.fit(task.train).novelty_scores(tests) for detector in detectors]
    return [auroc(score[: len(task.normal)], score[len(task.normal) :]) for score in scores]


def _row(kind: str, found: NDArray[np.float64]) -> str:
    cells = [
        f"{mean:.4f} ± {deviation:.4f}"
        for mean, deviation in zip(found.mean(0), found.std(0, ddof=len(found) > 1), strict=True)
    ]
    return " | ".join([f"| {kind}", *cells]) + " |"


if __name__ == "__main__":
    main()
