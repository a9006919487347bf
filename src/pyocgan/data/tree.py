"""What the paths of images say: which are images, their order, their classes, train and test.

Shared by folders and zip files; knows paths as text with forward slashes and opens nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from posixpath import splitext

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp"})
# Images of other kinds: that they are left out is said, so that nobody takes them for judged.
NOT_READ = frozenset(
    {".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".heic", ".heif", ".avif", ".jxl", ".tga"}
    | {".exr", ".dng", ".dcm", ".svg"}
)
PARTS = ("train", "test")
_VALIDATION = frozenset({"val", "valid", "validation"})  # test, beside a train that has none
# What MVTec AD, VisA and BTAD call the normal class: never a folder around classes.
_NORMAL = frozenset({"good", "normal", "ok"})

# In small letters: macOS's doubles, previews and bins on a NAS, Windows's bins, ext4's lost files.
_OF_SYSTEMS = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "recycler", "lost+found"}
    | {"system volume information"}
)

# COIL-100 and COIL-20: obj<class>__<angle>.png
_COIL_NAME = re.compile(r"obj(\d+)__\d+\.png", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)")


def is_image_name(path: str) -> bool:
    """Tell image files from others by suffix; hidden ones and macOS's doubles are none."""
    return not is_hidden(path) and _suffix(path) in SUFFIXES


def left_out(paths: Iterable[str]) -> str:
    """Say, for the end of a description, how many images are of kinds that are not read."""
    seen = Counter(_suffix(path) for path in paths if not is_hidden(path))
    counts = {suffix[1:]: count for suffix, count in seen.items() if suffix in NOT_READ}
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    return f" (left out, for these kinds are not read: {kinds})" if kinds else ""


def is_hidden(path: str) -> bool:
    """Tell what systems hide: names with a dot before them, and their own folders."""
    parts = path.casefold().split("/")
    return any((part.startswith(".") and part != ".") or part in _OF_SYSTEMS for part in parts)


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key under which ``img2`` comes before ``img10``."""
    words = _NUMBER.split(text)  # every second one is a number
    digits = [word.lstrip("0") for word in words]  # by their number, then as they are
    numbered = [
        (len(d), d) if i % 2 else (0, w.casefold())
        for i, (w, d) in enumerate(zip(words, digits, strict=True))
    ]
    return numbered, text


@dataclass(frozen=True)
class Tree:
    """The images of a folder or zip file, in natural order.

    Parameters
    ----------
    paths
        The images that belong to the part asked for.
    labels
        A class name for each, or None where the paths name no classes.
    part
        ``"train"`` or ``"test"`` where the tree has such parts and one was asked for; and the
        folder's name, where it is another.
    beside
        How many images lie beside the two parts and belong to neither.
    divided
        The folders side by side that are divided into train and test themselves, as those of MVTec
        AD's objects.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...] | None
    part: str | None
    beside: int = 0
    divided: tuple[str, ...] = ()


def arrange(paths: Iterable[str], split: str) -> Tree:
    """Read classes and parts off relative paths.

    ``train/`` and ``test/`` at the top, in small letters or capitals, are parts, and what lies
    beside them (masks, say) is left out; where there is no ``test/``, ``val/`` is. The first folder
    below names the class, if every image lies in one.

    Parameters
    ----------
    paths
        Paths relative to the folder or zip file; files that are no images are dropped.
    split
        ``"train"``, ``"test"`` or ``"all"``; without meaning for a tree that has no parts.
    """
    images = sorted(filter(is_image_name, paths), key=natural_key)
    parts = _parts(images)
    if not parts:
        return Tree(tuple(images), _labels(images), part=None, divided=_divided(images))
    kept = [path for path in images if parts.get(_folder(path)) in parts_asked_for(split)]
    below = [path.partition("/")[2] for path in kept]
    beside = sum(_folder(path) not in parts for path in images)
    part = None if split == "all" else part_named(split, parts)
    return Tree(tuple(kept), _labels(below), part, beside)


def parts_asked_for(split: str) -> tuple[str, ...]:
    """Return both parts for ``"all"``, else the one that `split` names."""
    return PARTS if split == "all" else (split,)


def parts_among(names: Set[str]) -> dict[str, str]:
    """Return which of these names, in small letters, stand for which part.

    Both parts are among them, or nothing but one; else none is a part.
    """
    parts = {part: part for part in PARTS}
    validation = names & _VALIDATION
    if "train" in names and "test" not in names and len(validation) == 1:
        parts = {"train": "train", next(iter(validation)): "test"}
    divided = bool(names) and (names >= parts.keys() or names <= parts.keys())
    return parts if divided else {}


def without_wrapper(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Split off the folders in which packing tools put everything, if nothing lies beside them.

    Zipping ``/home/me/photos`` puts three around the classes. A folder that holds images itself is
    a class and stays, and so does one that is called as a normal class, whatever it holds.
    """
    wrapper, inner = "", list(paths)
    while top := _wrapper(inner):
        wrapper += f"{top}/"
        inner = [path.removeprefix(f"{top}/") for path in inner]
    return wrapper, inner


def _wrapper(paths: Sequence[str]) -> str:
    """Folder around all others, "" where there is none."""
    tops = {_top(path) for path in paths}
    if len(tops) != 1 or any(path.count("/") < 2 for path in paths):
        return ""
    top = tops.pop()
    return "" if top.casefold() in _NORMAL.union(PARTS) else top


def _parts(paths: Sequence[str]) -> dict[str, str]:
    return parts_among({_folder(path) for path in paths})


def _divided(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the folders at the top, or side by side in the only one, that hold both parts."""
    below: dict[str, list[str]] = {}
    for path in paths:
        below.setdefault(_top(path), []).append(path.partition("/")[2])
    found = tuple(top for top, inner in below.items() if top and _has_both_parts(inner))
    top = _wrapper(paths)
    return found or tuple(f"{top}/{inner}" for inner in (_divided(below[top]) if top else ()))


def _has_both_parts(paths: Sequence[str]) -> bool:
    parts = _parts(paths)
    return {parts.get(_folder(path)) for path in paths} >= {*PARTS}


def part_named(split: str, parts: Mapping[str, str]) -> str:
    """Name a part; and what it is called, where that is something else: ``"test (val)"``."""
    others = [folder for folder, part in parts.items() if part == split != folder]
    return f"{split} ({others[0]})" if others else split


def _labels(paths: Sequence[str]) -> tuple[str, ...] | None:
    turntable = [_COIL_NAME.fullmatch(path.rpartition("/")[2]) for path in paths]
    if all(turntable):
        return tuple(match[1] for match in turntable if match)
    tops = [_top(path) for path in paths]
    return None if "" in tops else tuple(tops)


def _suffix(path: str) -> str:
    return splitext(path)[1].lower()


def _top(path: str) -> str:
    """First folder of a path, "" for a file that lies in none."""
    return path.partition("/")[0] if "/" in path else ""


def _folder(path: str) -> str:
    """First folder of a path in small letters: ``Train/`` is train, too."""
    return _top(path).casefold()
