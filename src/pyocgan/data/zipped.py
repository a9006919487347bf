"""Zip files of images: the rules of folders, without unpacking to disk."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from ..errors import InputError
from .folder import source_of
from .source import Source
from .stores import ZipMembers
from .tree import arrange, is_image_name, without_wrapper


def open_zip(path: Path, split: str = "all") -> Source:
    """Open a zip file of images; folders around everything are looked through.

    Raises
    ------
    InputError
        It is no zip file, or holds no images (in the part asked for).
    """
    names = _names(path)
    paths = _with_slashes(names)
    name_of = dict(zip(paths, names, strict=True))
    files = [file for file in paths if not file.endswith("/")]
    wrapper, members = without_wrapper(list(filter(is_image_name, files)))
    tree = arrange(members, split)
    store = ZipMembers(path, [name_of[wrapper + member] for member in tree.paths])
    source = source_of(tree, store, "zip file", path, files)
    twice = [name for name, count in Counter(members).items() if count > 1]
    if twice:
        raise InputError(f"{path} holds {wrapper + twice[0]!r} more than once: pack it again")
    return source


def _names(path: Path) -> list[str]:
    """All files and folders as the zip file calls them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable zip file: {error}") from None


def _with_slashes(names: list[str]) -> list[str]:
    """Part folders by forward slashes.

    Windows PowerShell's Compress-Archive writes backslashes throughout; beside a forward slash, a
    backslash is a character of a name.
    """
    if any("/" in name for name in names):
        return names
    return [name.replace("\\", "/") for name in names]
