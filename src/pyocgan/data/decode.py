"""Encoded bytes to a Pillow image, and any Pillow image to grey or RGB.

Only five formats are opened, recognised by their first bytes and never by their suffix, so that
no file reaches one of Pillow's many other decoders. Sizes are (height, width), also in messages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import InputError

LIMIT_MEGAPIXELS = 100

# Called directly instead of through Image.open, whose own size check knows no height and width.
_PLUGINS: dict[bytes, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.jpeg_factory,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II\x2a\x00": TiffImagePlugin.TiffImageFile,
    b"MM\x00\x2a": TiffImagePlugin.TiffImageFile,
    b"II\x2b\x00": TiffImagePlugin.TiffImageFile,  # BigTIFF
    b"RIFF": WebPImagePlugin.WebPImageFile,
}
_BIG_TIFF_REVERSED = b"MM\x00\x2b"  # Pillow takes its 64-bit numbers for 32-bit ones
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_BITS_TAG, _PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_KIND_OF_PAGE_TAG, _THUMBNAIL_OR_MASK = 254, 1 | 4  # of TIFF


class UnreadableImage(InputError):  # noqa: N818
    """One image that cannot be read.

    Parameters
    ----------
    name
        The image, as its source names it.
    reason
        What is wrong, as a predicate: ``"is cut short"``.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name} cannot be read: it {self.reason}"

    def with_advice(self, advice: str) -> UnreadableImage:
        """Return the same error, saying what to do."""
        return UnreadableImage(self.name, f"{self.reason}; {advice}")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Give the name `name` to every `UnreadableImage` raised inside."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(name, error.reason) from None


def unreadable(reason: str) -> UnreadableImage:
    """Build the error for an image whose name only the caller knows (see `naming`)."""
    return UnreadableImage("the image", reason)


def size_text(size: tuple[int, int]) -> str:
    """Write a (height, width) as ``"480×640"``."""
    return f"{size[0]}×{size[1]}"


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before it is decoded: (height, width) upright, Pillow's mode.

    `has_transparency`: it has an alpha channel, or a colour of it counts as transparent.
    """

    size: tuple[int, int]
    mode: str
    has_transparency: bool = False


def read_header(file: BinaryIO) -> Header:
    """Read size and mode without decoding pixels.

    Raises
    ------
    UnreadableImage
        The file is empty, no image, damaged, or over the size limit.
    """
    with plain_errors():
        return header_of(_opened(file))


def decode(file: BinaryIO, at_least: int | None = None) -> Image.Image:
    """Decode the image, of an animation the first, and turn it upright (EXIF).

    Parameters
    ----------
    file
        A seekable binary file.
    at_least
        The caller needs no more than this many pixels a side: a large JPEG is then decoded at
        1/2, 1/4 or 1/8 of its size, never below `at_least`, several times faster.

    Raises
    ------
    UnreadableImage
        The file is empty, no image, damaged, or over the size limit.
    """
    with plain_errors():
        image = _opened(file)
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        return upright(image)


def header_of(image: Image.Image) -> Header:
    """Return size and mode of an image that was opened, as it will be upright."""
    width, height = image.size
    turned = not _is_turned(image) and _orientation(image) in _SIDEWAYS
    size = (width, height) if turned else (height, width)
    return Header(size, image.mode, image.has_transparency_data)


def upright(image: Image.Image) -> Image.Image:
    """Turn an image that was opened and loaded upright (EXIF), with 0 black and all bits in use."""
    method = _UPRIGHT.get(_orientation(image))
    turned = image if method is None else image.transpose(method)
    turned = _of_16_bits(turned, _declared_bits(image))
    return _inverted(turned) if _is_negative(image) else turned


def as_mode(image: Image.Image, mode: Literal["L", "RGB"], bits: int = 16) -> Image.Image:
    """Convert an image of any mode to 8-bit grey (ITU-R 601 luma) or RGB.

    16 bits, of which `bits` are in use, become 8 (2**bits − 1, and what is above, → 255);
    transparency is laid on white, a single transparent grey too.

    Raises
    ------
    UnreadableImage
        Floating-point pixels, integers outside 0..65535, or a mode that Pillow cannot convert.
    """
    if image.mode == "F":
        raise unreadable("holds floating-point pixels: save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        image = _reduced_to_8_bits(image, 2**bits - 1)
    try:
        if image.has_transparency_data:
            image = _on_white(image)
        return image if image.mode == mode else image.convert(mode)
    except ValueError:
        raise unreadable(f"has pixels of the kind {image.mode}: save it as RGB or grey") from None


def _orientation(image: Image.Image) -> int:
    """Return the orientation that EXIF or XMP gives, 1 to 8: 1 is upright, or not to be found out.

    `ImageOps.exif_transpose` writes all of the EXIF anew, and so refuses sound photographs with
    one odd entry among the others.
    """
    try:
        # Not a PNG's own method, which would decode all of it to look for EXIF behind the pixels;
        # that is seen once they are decoded.
        exif = Image.Image.getexif(image)
        return int(exif.get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _is_turned(image: Image.Image) -> bool:
    """Say whether Pillow gives the upright size beforehand: of a TIFF by its own entry."""
    return _ORIENTATION_TAG in getattr(image, "tag_v2", {})


def _declared_bits(image: Image.Image) -> int:
    """Return the bits of a grey TIFF's pixels, such as 12, whose white is less than 65535."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_TAG, (16,))
    return int(bits[0]) if image.mode.startswith("I;16") and len(bits) == 1 else 16


def _of_16_bits(image: Image.Image, bits: int) -> Image.Image:
    if not 8 < bits < 16:
        return image
    most = 2**bits - 1
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 65535 + most // 2) // most).astype(np.uint16))


def _is_negative(image: Image.Image) -> bool:
    """Say whether 0 is white, which Pillow sees to for 8 bits alone."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO


def _inverted(image: Image.Image) -> Image.Image:
    return Image.fromarray(65535 - np.asarray(image).astype(np.uint16))


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    start = file.read(8)
    file.seek(0)
    if not start:
        raise unreadable("is empty (0 bytes)")
    for signature, plugin in _PLUGINS.items():
        if start.startswith(signature):
            return _alone(_of_bearable_size(plugin(file)))
    if start.startswith(_BIG_TIFF_REVERSED):
        raise unreadable("is a BigTIFF with the high bytes first, not read here: save it as TIFF")
    raise unreadable("is not a PNG, JPEG, BMP, TIFF or WebP image")


def _of_bearable_size(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    width, height = image.size
    if width * height > LIMIT_MEGAPIXELS * 1_000_000:
        size = size_text((height, width))
        raise unreadable(f"is {size} pixels, over the limit of {LIMIT_MEGAPIXELS} megapixels")
    return image


def _alone(image: ImageFile.ImageFile) -> ImageFile.ImageFile:
    """Refuse a stack: of the pages of a TIFF all but the first would be passed over in silence."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.n_frames == 1:
        return image
    pages = 1
    for further in range(1, image.n_frames):
        image.seek(further)
        pages += not image.tag_v2.get(_KIND_OF_PAGE_TAG, 0) & _THUMBNAIL_OR_MASK
    if pages > 1:
        raise unreadable(f"is a stack of {pages:,} pages: save each as a file of its own")
    image.seek(0)
    return image


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file into a short reason; keep its warnings in."""
    # For good, and Pillow's alone: warnings.catch_warnings is not safe where threads decode. It
    # could put back the filters of another thread, and so silence the whole process.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        yield
    except UnreadableImage:
        raise
    except Exception as error:  # damaged bytes make decoders raise almost anything
        raise unreadable(_reason(error)) from error


def _reason(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, EOFError) or "truncated" in said.lower():
        return "is cut short"
    return f"is damaged ({said or type(error).__name__})"


def _reduced_to_8_bits(image: Image.Image, white: int) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise unreadable("holds integers outside 0..65535: save it with 8 or 16 bits a channel")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        values[values == transparent] = white
    rounded = (values.clip(max=white) * 255 + white // 2) // white
    return Image.fromarray(rounded.astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA"))
