"""Whatever the user names, opened by the reader that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from ..errors import InputError, UsageError, system_reason, unknown
from .array_files import open_array_file
from .arrays import open_array, open_arrays, open_pictures
from .cifar import open_cifar
from .decode import UnreadableImage, read_header
from .folder import open_folder, open_image
from .idx import has_idx_parts, is_idx_name, open_idx, open_idx_folder
from .listing import open_list_file, open_paths
from .named import NAMED, find_named, named_folder, named_in_folder
from .source import Source
from .tree import SUFFIXES
from .zipped import open_zip

PathText = str | PathLike[str]
ImageSource = (
    Source
    | PathText
    | NDArray[Any]
    | Image
    | Iterable[PathText]
    | Iterable[Image]
    | Iterable[NDArray[Any]]
)
Part = Literal["train", "test", "all"]  # of a data set

_DIVISIBLE: dict[str, Callable[[Path, str], Source]] = {  # into train and test
    ".npy": open_array_file,
    ".npz": open_array_file,
    ".zip": open_zip,
    ".txt": open_list_file,
    ".csv": open_list_file,
    ".tsv": open_list_file,
}
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def open_source(
    source: ImageSource,
    *,
    split: Part = "train",
    data_root: PathText | None = None,
) -> Source:
    """Open images, wherever they are; nothing is decoded yet.

    Parameters
    ----------
    source
        A folder (one folder per class, or train and test, where it has them), a zip file of the
        same, an image, a list file (.txt, .csv, .tsv; its paths count from the folder it lies in; a
        column may name labels, and one train and test),
        a .npy or .npz file (also as Keras and MedMNIST name the arrays in it), an IDX file,
        CIFAR-10's tar file; the name of a data set (see `NAMED`), unless such a path exists; a (N,
        H, W) or (N, H, W, 1 or 3) uint8 array, 0 to 255, colour in the order red, green, blue, or
        what NumPy makes one of; grey ones of 16 bits in uint16; paths, Pillow's images, or arrays
        of any sizes, in a list or whatever yields them; a `Source`.
    split
        The part to open of a source that is divided into train and test; others are opened whole.
    data_root
        Where named data sets lie, each in a folder of its name; by default $OCGAN_DATA_ROOT or the
        user's cache.

    Raises
    ------
    InputError
        There is nothing to read; the message quotes what came in.
    UsageError
        `split` is none of the three.
    """
    if split not in get_args(Part):
        raise unknown("split", split, get_args(Part))
    match source:
        case Source():
            return source
        case str() | PathLike():
            return _open_path_or_name(source, split, data_root)
        case Image():
            return open_pictures([source])
        case np.ndarray() if source.ndim == 1 and source.dtype.kind in "OSUT":
            return _open_items(source.tolist())
        case np.ndarray():
            return open_array(source)
        case _ if hasattr(source, "__array__"):  # as of torch and pandas
            return open_source(_array(source))
        case Iterable() if not isinstance(source, bytes | Mapping):
            return _open_items(list(source))
    raise InputError(
        f"images cannot be read from a {type(source).__name__}: give a path, a list of paths, of "
        "Pillow's images or of uint8 arrays, or one uint8 array (N, H, W) or (N, H, W, channels)"
    )


def _open_items(items: list[Any]) -> Source:
    if all(isinstance(item, Image) for item in items) and items:
        return open_pictures(items)
    if all(isinstance(item, str | PathLike) for item in items):
        return open_paths(items)
    if all(isinstance(item, np.ndarray) for item in items):
        return open_arrays(items)
    kinds = sorted({type(item).__name__ for item in items})
    raise InputError(
        f"images cannot be read from a list of {', '.join(kinds)}: give paths, or Pillow's images, "
        "or uint8 arrays, as [np.asarray(x) for x in images]"
    )


def _array(source: Any) -> NDArray[Any]:
    try:
        return np.asarray(source)
    except Exception as error:  # as of a tensor on a GPU, or with a gradient
        line = str(error).partition("\n")[0]
        raise InputError(f"images cannot be read from a {type(source).__name__}: {line}") from None


def open_parts(source: PathText, *, data_root: PathText | None = None) -> tuple[Source, Source]:
    """Open what trains and what is tested, as `open_source` does.

    Raises
    ------
    UsageError
        They are the same images.
    """
    train = open_source(source, split="train", data_root=data_root)
    test = open_source(source, split="test", data_root=data_root)
    if not set(train.names).isdisjoint(test.names):
        raise UsageError(
            f"{str(source)!r} is not divided into train and test: name other images to test on, "
            "with a folder for each class; or, where these have classes, train, or run the "
            "benchmark, with --protocol 1, which holds out 20 % of one"
        )
    return train, test


def holds_many(given: str) -> bool:
    """Say whether a path or name stands for many images: it is no image, as `open_source` goes."""
    path = Path(given)
    name = path.name.lower()
    is_file_of_many = path.suffix.lower() in _DIVISIBLE or name.endswith(_TAR_SUFFIXES)
    is_name = not path.exists() and find_named(given) is not None
    return path.is_dir() or is_file_of_many or is_idx_name(path.name) or is_name


def _open_path_or_name(given: PathText, split: str, data_root: PathText | None) -> Source:
    try:
        return _open_found(given, split, data_root)
    except (OSError, RuntimeError) as error:  # no permission, a name too long, ~nobody
        raise InputError(f"{str(given)!r} cannot be opened: {system_reason(error)}") from None


def _open_found(given: PathText, split: str, data_root: PathText | None) -> Source:
    if not str(given):  # which Path takes for the present folder
        raise InputError("'' is no file, no folder and no data set")
    path = Path(given).expanduser()
    data_set = find_named(str(given))
    if path.is_dir():
        return _open_any_folder(path, split)
    if path.exists():
        return _open_file(path, split)
    if data_set is not None:
        return data_set.open(named_folder(data_set, data_root), split)
    close = get_close_matches(str(given), NAMED, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(
        f"{str(given)!r} is no file, no folder and no data set{hint}; data sets: {', '.join(NAMED)}"
    )


def _open_any_folder(folder: Path, split: str) -> Source:
    data_set = named_in_folder(folder)
    if data_set is not None:
        return data_set.open(folder, split)
    if has_idx_parts(folder):
        return open_idx_folder(folder, split)
    if (folder / "batches.meta").is_file():
        return open_cifar(folder, split)
    return open_folder(folder, split)


def _open_file(path: Path, split: str) -> Source:
    suffix = path.suffix.lower()
    if suffix in _DIVISIBLE:
        return _DIVISIBLE[suffix](path, split)
    if suffix in SUFFIXES:
        return open_image(path)
    if is_idx_name(path.name):
        return open_idx(path)
    if path.name.lower().endswith(_TAR_SUFFIXES):
        return open_cifar(path, split)
    with suppress(UnreadableImage), path.open("rb") as file:
        read_header(file)
        return open_image(path)  # whatever it is called
    raise InputError(
        f"{path} is of an unknown kind: images, {', '.join(_DIVISIBLE)} and IDX files, and "
        "CIFAR-10's tar file can be read"
    )
