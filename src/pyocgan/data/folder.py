"""Folders of images, at any depth, and single image files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from .source import Source, make_source
from .stores import Files
from .tree import SUFFIXES, Tree, arrange, left_out


def open_folder(folder: Path, split: str = "all") -> Source:
    """Open a folder of images; folders inside it may name classes, or train and test.

    Raises
    ------
    InputError
        It holds no images, none in the part asked for, or cannot be listed.
    """
    paths = list(_relative_paths(folder))
    tree = arrange(paths, split)
    require_images(tree, f"folder {folder}", paths)
    store = Files([folder / path for path in tree.paths])
    source = make_source(store, tree.paths, tree.labels, opening("folder", tree))
    return replace(source, description=source.description + left_out(paths))


def open_image(path: Path) -> Source:
    """Open one image file."""
    return make_source(Files([path]), [path.name], None, f"image file {path.name}:")


def require_images(tree: Tree, where: str, paths: Sequence[str]) -> None:
    """Raise `InputError` if the tree is empty; `paths` are all that lie there."""
    if not tree.paths:
        part = f" in its {tree.part} part" if tree.part else ""
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise InputError(
            f"{where} holds no images{part}: looked for {kinds} files at any depth{left_out(paths)}"
        )


def opening(kind: str, tree: Tree) -> str:
    """First words of the description of a tree of images."""
    return f"{tree.part} part of a {kind}:" if tree.part else f"{kind} of"


def _relative_paths(folder: Path) -> Iterator[str]:
    """All files below a folder; links to folders are followed, but not to one they lie in."""
    within: dict[Path, frozenset[str]] = {}  # of a folder, the folders that it lies in, resolved
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        resolved, above = os.path.realpath(here), within.pop(Path(here), frozenset())
        if resolved in above:
            folders.clear()
            continue
        within |= dict.fromkeys((Path(here, name) for name in folders), above | {resolved})
        for name in files:
            yield Path(here, name).relative_to(folder).as_posix()


def _refuse(error: OSError) -> None:
    raise InputError(f"folder {error.filename} cannot be listed: {error.strerror}")
