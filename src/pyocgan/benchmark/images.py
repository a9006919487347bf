"""A data set read once, and what one cell trains and tests of it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import (
    NAMED,
    ImageRule,
    Images,
    Source,
    UnreadableImage,
    infer_rule,
    open_parts,
    open_source,
    protocol_1,
    protocol_2,
    read,
)
from ..data.inferring import fitting_notes
from ..data.named import find_named, named_in_folder
from ..errors import InputError, UsageError
from ..files import expanded
from ..tasks import TESTED_PART, Protocol
from .results import Seen


@dataclass(frozen=True, eq=False)
class Trial:
    """The images of one cell: rows of arrays that all cells share.

    Parameters
    ----------
    train, test
        (N, H, W, K) uint8 and labels of all images; of protocol 1 the same.
    train_rows, test_rows
        (n,) and (m,) indices of the images that this cell trains and tests on.
    test_index
        (m,) the numbers of the tested images in the data set's part: `test_rows`, until `cut`.
    is_novel
        (m,) bool, the truth about the tested images.
    classes
        All class names.
    """

    train: Images
    test: Images
    train_rows: NDArray[np.intp]
    test_rows: NDArray[np.intp]
    test_index: NDArray[np.intp]
    is_novel: NDArray[np.bool_]
    classes: tuple[str, ...]

    @property
    def train_pixels(self) -> NDArray[np.uint8]:
        """(n, H, W, K) uint8: images of the normal class only."""
        return self.train.pixels[self.train_rows]

    @property
    def test_pixels(self) -> NDArray[np.uint8]:
        """(m, H, W, K) uint8."""
        return self.test.pixels[self.test_rows]

    @property
    def test_labels(self) -> NDArray[np.str_]:
        """(m,) class names."""
        return _labels(self.test)[self.test_rows]

    def cut(self) -> Trial:
        """Return the same trial with its own images only, to be sent to another process."""
        n, m = len(self.train_rows), len(self.test_rows)
        whole = m == len(self.test) and bool((self.test_rows == np.arange(m)).all())
        return replace(
            self,
            train=_part(self.train, self.train_rows),
            test=self.test if whole else _part(self.test, self.test_rows),
            train_rows=np.arange(n),
            test_rows=np.arange(m),
        )

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of the images that train and of those tested."""
        return {
            "train": _part(self.train, self.train_rows).fingerprint(),
            "test": _part(self.test, self.test_rows).fingerprint(),
        }


@dataclass(frozen=True, eq=False)
class Pool:
    """All images of a data set under a protocol, in memory.

    Parameters
    ----------
    given
        Path or name, as it was given.
    name
        For paths and tables: of the data set, or of the folder or file.
    protocol
        1 or 2 of the paper's section 4.1, or dev: protocol 1 within the training part.
    rule
        How images became arrays.
    sources
        Train and test part; of protocol 1 twice the whole, of dev twice the train part.
    images
        Their images, in the order of the sources.
    notes
        What was inferred, and what is changed of test images unlike those that train.
    """

    given: str
    name: str
    protocol: Protocol
    rule: ImageRule
    sources: tuple[Source, Source]
    images: tuple[Images, Images]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in official order."""
        return self.sources[0].classes

    @cached_property
    def seen(self) -> Seen:
        """What was read."""
        parts = [*(["train"] if self.protocol == 2 else []), TESTED_PART[self.protocol]]
        pairs = list(zip(parts, self.sources, self.images, strict=False))
        return {
            "source": self.given,
            "description": "; ".join(source.description for _, source, _ in pairs),
            "caveat": self.sources[-1].caveat,
            "image_rule": self.rule.describe(),
            "rule": self.rule.to_dict(),
            "checksum": {part: images.fingerprint() for part, _, images in pairs},
        }

    def trial(self, normal_class: str, seed: int) -> Trial:
        """Choose the images of a class and a seed.

        The seed of the draws of protocols 1 and dev is the cell's seed, for every class the same;
        protocol 2 draws nothing.
        """
        train, test = self.sources
        if self.protocol != 2:
            split = protocol_1(train, normal_class, random_state=seed)
        else:
            if normal_class not in test.classes:
                raise UsageError(
                    f"class {normal_class} has no test images: name the others with --classes"
                )
            split = protocol_2(train, test, normal_class)
        train_rows, test_rows = _positions(train, split.train), _positions(test, split.test)
        return Trial(*self.images, train_rows, test_rows, test_rows, split.is_novel, self.classes)


def open_pool(
    source: str,
    protocol: Protocol,
    *,
    data_root: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Pool:
    """Read a data set.

    Parameters
    ----------
    source
        Path or name, as `open_source` takes it.
    protocol
        1, 2 or dev.
    data_root
        Where named data sets lie.
    settings
        ``image_size`` and ``channels`` decide what every method sees; others are passed over.

    Raises
    ------
    UsageError
        A source without classes, or protocol 2 of one that is not divided into train and test.
    InputError
        An image that cannot be read: a table leaves none out.
    """
    settings = settings or {}
    if protocol != 2:
        train = test = open_source(source, split=TESTED_PART[protocol], data_root=data_root)
    else:
        train, test = open_parts(source, data_root=data_root)
    if not train.classes:
        raise UsageError(
            f"{source!r} has no classes to take turns as the normal one: put the images of each "
            "into a folder of its own"
        )
    rule, notes = infer_rule(
        train, settings.get("image_size", "auto"), settings.get("channels", "auto")
    )
    train_images = _read(train, rule)
    test_images = train_images
    if test is not train:
        test_images, notes = _read(test, rule), (*notes, *fitting_notes(test, rule))
    images = train_images, test_images
    return Pool(source, pool_name(source), protocol, rule, (train, test), images, notes)


def _read(source: Source, rule: ImageRule) -> Images:
    images = read(source, rule, skip_unreadable=True)  # else the error would advise to skip it
    if images.skipped:
        first, others = UnreadableImage(*images.skipped[0]), len(images.skipped) - 1
        more = f" and {others} more" if others else ""
        raise InputError(f"{first}; a benchmark leaves no image out: repair or remove it{more}")
    return images


def _positions(whole: Source, part: Source) -> NDArray[np.intp]:
    """Where the images of `part`, a subset of `whole`, stand in it."""
    order = np.argsort(whole.rows)
    return order[np.searchsorted(whole.rows, part.rows, sorter=order)]


def _part(images: Images, rows: NDArray[np.intp]) -> Images:
    names = tuple(images.names[row] for row in rows)
    return Images(images.pixels[rows], names, _labels(images)[rows])


def _labels(images: Images) -> NDArray[np.str_]:
    assert images.labels is not None  # a protocol found the normal class among them
    return images.labels


def pool_name(source: str) -> str:
    """Name a data set as its results are filed: a named one, or a folder or file of the user's.

    The paper's numbers are not about a folder that is only called as a named data set.
    """
    path = expanded(source)
    if path.is_dir():
        named, own = named_in_folder(path), path.resolve().name
    else:
        named, own = None if path.exists() else find_named(source), path.resolve().stem
    if named is not None:
        return named.name
    return f"{own}-folder" if own in NAMED else own
