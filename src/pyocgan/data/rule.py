"""How an image becomes what a model sees. Shapes: N images, H W pixels, K channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError
from .decode import as_mode, size_text

SMALLEST_SIDE, LARGEST_SIDE = 8, 256  # pixels; three stride-2 convolutions leave 1×1 of 8×8

DARK = 64  # of 255: where no pixel is as bright, white is perhaps another number

# Decoding a large JPEG at a fraction of its size, but at 4 times the size wanted or more, changes
# a resized pixel by at most 1/255.
_DRAFT_MARGIN = 4


@dataclass(frozen=True)
class ImageRule:
    """How any image becomes the array that a model sees; stored in the model.

    The whole image is resized to H×W without keeping its aspect ratio, by Pillow's bilinear
    filter, which averages over the area (antialiases) when it shrinks. Channels are converted
    before that.

    Parameters
    ----------
    image_size
        (H, W), each 8 to 256 pixels.
    channels
        1 (grey, ITU-R 601 luma) or 3 (RGB).
    bits
        Bits that images with 16 use: where a camera fills 12 of them, 4095 is white, not 65535.
    proportions
        The least and the greatest width / height of the images that the rule was made for, where
        that is known. It changes nothing of an image.

    Raises
    ------
    UsageError
        A side or a number of channels out of its range.
    """

    image_size: tuple[int, int]
    channels: int
    bits: int = 16
    proportions: tuple[float, float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in self.image_size):
            raise UsageError(
                f"image size {size_text(self.image_size)} is out of range: "
                f"each side must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels"
            )
        if self.channels not in (1, 3):
            raise UsageError(f"channels {self.channels!r} is not possible: 1 (grey) or 3 (RGB)")
        if not 1 <= self.bits <= 16:
            raise UsageError(f"{self.bits!r} bits in use must be 1 to 16")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, K) of one image."""
        return (*self.image_size, self.channels)

    @property
    def enough_pixels(self) -> int:
        """Pixels a side above which decoding a larger image changes nothing that matters."""
        return _DRAFT_MARGIN * max(self.image_size)

    def within(self, side: int) -> ImageRule:
        """Return the rule for the same images at most `side` pixels high and wide, as they are."""
        return replace(self, image_size=_within(self.image_size, side))

    def describe(self, network_side: int = LARGEST_SIDE) -> str:
        """Say the rule in one line, and what networks see that look at `network_side` at most."""
        size = size_text(self.image_size)
        channels = "1 channel (ITU-R 601 luma)" if self.channels == 1 else "3 channels (RGB)"
        resizing = "other sizes resized: Pillow bilinear, antialiased"
        seen = self.within(network_side).image_size
        less = "" if seen == self.image_size else f"; the networks see {size_text(seen)}"
        white = "" if self.bits == 16 else f"; of 16 bits {2**self.bits - 1} is white"
        return f"taken at {size} pixels ({resizing}), {channels}{white}{less}"

    def to_dict(self) -> dict[str, Any]:
        """Give the rule as plain JSON values."""
        plain = {"image_size": list(self.image_size), "channels": self.channels, "bits": self.bits}
        if self.proportions is None:
            return plain
        return plain | {"proportions": [round(n, 4) for n in self.proportions]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageRule:
        """Rebuild the rule from `to_dict`'s values."""
        height, width = values["image_size"]
        proportions = values.get("proportions")  # which came later
        return cls(
            (int(height), int(width)),
            int(values["channels"]),
            int(values.get("bits", 16)),
            proportions and (float(proportions[0]), float(proportions[1])),
        )

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Convert and resize one decoded image: the only place where that happens.

        Parameters
        ----------
        image
            A Pillow image of any size and mode, upright.

        Returns
        -------
        (H, W, K) uint8, 0 to 255.

        Raises
        ------
        UnreadableImage
            The image's mode has no 8-bit meaning (floating point).
        """
        height, width = self.image_size
        converted = as_mode(image, "L" if self.channels == 1 else "RGB", self.bits)
        if converted.size != (width, height):
            converted = converted.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(converted).reshape(self.shape)

    def apply_array(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert and resize images that lie in one array.

        Parameters
        ----------
        images
            (N, H', W') or (N, H', W', 1 or 3) uint8, 0 to 255; see `open_source` for a check.

        Returns
        -------
        (N, H, W, K) uint8, 0 to 255; the array itself where there is nothing to do.
        """
        if images.ndim == 3:
            images = images[..., None]
        if images.shape[1:] == self.shape:
            return images
        result = np.empty((len(images), *self.shape), np.uint8)
        for index, pixels in enumerate(images):
            result[index] = self.apply(picture(pixels))
        return result


def picture(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Image.Image:
    """Wrap (H, W, 1 or 3) uint8 pixels, or (H, W, 1) uint16, as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(*size, side)
    height, width = (max(SMALLEST_SIDE, round(scale * n)) for n in size)
    return height, width


def averaged_down(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize images (N, H, W, K) so that no side is longer than `side`; small ones stay."""
    _, height, width, channels = pixels.shape
    if max(height, width) <= side:
        return pixels
    return ImageRule(_within((height, width), side), channels).apply_array(pixels)
