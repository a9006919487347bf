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
    """Open a zip file of images; a single folder around everything is looked through.

    Raises
    ------
    InputError
        It is no zip file, or holds no images (in the part asked for).
    """
    files = _files(path)
    wrapper, members = without_wrapper(list(filter(is_image_name, files)))
    tree = arrange(members, split)
    store = ZipMembers(path, [wrapper + member for member in tree.paths])
    source = source_of(tree, store, "zip file", path, files)
    twice = [name for name, count in Counter(members).items() if count > 1]
    if twice:
        raise InputError(f"{path} holds {wrapper + twice[0]!r} more than once: pack it again")
    return source


def _files(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable zip file: {error}") from None
