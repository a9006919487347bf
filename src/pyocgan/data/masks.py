"""Which pixels of a tested image are defective, where a data set says so, as MVTec AD does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .decode import naming, size_text
from .rule import ImageRule
from .source import Source
from .stores import Files

FOLDER = "ground_truth"
HALF = 128  # of a mask's white, 255


def find_masks(source: Source) -> dict[str, Path]:
    """Return the masks of images in a folder, by the path of the image; none where there is none.

    The mask of ``test/hole/3.png`` is ``ground_truth/hole/3_mask.png`` or ``3.png`` there, the two
    folders side by side.
    """
    if not source.is_of_files:
        return {}
    found = {}
    for name, path in zip(source.names, source.files, strict=True):
        within = PurePosixPath(name).parts
        if len(within) < 3 or within[0] == "/" or path.parts[-len(within) :] != within:
            continue
        folder = path.parents[len(within) - 1].joinpath(FOLDER, *within[1:-1])
        candidates = (folder / f"{path.stem}{end}.png" for end in ("_mask", ""))
        mask = next((mask for mask in candidates if mask.is_file()), None)
        if mask is not None:
            found[str(path)] = mask
    return found


def read_masks(
    images: Sequence[Path], masks: Sequence[Path | None], rule: ImageRule
) -> NDArray[np.bool_]:
    """Read masks as their images are taken: (N, H, W), True where a pixel is defective.

    White, or more than half of it, is a defect; one so thin that no pixel keeps half of it is where
    most of it is. An image whose mask is None has no defect.

    Raises
    ------
    InputError
        A mask cannot be read, marks nothing, or has another size than its image.
    """
    grey = ImageRule(rule.image_size, 1)
    found = np.zeros((len(masks), *rule.image_size), bool)
    for index, (path, mask) in enumerate(zip(images, masks, strict=True)):
        if mask is None:
            continue
        with naming(str(mask)):
            picture = Files([mask]).image(0)
        own, wanted = (picture.height, picture.width), Files([path]).header(0).size
        if own != wanted:
            raise InputError(
                f"the mask {mask} is {size_text(own)}, its image {size_text(wanted)}: resize it"
            )
        white = grey.apply(picture)[..., 0]
        found[index] = white >= np.clip(white.max(), 1, HALF)
        if not found[index].any():
            raise InputError(f"the mask {mask} marks no pixel: what is novel must be white")
    return found
