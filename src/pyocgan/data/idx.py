"""IDX, the format of MNIST: big-endian header, then bytes; plain or gzipped.

Magic number: 0, 0, type (8 = unsigned byte), number of dimensions; then each dimension in four
bytes. http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .source import Source, make_source
from .stores import Pixels

_IMAGES, _LABELS = 0x0803, 0x0801
_MOST_EXPANSION = 1032  # gzip's limit: a header that promises more bytes per byte is wrong
_PREFIXES = {"train": "train", "test": "t10k"}


def is_idx_name(name: str) -> bool:
    """Tell IDX files by name: ``train-images-idx3-ubyte.gz``, ``train-images.idx3-ubyte``."""
    return name.removesuffix(".gz").endswith(("idx3-ubyte", "idx1-ubyte"))


def has_idx_parts(folder: Path) -> bool:
    """Say whether a folder holds MNIST's files."""
    return any(_part_file(folder, part) for part in _PREFIXES)


def open_idx_folder(folder: Path, split: str, classes: Sequence[str] | None = None) -> Source:
    """Open MNIST's files in a folder.

    Parameters
    ----------
    folder
        Where ``train-images-idx3-ubyte[.gz]``, ``t10k-…`` and the labels lie.
    split
        ``"train"``, ``"test"`` or ``"all"``.
    classes
        The names of classes 0, 1, …; by default their numbers.

    Raises
    ------
    InputError
        A file is missing, damaged, or of another kind.
    """
    parts = list(_PREFIXES) if split == "all" else [split]
    files = {part: _require_part(folder, part) for part in parts}
    part = "" if split == "all" else f", {split} part"
    return _open_files(files, f"IDX files{part}:", classes)


def open_idx(path: Path) -> Source:
    """Open one IDX file of images, with the file of labels beside it if there is one."""
    return _open_files({"": path}, f"IDX file {path.name}:")


def _open_files(
    files: dict[str, Path], opening: str, classes: Sequence[str] | None = None
) -> Source:
    shapes = {part: _shape(path, _IMAGES) for part, path in files.items()}
    beside = {part: _file_of_labels(path) for part, path in files.items()}
    labels = [_labels(beside[part], path, shapes[part][0]) for part, path in files.items()]
    sizes = {shape[1:] for shape in shapes.values()}
    if len(sizes) > 1:
        raise InputError(f"{opening} holds images of several sizes: {sorted(sizes)}")
    read = [*files.values(), *filter(None, beside.values())]
    store = Pixels(partial(_load_all, tuple(files.values())), (*sizes.pop(), 1), read)
    names = [
        f"{part}/{i}" if part else str(i) for part, shape in shapes.items() for i in range(shape[0])
    ]
    known = [part for part in labels if part is not None]
    numbers = np.concatenate(known) if len(known) == len(labels) else None
    return make_source(store, names, _class_names(numbers, classes), opening, classes)


def _class_names(
    numbers: NDArray[np.uint8] | None, classes: Sequence[str] | None
) -> NDArray[np.str_] | None:
    if numbers is None or classes is None:
        return None if numbers is None else numbers.astype(np.str_)
    if numbers.max(initial=0) >= len(classes):
        raise InputError(f"label {numbers.max()} is beyond the {len(classes)} classes")
    return np.asarray(classes)[numbers]


def _load_all(paths: Sequence[Path]) -> NDArray[np.uint8]:
    return np.concatenate([_load(path, _IMAGES) for path in paths])[..., None]


def _load(path: Path, magic: int) -> NDArray[np.uint8]:
    shape = _shape(path, magic)
    try:
        with _opened(path) as file:
            content = file.read()[4 + 4 * len(shape) :]
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}; get it again") from None
    if len(content) != math.prod(shape):
        raise InputError(
            f"{path} is damaged: its header promises {shape}, but {len(content)} bytes follow; "
            "get it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(path: Path, magic: int) -> tuple[int, ...]:
    """Read the header alone."""
    dimensions = magic & 0xFF
    try:
        with _opened(path) as file:
            found, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 + 4 * dimensions))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"{path} is not a readable IDX file: {error}") from None
    if found != magic:
        kind = "images" if magic == _IMAGES else "labels"
        raise InputError(
            f"{path} is not an IDX file of {kind}: it begins with {found:#06x}, not {magic:#06x}"
        )
    if not 0 < math.prod(shape) <= _MOST_EXPANSION * path.stat().st_size:
        raise InputError(f"{path} is damaged: its header promises {shape}; get it again")
    return tuple(shape)


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _file_of_labels(path: Path) -> Path | None:
    """Find the labels beside a file of images."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    return None if name == path.name else _plain_or_zipped(path.with_name(name))


def _labels(beside: Path | None, path: Path, count: int) -> NDArray[np.uint8] | None:
    if beside is None:
        return None
    labels = _load(beside, _LABELS)
    if len(labels) != count:
        raise InputError(f"{beside} holds {len(labels)} labels for the {count} images of {path}")
    return labels


def _part_file(folder: Path, part: str) -> Path | None:
    names = (f"{_PREFIXES[part]}-images{mark}idx3-ubyte" for mark in "-.")
    return next(filter(None, (_plain_or_zipped(folder / name) for name in names)), None)


def _require_part(folder: Path, part: str) -> Path:
    found = _part_file(folder, part)
    if found is None:
        raise InputError(f"folder {folder} holds no {_PREFIXES[part]}-images-idx3-ubyte[.gz]")
    return found


def _plain_or_zipped(path: Path) -> Path | None:
    """Find a file under its name, or with .gz added or taken away."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    zipped = path.with_name(f"{plain.name}.gz")
    return next((file for file in (plain, zipped) if file.is_file()), None)
