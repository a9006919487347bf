"""A source of images: names, labels where known, and pixels only when asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..errors import InputError, UsageError, listed, unknown
from .decode import Header, UnreadableImage, naming
from .stores import Files, Pixels, Store
from .tree import natural_key

_LISTED_CLASSES = 6
LOOKED_AT = 500  # images, from all over a source: those that are scored shall come at once


@dataclass(frozen=True, eq=False)
class Source:
    """Images by index, nothing decoded until asked; can be pickled. Made by `open_source`.

    Parameters
    ----------
    description
        One line about what was recognised: "folder of 360 images in 3 classes (crack, dent, good)".
    names
        N names, each unique enough to find the image again.
    labels
        (N,) class names, or None where no classes are known.
    classes
        All class names; the index is the official class number for named data sets.
    store
        Where the images lie.
    rows
        (N,) the index of each image in the store.
    caveat
        How pixels of a named data set differ from the official ones; empty if they do not.
    """

    description: str
    names: tuple[str, ...] = field(repr=False)
    labels: NDArray[np.str_] | None = field(repr=False)
    classes: tuple[str, ...]
    store: Store = field(repr=False)
    rows: NDArray[np.intp] = field(repr=False)
    caveat: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the images; none where they came as an array."""
        return self.store.files(self.rows.tolist())

    def with_paths(self) -> Source:
        """Return the same images named by paths that can be passed on, where they are files.

        Not by their places within a folder.
        """
        if not self.is_of_files:
            return self
        return replace(self, names=tuple(str(path) for path in self.files))

    @property
    def is_of_files(self) -> bool:
        """Whether each image is a file of its own."""
        return isinstance(self.store, Files)

    @property
    def is_decoded(self) -> bool:
        """Whether the images lie in memory as pixels."""
        return isinstance(self.store, Pixels)

    def header(self, index: int) -> Header:
        """Give size and mode of one image without decoding it."""
        with naming(self.names[index]):
            return self.store.header(int(self.rows[index]))

    def headers(self, rows: Iterable[int]) -> set[Header]:
        """Return the different headers of some images, of those that have one."""
        found = set()
        for index in islice(rows, 1 if self.is_decoded else None):  # images of one array are alike
            with suppress(UnreadableImage):  # `read` reports it
                found.add(self.header(index))
        return found

    @cached_property
    def sample(self) -> list[int]:
        """The rows of at most `LOOKED_AT` images from all over."""
        count = min(len(self), LOOKED_AT)
        return np.unique(np.linspace(0, len(self) - 1, count).astype(int)).tolist()

    @cached_property
    def sampled_headers(self) -> set[Header]:
        """The different headers of `sample`, read once: files may lie at the end of a network."""
        return self.headers(self.sample)

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """Decode one image and turn it upright.

        Parameters
        ----------
        index
            0 to N − 1.
        at_least
            Pixels a side that are enough for the caller; makes large JPEGs cheaper.

        Raises
        ------
        UnreadableImage
            The image is missing, damaged, no image, or too large.
        """
        with naming(self.names[index]):
            return self.store.image(int(self.rows[index]), at_least)

    def subset(self, indices: ArrayLike) -> Source:
        """Keep the images at `indices` (integers, any order, or a mask), and all class names."""
        kept = np.arange(len(self))[np.asarray(indices, dtype=_index_type(indices))]
        return replace(
            self,
            description=f"{count_text(len(kept))} from {self.description}",
            names=tuple(self.names[index] for index in kept),
            labels=None if self.labels is None else self.labels[kept],
            rows=self.rows[kept],
        )

    def of_class(self, normal_class: str | int) -> Source:
        """Keep the images of one class, named or numbered as in `class_name`.

        Raises
        ------
        InputError
            There are none: a data set knows its classes, even where a copy lacks some.
        """
        name = self.class_name(normal_class)
        kept = self.subset(self._labels() == name)
        if not len(kept):
            raise InputError(
                f"no image of class {name!r} in {self.description}; there are: {self._counts()}"
            )
        count = count_text(len(kept))
        return replace(kept, description=f"{count} of class {name} from {self.description}")

    def is_novel(self, normal_class: str | int) -> NDArray[np.bool_]:
        """Say of each image whether it is of another class than the normal one: (N,) bool."""
        return self._labels() != self.class_name(normal_class)

    def class_name(self, normal_class: str | int) -> str:
        """Resolve a class given by name or, where no class is named by a number, by number.

        Raises
        ------
        UsageError
            There is no such class, or the images have no labels.
        """
        self._labels()
        return class_named(str(normal_class), self.classes)

    def _counts(self) -> str:
        """Say how many images of each class there are: ``"cat 45, dog 12"``."""
        counts = Counter(self._labels().tolist())
        present = [f"{name} {counts[name]:,}" for name in self.classes if counts[name]]
        return listed(present) or "none"

    def _labels(self) -> NDArray[np.str_]:
        if self.labels is None:
            raise unlabelled(self)
        return self.labels


def unlabelled(source: Source) -> UsageError:
    """Build the error for images of which nobody says which class they are of."""
    outside = [name for name in source.names if "/" not in name]
    some = f" ({outside[0]!r} lies in none)" * (0 < len(outside) < len(source))
    return UsageError(
        f"the {source.description} names no classes: "
        f"put each class into a folder of its own{some}, or give labels"
    )


def class_named(given: str, classes: Sequence[str]) -> str:
    """Find a class by name or, where no class is named by a number, by number.

    Raises
    ------
    UsageError
        There is no such class; the message lists those that there are.
    """
    if given in classes:
        return given
    # A terminal types composed letters; folders packed on a Mac may have them decomposed.
    composed = {normalize("NFC", name): name for name in classes}
    if (typed := normalize("NFC", given)) in composed:
        return composed[typed]
    numbered = given.isdecimal() and not any(name.isdecimal() for name in classes)
    if numbered and int(given) < len(classes):
        return classes[int(given)]
    raise unknown("class", given, classes)


def make_source(
    store: Store,
    names: Sequence[str],
    labels: Sequence[str] | NDArray[np.str_] | None,
    opening: str,
    classes: Sequence[str] | None = None,
) -> Source:
    """Build the source of all images of a store, and its description.

    Parameters
    ----------
    store, names, labels
        As in `Source`.
    opening
        First words of the description, before the number of images: ``"folder of"``.
    classes
        Class names in their official order; by default those that occur, in natural order.
    """
    labels = None if labels is None else np.asarray(labels, dtype=np.str_)
    if classes is None:
        present = () if labels is None else np.unique(labels).tolist()
        classes = sorted(present, key=natural_key)
    description = f"{opening} {count_text(len(names))}{_classes_text(classes)}"
    rows = np.arange(len(names))
    return Source(description, tuple(names), labels, tuple(classes), store, rows)


def retitled(source: Source, opening: str, classes: Sequence[str], caveat: str) -> Source:
    """Describe a source by other first words, with its classes in their official order."""
    description = f"{opening} {count_text(len(source))}{_classes_text(classes)}"
    return replace(source, description=description, classes=tuple(classes), caveat=caveat)


def count_text(count: int) -> str:
    """Write a number of images: ``"1 image"``, ``"60,000 images"``."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def beside_text(count: int) -> str:
    """Say, for the end of a description, how many images belong neither to train nor to test."""
    return f" (left out beside train and test: {count_text(count)})" if count else ""


def _classes_text(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    names = listed(classes, _LISTED_CLASSES)
    return f" in {len(classes)} class{'' if len(classes) == 1 else 'es'} ({names})"


def _index_type(indices: ArrayLike) -> type[np.bool_] | type[np.intp]:
    """Keep a mask a mask; an empty list, which numpy takes for floats, becomes integers."""
    return np.bool_ if np.asarray(indices).dtype == np.bool_ else np.intp
