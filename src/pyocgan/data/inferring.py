"""The size and channels that suit a source, guessed from headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..errors import UsageError
from .decode import Header, UnreadableImage, size_text
from .rule import LARGEST_SIDE, SMALLEST_SIDE, ImageRule
from .source import Source

DEFAULT_SIZE = (64, 64)

Size = tuple[int, int]
_GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


def infer_rule(
    source: Source,
    image_size: Literal["auto"] | int | Size = "auto",
    channels: Literal["auto", 1, 3] = "auto",
) -> tuple[ImageRule, tuple[str, ...]]:
    """Choose how the images of a source become arrays, by looking at their headers.

    Parameters
    ----------
    source
        What `open_source` gives. Images with unreadable headers are passed over: `read` reports
        them.
    image_size
        A side, (H, W), or ``"auto"``: the size that all images share if its sides lie in 8 to
        128, otherwise 64×64.
    channels
        1, 3, or ``"auto"``: 3 if any image is of a colour mode, even one that shows only grey.

    Returns
    -------
    The rule, and lines that tell a person what it changes.

    Raises
    ------
    UsageError
        A size or number of channels out of its range.
    """
    return rule_of(read_headers(source)[0], image_size, channels)


def rule_of(
    headers: set[Header],
    image_size: Literal["auto"] | int | Size = "auto",
    channels: Literal["auto", 1, 3] = "auto",
) -> tuple[ImageRule, tuple[str, ...]]:
    """Do what `infer_rule` does for images of these headers."""
    sizes = sorted({header.size for header in headers})
    modes = {header.mode for header in headers}
    rule = ImageRule(_chosen_size(image_size, sizes), _chosen_channels(channels, modes))
    return rule, (*_size_notes(rule, sizes), *_mode_notes(rule, modes))


def read_headers(source: Source) -> tuple[set[Header], list[UnreadableImage]]:
    """Return the different headers of a source's images, and what cannot be read of the others."""
    headers, unreadable = set(), []
    for index in range(len(source)):
        try:
            headers.add(source.header(index))
        except UnreadableImage as error:
            unreadable.append(error)
    return headers, unreadable


def _chosen_size(wanted: str | int | Size, seen: list[Size]) -> Size:
    match wanted:
        case "auto":
            fits = len(seen) == 1 and all(SMALLEST_SIDE <= n <= LARGEST_SIDE for n in seen[0])
            return seen[0] if fits else DEFAULT_SIZE
        case int():
            return wanted, wanted
        case (int(height), int(width)):
            return height, width
        case _:
            raise UsageError(
                f"image size {wanted!r} is not possible: 'auto', a side, or (height, width)"
            )


def _chosen_channels(wanted: str | int, modes: set[str]) -> int:
    if wanted == "auto":
        return 3 if any(map(_is_colour, modes)) else 1
    if wanted not in (1, 3):
        raise UsageError(f"channels {wanted!r} is not possible: 'auto', 1 (grey) or 3 (RGB)")
    return int(wanted)


def _is_colour(mode: str) -> bool:
    return mode not in _GREY_MODES and not mode.startswith("I")


def _size_notes(rule: ImageRule, sizes: list[Size]) -> Iterator[str]:
    target = size_text(rule.image_size)
    if len(sizes) > 1:
        smallest, *_, largest = sorted(sizes, key=lambda size: size[0] * size[1])
        span = f"{size_text(smallest)} to {size_text(largest)}"
        yield f"{len(sizes)} sizes from {span}: all resized to {target}"
    elif sizes and sizes[0] != rule.image_size:
        yield f"images of {size_text(sizes[0])}: resized to {target}"


def _mode_notes(rule: ImageRule, modes: set[str]) -> Iterator[str]:
    if any(mode.startswith("I") for mode in modes):
        yield "16-bit images reduced to 8 bits: 0 to 65535 becomes 0 to 255"
    if modes & _ALPHA_MODES:
        yield "transparent images laid on white"
    colours = {_is_colour(mode) for mode in modes}
    if rule.channels == 1 and True in colours:
        yield "colour images reduced to grey"
    if rule.channels == 3 and False in colours:
        yield "grey images repeated in all 3 channels"
