"""The test images that a method judged best and worst, read from the data themselves.

Result files hold the number, label and score of every image, not the image. Where the data cannot
be opened, or are not those tested, a line says so and no image is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..benchmark.results import read_scores
from ..data import ImageRule, Images, open_source, read
from ..data.rule import picture
from ..errors import InputError, OcganError
from ..figures import png_bytes
from ..pages import data_uri
from ..tasks import TESTED_PART
from .tables import MOST_COLUMNS, Paths, Row, Table

EACH = 4  # images of each kind
MOST_CLASSES = 6  # where there are too many classes: those of the lowest AUROC

KINDS = (
    "in class, surely taken so",
    "novel, surely found",
    "in class, taken for novel",
    "novel, taken for in class",
)


@dataclass(frozen=True)
class Example:
    """One image: a PNG as data URI, its size in pixels, and what is known of it."""

    uri: str
    width: int
    height: int
    text: str


@dataclass(frozen=True)
class ClassExamples:
    """The images of one class: `EACH` of each of the `KINDS`."""

    name: str
    kinds: tuple[tuple[str, tuple[Example, ...]], ...]


@dataclass(frozen=True)
class Gallery:
    """What is shown of one table: for one method the images, or the reason why there are none."""

    method: str
    seed: int
    classes: tuple[ClassExamples, ...]
    missing: str = ""


def gallery(table: Table, row: Row, paths: Paths, data_root: Path) -> Gallery:
    """Read the images that `row` judged best and worst with its first seed.

    Parameters
    ----------
    paths
        The row's result files, by class and seed.
    data_root
        Where named data sets lie.
    """
    seed = row.seeds[0]
    try:
        images = _tested(table, row, data_root)
        names = _chosen_classes(row)
        shown = tuple(_of_class(images, name, paths[name, seed]) for name in names)
    except OcganError as error:
        return Gallery(row.title, seed, (), f"the images cannot be shown: {error}")
    return Gallery(row.title, seed, shown)


def _tested(table: Table, row: Row, data_root: Path) -> Images:
    """Read the images of which some were tested, as methods saw them.

    Raises
    ------
    InputError
        They are not there, or are others.
    """
    recorded, part = row.data["source"], TESTED_PART[table.protocol]
    source = open_source(recorded, split=part, data_root=data_root)
    rule = ImageRule.from_dict(row.data["rule"])
    images = read(source, rule)
    if images.labels is None or images.fingerprint() != row.data["checksum"].get(part):
        raise InputError(
            f"{source.description}, {rule.describe()}, has other pixels than were tested "
            f"({row.data['description']})"
        )
    return images


def _check_same(images: Images, scores: Mapping[str, NDArray[Any]], path: Path) -> None:
    index = scores["index"]
    if not len(index) or index.max() >= len(images):
        raise InputError(f"{str(path)!r} is of other images")
    if not np.array_equal(np.asarray(images.labels)[index], scores["label"]):
        raise InputError(f"{str(path)!r} is of images with other labels")


def _chosen_classes(row: Row) -> list[str]:
    if len(row.classes) <= MOST_COLUMNS:
        return list(row.classes)
    return sorted(row.classes, key=lambda name: fmean(row.values(name)))[:MOST_CLASSES]


def _of_class(images: Images, name: str, path: Path) -> ClassExamples:
    scores = read_scores(path)
    _check_same(images, scores, path)
    kinds = tuple(
        (kind, tuple(_example(images, scores, place) for place in places))
        for kind, places in zip(KINDS, chosen_places(scores), strict=True)
    )
    return ClassExamples(name, kinds)


def chosen_places(scores: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.intp], ...]:
    """Return the places of the images of each of the `KINDS`, the clearest first."""
    order = np.lexsort((scores["index"], scores["score"]))
    novel = scores["is_novel"][order]
    inside, outside = order[~novel], order[novel]
    return inside[:EACH], outside[::-1][:EACH], inside[::-1][:EACH], outside[:EACH]


def _example(images: Images, scores: Mapping[str, NDArray[Any]], place: int) -> Example:
    index, label = int(scores["index"][place]), str(scores["label"][place])
    shown = picture(images.pixels[index])
    text = f"class {label}, image {index}, score {scores['score'][place]:.4g}"
    return Example(data_uri(png_bytes(shown)), shown.width, shown.height, text)
