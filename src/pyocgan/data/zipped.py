"""Zip files of images: the rules of folders, without unpacking to disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..errors import InputError
from .folder import opening, require_images
from .source import Source, make_source
from .stores import ZipMembers
from .tree import arrange, is_image_name, without_wrapper


def open_zip(path: Path, split: str = "all") -> Source:
    """Open a zip file of images; a single folder around everything is looked through.

    Raises
    ------
    InputError
        It is no zip file, or holds no images (in the part asked for).
    """
    wrapper, members = without_wrapper(_members(path))
    tree = arrange(members, split)
    require_images(tree, f"zip file {path}")
    store = ZipMembers(path, [wrapper + member for member in tree.paths])
    return make_source(store, tree.paths, tree.labels, opening("zip file", tree))


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return list(filter(is_image_name, archive.namelist()))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable zip file: {error}") from None
