"""`ocgan data suspects`: wrong images among those that are to be learned."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data import Images, dark_note
from ..errors import UsageError
from ..files import check_replaceable, write_bytes
from ..tasks import Task
from . import terminal
from .flags import (
    AsJson,
    DataRoot,
    Device,
    NormalClass,
    Precision,
    Seed,
    SkipUnreadable,
    Whole,
)
from .guards import check_outside, check_unread
from .settings import Preset, settings_from

Method = Literal["ocgan", "knn", "knn_cosine", "knn_gradients", "pca"]  # those of `BASELINES`
ROWS, COLUMNS = 5, 8  # of images in the picture
SIDE = 96  # pixels that an image is enlarged to there


def suspects(
    source: str,
    /,
    *,
    normal_class: NormalClass = None,
    parts: Whole = 5,
    method: Method = "ocgan",
    picture: Path | None = None,
    data_root: DataRoot = None,
    preset: Preset = "default",
    config: Path | None = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Rank images by how unlike the others they are, to find wrong ones before training.

    A model knows its own images too well to find mistakes among them. So the images are dealt out
    to several parts, and each part is judged by a model that learned the other parts; nothing is
    kept of these models. Prints path and score, the most suspicious image first.

    Parameters
    ----------
    source
        A folder, file or name, as for `ocgan train`.
    normal_class
        The class to look at, where the source has classes. Without it, all images.
    parts
        How many; as many models are trained.
    method
        ocgan; or a method without training, which takes seconds: nearest neighbours (on oriented
        gradients the best of them), or principal components.
    picture
        Draw the first 40 there (PNG), each above its place in the list and its score.
    preset
        As for `ocgan train`.
    config
        A YAML file of settings.
    seed
        Of the dealing into parts and of the models.
    as_json
        Print JSON, one object a line, instead of CSV.
    """
    from ..baselines import BASELINES
    from ..detector import NoveltyDetector
    from ..mistakes import judged, unfitted

    if picture is not None and picture.suffix.lower() != ".png":
        raise UsageError(f"--picture {str(picture)!r} must end in .png, for such it is")
    root = None if data_root is None else str(data_root)
    images = Task(source, normal_class, data_root=root).training_images()
    detector = NoveltyDetector(
        preset,
        settings=settings_from(config, None),
        random_state=seed,
        device=device,
        precision=precision,
        skip_unreadable=skip_unreadable,
    )
    if picture is not None:
        check_unread("--picture", picture, [source, *images.files])
        check_outside("--picture", picture, [source])
        check_replaceable(picture)
    terminal.note(f"looking at {images.description}")
    rule, notes, read = detector.images_to_learn(images.with_paths())
    terminal.note(*terminal.left_out(read.skipped))
    terminal.note(f"images are {rule.describe()}", *notes, *dark_note(read))
    scores = np.empty(len(read))
    make = partial(unfitted, detector) if method == "ocgan" else BASELINES[method][1]
    ends = judged(make, read, parts, seed)
    for number, (rows, found) in enumerate(ends, 1):
        scores[rows] = found
        terminal.note(f"part {number} of {parts}: {len(rows)} images judged")
    order = np.argsort(-scores, kind="stable")
    if picture is not None:  # before what a reader such as head may cut off
        _draw(picture, read, order, scores)
    write = terminal.row_writer(sys.stdout, ("path", "score"), as_json=as_json)
    for row in order:
        write((read.names[row], float(scores[row])))


def _draw(path: Path, images: Images, order: NDArray[np.intp], scores: NDArray[np.float64]) -> None:
    """Draw the first images of an order, row by row, above their places in it and their scores.

    The rest of the last row stays empty.
    """
    from ..figures import image_grid, png_bytes

    first = images.pixels[order[: ROWS * COLUMNS]]
    columns = min(COLUMNS, len(first))
    missing = -len(first) % columns
    blank = np.full((missing, *first.shape[1:]), 255, np.uint8)
    tiles = np.concatenate([first, blank]).reshape(-1, columns, *first.shape[1:])
    captions = [f"{n}: {scores[row]:#.3g}" for n, row in enumerate(order[: len(first)], 1)]
    write_bytes(path, png_bytes(image_grid(tiles, cell=SIDE, captions=captions)))
