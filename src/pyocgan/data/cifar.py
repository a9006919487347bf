"""CIFAR-10's official Python version: pickled batches, in the tar file or unpacked beside it.

A pickle may run any code when it is loaded, so the unpickler here builds numpy arrays and plain
values, and refuses everything else. https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import math
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .source import Source, make_source
from .stores import Pixels

_META = "batches.meta"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_BATCHES = {"train": _TRAIN, "test": ("test_batch",), "all": (*_TRAIN, "test_batch")}
_SHAPE = (32, 32, 3)
_CLASSES = 10

# The functions that numpy itself names when it pickles an array; the module has moved once.
_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def open_cifar(path: Path, split: str) -> Source:
    """Open CIFAR-10's official tar file, or the folder that it unpacks to.

    Parameters
    ----------
    path
        ``cifar-10-python.tar.gz`` or ``cifar-10-batches-py/``.
    split
        ``"train"`` (50,000 images), ``"test"`` (10,000) or ``"all"``.

    Raises
    ------
    InputError
        A batch is missing or damaged, or holds anything but arrays and plain values.
    """
    batches = _read(path, (_META, *_BATCHES[split]))
    classes = [name.decode() for name in batches.pop(_META)[b"label_names"]]
    numbers = np.concatenate([batch[b"labels"] for batch in batches.values()])
    files = [path / name for name in (_META, *_BATCHES[split])] if path.is_dir() else [path]
    store = Pixels(partial(_load, path, split), _SHAPE, files)
    names = [
        f"{batch}/{index}"
        for batch, content in batches.items()
        for index in range(len(content[b"labels"]))
    ]
    part = "" if split == "all" else f", {split} part"
    return make_source(store, names, np.asarray(classes)[numbers], f"CIFAR-10{part}:", classes)


def _load(path: Path, split: str) -> NDArray[np.uint8]:
    """Give the pixels of a part, (N, 32, 32, 3); rows of 3,072 hold red, then green, then blue."""
    rows = [batch[b"data"] for batch in _read(path, _BATCHES[split]).values()]
    planes = np.concatenate(rows).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _read(path: Path, wanted: Iterable[str]) -> dict[str, dict[bytes, Any]]:
    """Read the batches `wanted`, in that order."""
    read: Callable[[Path, set[str]], dict[str, bytes]]
    read = _bytes_in_folder if path.is_dir() else _bytes_in_tar
    found = read(path, set(wanted))
    missing = [name for name in wanted if name not in found]
    if missing:
        lacking = ", ".join(missing)
        raise InputError(f"{path} lacks {lacking} of CIFAR-10's Python version; get it again")
    return {
        name: _unpickled(found[name], f"{path}: {name}", is_meta=name == _META) for name in wanted
    }


def _bytes_in_folder(path: Path, wanted: set[str]) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}


def _bytes_in_tar(path: Path, wanted: set[str]) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in wanted else None
                if content is not None:
                    found[name] = content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a readable tar file: {error}; get it again") from None
    return found


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays, bytes, numbers, lists and dictionaries; nothing that could run code."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None


def _unpickled(content: bytes, where: str, *, is_meta: bool) -> dict[bytes, Any]:
    try:
        batch = _ArraysOnly(BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged pickles make the unpickler raise almost anything
        raise InputError(f"{where} is damaged or not CIFAR-10: {error}; get it again") from None
    if not isinstance(batch, dict) or not (_is_meta if is_meta else _is_batch)(batch):
        expected = "the names of its classes" if is_meta else "images with labels"
        raise InputError(f"{where} is not CIFAR-10: it does not hold {expected}; get it again")
    return batch


def _is_meta(content: dict[bytes, Any]) -> bool:
    names = content.get(b"label_names")
    if not isinstance(names, list) or len(names) != _CLASSES:
        return False
    return all(isinstance(name, bytes) for name in names)


def _is_batch(content: dict[bytes, Any]) -> bool:
    data, labels = content.get(b"data"), content.get(b"labels", ())
    return (
        isinstance(data, np.ndarray)
        and data.dtype == np.uint8
        and data.shape == (len(labels), math.prod(_SHAPE))
        and all(isinstance(n, int | np.integer) and 0 <= n < _CLASSES for n in labels)
    )
