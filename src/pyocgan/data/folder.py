"""Folders of images, at any depth, and single image files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, listed
from .source import Source, beside_text, make_source
from .stores import Files, Store
from .tree import SUFFIXES, Tree, arrange, is_hidden, left_out


def open_folder(folder: Path, split: str = "all") -> Source:
    """Open a folder of images; folders inside it may name classes, or train and test.

    Raises
    ------
    InputError
        It holds no images, none in the part asked for, or cannot be listed.
    """
    files = list(_relative_paths(folder))
    tree = arrange(files, split)
    store = Files([folder / path for path in tree.paths])
    return source_of(tree, store, "folder", folder, files)


def open_image(path: Path) -> Source:
    """Open one image file."""
    return make_source(Files([path]), [path.name], None, f"image file {path.name}:")


def source_of(tree: Tree, store: Store, kind: str, path: Path, files: Sequence[str]) -> Source:
    """Build the source of a tree of images; its description says which `files` are left out.

    Raises
    ------
    InputError
        The tree is empty, or folders in it are divided into train and test.
    """
    if not tree.paths:
        part = f" in its {tree.part} part" if tree.part else ""
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise InputError(
            f"{kind} {path} holds no images{part}: looked for {kinds} files at any depth"
            f"{left_out(files)}"
        )
    if tree.divided:
        raise InputError(
            f"{kind} {path} holds folders that are divided into train and test themselves "
            f"({listed(tree.divided, 6)}): {_one_of(path, tree.divided)}"
        )
    opening = f"{tree.part} part of a {kind}:" if tree.part else f"{kind} of"
    source = make_source(store, tree.paths, tree.labels, opening)
    notes = beside_text(tree.beside) + left_out(files)
    return replace(source, description=source.description + notes)


def _one_of(path: Path, folders: Sequence[str]) -> str:
    if path.is_dir():
        return f"name one of them, such as {path / folders[0]}"
    return "unpack it, and name one of them"


def _relative_paths(folder: Path) -> Iterator[str]:
    """All files below a folder, but for hidden folders, which often nobody may list.

    Links to folders are followed, but not to one they lie in.
    """
    outside = frozenset(map(str, Path(os.path.realpath(folder)).parents))
    within: dict[Path, frozenset[str]] = {}  # of a folder, the folders that it lies in, resolved
    for here, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        resolved, above = os.path.realpath(here), within.pop(Path(here), outside)
        if resolved in above:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not is_hidden(name)]
        within |= dict.fromkeys((Path(here, name) for name in folders), above | {resolved})
        below = Path(here).relative_to(folder)
        inside = "" if below == Path() else f"{below.as_posix()}/"
        yield from (f"{inside}{name}" for name in files)


def _refuse(error: OSError) -> None:
    raise InputError(
        f"folder {error.filename} cannot be listed: {error.strerror}; get the right to read it, or "
        "name the folders beside it"
    )
