"""Files of NumPy's arrays: .npy, and .npz with labels, also divided into train and test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ..errors import InputError, listed
from .arrays import checked, source_of_array
from .source import Source
from .tree import PARTS, parts_asked_for

_IMAGES, _LABELS = ("X", "x", "images"), ("y", "labels")

# As Keras and MedMNIST name the arrays of a part.
_IMAGES_OF, _LABELS_OF = ("x_{}", "X_{}", "{}_images"), ("y_{}", "{}_labels")
_VALIDATION = "val"  # test, beside a train that has none

_Keys = tuple[str, str | None]  # of images and their labels


class _Arrays(NamedTuple):
    part: str | None
    images: NDArray[Any]
    labels: NDArray[Any] | None = None


def open_array_file(path: Path, split: str = "all") -> Source:
    """Open a .npy file of images, or a .npz file of images and, if it has them, labels.

    Images are the array ``X``, ``x`` or ``images``, or the only one besides the labels ``y`` or
    ``labels``. Those of ``x_train`` and ``x_test`` (Keras) or ``train_images`` and ``test_images``
    (MedMNIST) are two parts; where there is no test part, ``val`` is.

    Raises
    ------
    InputError
        The file is damaged, holds pickled objects, no images as in `open_array`, or none in the
        part asked for.
    """
    try:
        with _plain_errors():
            arrays = _load(path, split)
        return _source_of(arrays, split)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # damaged zip and npy headers make numpy raise almost anything
        # NumPy's advice is to unpickle what it does not know, which would run it.
        reason = "it holds no array of NumPy's" if "allow_pickle" in str(error) else error
        raise InputError(f"this is not a readable array file: {reason}") from None


def _load(path: Path, split: str) -> list[_Arrays]:
    """Read the arrays of each part asked for; of those that are not, nothing."""
    content = np.load(path, allow_pickle=False)
    if not isinstance(content, NpzFile):
        return [_Arrays(None, content)]
    with content:
        chosen = _keys_of_parts(content.files, split) or {None: _keys(content.files)}
        return [
            _Arrays(part, content[images], content[labels] if labels else None)
            for part, (images, labels) in chosen.items()
        ]


def _source_of(parts: list[_Arrays], split: str) -> Source:
    if parts[0].part is None:
        return source_of_array(parts[0].images, parts[0].labels, "array file of")
    pixels = [checked(one.images, one.labels) for one in parts]
    for what, found in (
        ("sizes", {str(images.shape[1:3]) for images in pixels}),
        ("numbers of channels", {str(images.shape[3]) for images in pixels}),
        ("types", {str(images.dtype) for images in pixels}),
    ):
        if len(found) > 1:
            raise InputError(f"its parts hold images of several {what}: {listed(sorted(found))}")
    names = [f"{one.part}/{row}" for one in parts for row in range(len(one.images))]
    labels = [one.labels.ravel() for one in parts if one.labels is not None]
    opening = "array file of" if split == "all" else f"{split} part of an array file:"
    return source_of_array(
        np.concatenate(pixels),
        np.concatenate(labels) if len(labels) == len(parts) else None,
        opening,
        names,
    )


def _keys_of_parts(names: Collection[str], split: str) -> dict[str | None, _Keys]:
    """Return the names of the arrays of each part asked for; nothing where there are no parts."""
    found = {part: keys for part in (*PARTS, _VALIDATION) if (keys := _keys_of(part, names))}
    if "train" in found and "test" not in found and _VALIDATION in found:
        found["test"] = found[_VALIDATION]
    if not found.keys() & {*PARTS}:
        return {}
    chosen: dict[str | None, _Keys] = {
        part: found[part] for part in parts_asked_for(split) if part in found
    }
    if not chosen:
        raise InputError(f"it holds no {split} part, only {listed([*found])}")
    return chosen


def _keys_of(part: str, names: Collection[str]) -> _Keys | None:
    images = _first(_IMAGES_OF, names, part)
    return None if images is None else (images, _first(_LABELS_OF, names, part))


def _keys(names: Collection[str]) -> _Keys:
    labels = _first(_LABELS, names)
    others = [name for name in names if name != labels]
    images = _first(_IMAGES, others) or (others[0] if len(others) == 1 else None)
    if images is None:
        raise InputError(
            f"it holds the arrays {', '.join(names) or '(none)'}: "
            "name the images X, and their labels y"
        )
    return images, labels


def _first(wanted: Iterable[str], names: Collection[str], part: str = "") -> str | None:
    return next((key for form in wanted if (key := form.format(part)) in names), None)
