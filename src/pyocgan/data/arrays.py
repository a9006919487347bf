"""Images in memory: arrays and Pillow's.

Shapes: N images, H W pixels, K channels.

Only uint8 is taken, and uint16 for grey images as cameras give them: whether a float 1.0 is black
or white depends on who wrote it, so the one who knows must convert, and the message says how.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from ..errors import InputError
from .rule import DARK, picture
from .source import Source, make_source
from .stores import Pictures, Pixels, Store


def open_array(images: NDArray[Any], labels: NDArray[Any] | None = None) -> Source:
    """Open images that lie in an array.

    Parameters
    ----------
    images
        (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8, 0 to 255; or (N, H, W) or (N, H, W, 1)
        uint16, of which `infer_rule` sees how many bits are in use.
    labels
        (N,) or (N, 1) class names or numbers.

    Raises
    ------
    InputError
        Any other shape or type; the message quotes both and says what to do.
    """
    return source_of_array(images, labels, "array of")


def open_arrays(images: Sequence[NDArray[Any]]) -> Source:
    """Open images that lie in arrays of their own, (H, W), (H, W, 1) or (H, W, 3), of any sizes.

    Raises
    ------
    InputError
        As `open_array`.
    """
    # One that is 1 or 3 pixels wide would else pass for rows of pixels.
    wrapped = [image[None, ..., None] if image.ndim == 2 else image[None] for image in images]
    if len({(image.shape, image.dtype) for image in images}) == 1:
        return open_array(np.concatenate(wrapped))
    pictures = []
    for number, image in enumerate(wrapped):
        try:
            pictures.append(picture(checked(image)[0]))
        except InputError as error:
            raise InputError(f"image {number}, as an array of one: {error}") from None
    return open_pictures(pictures)


def open_pictures(images: Sequence[Image]) -> Source:
    """Open Pillow's images, of any sizes; named by their numbers.

    Raises
    ------
    InputError
        One picture that was opened from a file is given more than once: it stands at one of its
        pages, and all would be taken for that one.
    """
    opened = Counter(id(image) for image in images if isinstance(image, ImageFile))
    if opened and (most := max(opened.values())) > 1:
        raise InputError(
            f"one picture is given {most} times, as ImageSequence gives the pages of a file: give "
            "copies, as [page.copy() for page in pages]"
        )
    names = [str(index) for index in range(len(images))]
    return make_source(Pictures(images), names, None, "list of")


def source_of_array(
    images: NDArray[Any],
    labels: NDArray[Any] | None,
    opening: str,
    names: Sequence[str] | None = None,
) -> Source:
    """Make a source of an array as in `open_array`, its images named by default by their numbers.

    Raises
    ------
    InputError
        As `open_array`; or there is not one label for each image, or labels are bytes that are not
        ASCII.
    """
    pixels = checked(images, labels)
    store: Store = Pixels(partial(np.asarray, pixels), pixels.shape[1:])
    if pixels.dtype == np.uint16:
        store = Pictures([picture(one) for one in pixels])
    names = [str(index) for index in range(len(pixels))] if names is None else names
    return make_source(store, names, None if labels is None else _as_text(labels.ravel()), opening)


def _as_text(labels: NDArray[Any]) -> NDArray[np.str_]:
    try:
        return labels.astype(np.str_)
    except UnicodeDecodeError as error:
        raise InputError(
            f"label {error.object!r} is not ASCII text: "
            "convert labels to text first, such as with np.char.decode(y, 'utf-8')"
        ) from None


def checked(
    images: NDArray[Any], labels: NDArray[Any] | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Check an array of images, and its labels, and give it as (N, H, W, K); see `open_array`."""
    advice = _type_advice(images) or _shape_advice(images)
    if advice:
        raise InputError(f"array of shape {images.shape}, type {images.dtype}: {advice}")
    if labels is not None and labels.shape not in ((len(images),), (len(images), 1)):
        raise InputError(
            f"labels of shape {labels.shape} do not fit {len(images)} images: give one for each"
        )
    pixels = images[..., None] if images.ndim == 3 else images
    return pixels.astype(images.dtype.newbyteorder("="), copy=False)


def _shape_advice(images: NDArray[Any]) -> str | None:
    """Say what to do about the shape; None where it is right."""
    match images.shape:
        case shape if 0 in shape:
            return "it holds no images"
        case (_, _):
            return (
                "images must be (N, H, W) or (N, H, W, channels): "
                "for one image give X[None], for flat rows X.reshape(len(X), H, W)"
            )
        case (_, _, 1 | 3):
            return "this looks like one image: give X[None], or of many grey ones X[..., None]"
        case (_, _, _) | (_, _, _, 1 | 3):
            return None
        case (_, 1 | 3, _, _):
            return "move the channels last: X.transpose(0, 2, 3, 1)"
        case (_, _, _, 4):
            return "4 channels: drop the transparency with X[..., :3]"
    return "images must be (N, H, W), (N, H, W, 1) or (N, H, W, 3)"


def _type_advice(images: NDArray[Any]) -> str | None:
    """Say what to do about the type; None where it is right."""
    match images.dtype.kind, images.dtype.itemsize:
        case "u", 1:
            return None
        case "u", 2 if images.ndim < 4 or images.shape[3] == 1:
            return None
        case "O" | "U", _ if all(isinstance(i, str | PathLike) for i in images.flat):
            return "paths must be in one dimension"
        case "f", _:
            return _float_advice(images)
        case "b", _:
            return "convert to 0..255 first: X.astype('uint8') * 255"
        case "i" | "u", _:
            return _integer_advice(images)
    return "images must be numbers of type uint8"


def _integer_advice(images: NDArray[Any]) -> str:
    low, high = (int(images.min()), int(images.max())) if images.size else (0, 0)
    span = f"convert its {low}..{high} to uint8, 0..255, first"
    if low < 0:
        return span
    if 0 < high < DARK:
        return f"{span}: {_scaled(high)}"
    if high <= 255:
        return "values must be 0..255 as uint8: convert with X.astype('uint8')"
    return f"{span}: {_scaled(65535)}, or what is white for your camera"


def _scaled(high: float) -> str:
    return f"(X * (255 / most)).round().astype('uint8'), with most = {high:g} if that is white"


def _float_advice(images: NDArray[Any]) -> str:
    if np.isnan(images).any():
        return "it holds NaN: clean it, then convert to uint8, 0..255"
    low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
    span = f"convert its {low:g}..{high:g} to uint8, 0..255, first"
    if low >= 0 and high <= 1:
        return f"{span}: (X * 255).round().astype('uint8')"
    if low >= -1 and high <= 1:
        return f"{span}: ((X + 1) * 127.5).round().astype('uint8')"
    if low >= 0 and high < DARK:
        return f"{span}: {_scaled(high)}"
    if low >= 0 and high <= 255:
        return f"{span}: X.round().astype('uint8')"
    return span
