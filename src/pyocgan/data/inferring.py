"""The size and channels that suit a source, guessed from headers, and which bits are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import numpy as np

from ..errors import UsageError
from .decode import Header, UnreadableImage, size_text
from .reading import Images, read
from .rule import LARGEST_SIDE, SMALLEST_SIDE, ImageRule
from .source import Source

SQUARES = (64, 128, LARGEST_SIDE)  # sides
MOST_BYTES = 2**30  # of all images together, where they are larger than the smallest square

DECODED = 20  # of a sample, to see which bits are in use
ALIKE = 1.05  # times as wide: a shape that is no other

BITS = (8, 10, 12, 14, 16)  # that cameras have

Size = tuple[int, int]
_GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})


def infer_rule(
    source: Source,
    image_size: Literal["auto"] | int | Size = "auto",
    channels: Literal["auto", 1, 3] = "auto",
) -> tuple[ImageRule, tuple[str, ...]]:
    """Choose how the images of a source become arrays, by looking at their headers.

    Images with 16 bits are decoded: where none is brighter than 4095, say, that is white.

    Parameters
    ----------
    source
        What `open_source` gives. Images with unreadable headers are passed over: `read` reports
        them.
    image_size
        A side, (H, W), or ``"auto"``: the size that all images share if its sides lie in 8 to
        256, otherwise the smallest square of 64, 128 or 256 in which the longest side fits, or
        256. A smaller one where so many images would take more than 1 GiB.
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
    headers = source.headers(range(len(source)))
    sizes = sorted({header.size for header in headers})
    modes = {header.mode for header in headers}
    shown = _chosen_channels(channels, modes)
    size = _chosen_size(image_size, sizes, MOST_BYTES // max(1, len(source) * shown))
    bits = _bits_in_use(source, range(len(source))) if any(map(_has_16_bits, modes)) else 16
    widths = [width / height for height, width in sizes]
    rule = ImageRule(size, shown, bits, (min(widths), max(widths)) if widths else None)
    return rule, (*_size_notes(rule, sizes), *_mode_notes(rule, headers))


def fitting_notes(source: Source, rule: ImageRule, *, odd_alone: bool = False) -> tuple[str, ...]:
    """Say what a rule that was made for other images does to these; by a sample of them.

    Or of this that alone which may make normal images novel.
    """
    headers, rows = source.sampled_headers, source.sample
    sizes = sorted({header.size for header in headers})
    modes = {header.mode for header in headers}
    shapes = _shape_notes(rule, sizes)
    bits: Iterator[str] = iter(())
    if any(map(_has_16_bits, modes)):
        bits = _bits_notes(rule, _bits_in_use(source, rows[:: -(-len(rows) // DECODED)]))
    if odd_alone:
        return (*shapes, *bits)
    return (*_size_notes(rule, sizes), *shapes, *_mode_notes(rule, headers), *bits)


def read_inferred(
    source: Source,
    image_size: Literal["auto"] | int | Size = "auto",
    channels: Literal["auto", 1, 3] = "auto",
    *,
    skip_unreadable: bool = False,
) -> tuple[ImageRule, tuple[str, ...], Images]:
    """Read all images as suits those of them that can be read.

    Parameters and errors are those of `infer_rule` and `read`, whose results it returns.
    """
    rule, notes = infer_rule(source, image_size, channels)
    images = read(source, rule, skip_unreadable=skip_unreadable)
    if not images.skipped:
        return rule, notes, images
    left_out = {name for name, _ in images.skipped}
    sound = source.subset([name not in left_out for name in source.names])
    own_rule, notes = infer_rule(sound, image_size, channels)
    if own_rule != rule:
        images = replace(read(sound, own_rule), skipped=images.skipped)
    return own_rule, notes, images


def _chosen_size(wanted: str | int | Size, seen: list[Size], most_pixels: int) -> Size:
    match wanted:
        case "auto":
            return _automatic_size(seen, most_pixels)
        case int():
            return wanted, wanted
        case (int(height), int(width)):
            return height, width
        case _:
            raise UsageError(
                f"image size {wanted!r} is not possible: 'auto', a side, or (height, width)"
            )


def _automatic_size(seen: list[Size], most_pixels: int) -> Size:
    if len(seen) == 1 and all(SMALLEST_SIDE <= n <= LARGEST_SIDE for n in seen[0]):
        height, width = seen[0]
        if height * width <= max(most_pixels, SQUARES[0] ** 2):
            return height, width
    longest = max((n for size in seen for n in size), default=SQUARES[0])
    needed = next((side for side in SQUARES if side >= longest), SQUARES[-1])
    fitting = [side for side in SQUARES[1:] if side <= needed and side**2 <= most_pixels]
    side = max(fitting, default=SQUARES[0])
    return side, side


def _chosen_channels(wanted: str | int, modes: set[str]) -> int:
    if wanted == "auto":
        return 3 if any(map(_is_colour, modes)) else 1
    if wanted not in (1, 3):
        raise UsageError(f"channels {wanted!r} is not possible: 'auto', 1 (grey) or 3 (RGB)")
    return int(wanted)


def _is_colour(mode: str) -> bool:
    return mode not in _GREY_MODES and not _has_16_bits(mode)


def _has_16_bits(mode: str) -> bool:
    return mode.startswith("I")


def _bits_in_use(source: Source, rows: Iterable[int]) -> int:
    """Return how many of 16 bits it takes to write the brightest pixel of some images."""
    brightest = 0
    for index in rows:
        with suppress(UnreadableImage):  # `read` reports it
            image = source.image(index)
            if _has_16_bits(image.mode):
                brightest = max(brightest, int(np.asarray(image).max()))
    enough = [bits for bits in BITS if 0 < brightest < 2**bits]  # black says nothing
    return min(enough, default=BITS[-1])


def _size_notes(rule: ImageRule, sizes: list[Size]) -> Iterator[str]:
    order = "" if all(h == w for h, w in (*sizes, rule.image_size)) else " (height×width)"
    target = size_text(rule.image_size) + order
    if len(sizes) > 1:
        smallest, *_, largest = sorted(sizes, key=lambda size: size[0] * size[1])
        span = f"{size_text(smallest)} to {size_text(largest)}"
        yield f"{len(sizes)} sizes from {span}: all resized to {target}"
    elif sizes and sizes[0] != rule.image_size:
        yield f"images of {size_text(sizes[0])}: resized to {target}"


def _shape_notes(rule: ImageRule, sizes: list[Size]) -> Iterator[str]:
    """Say that images are squeezed otherwise than those that a model has learned."""
    if rule.proportions is None:
        return
    least, most = rule.proportions
    others = [(h, w) for h, w in sizes if not least / ALIKE <= w / h <= most * ALIKE]
    if others:
        learned = " to ".join(dict.fromkeys((f"{least:.2f}", f"{most:.2f}")))
        height, width = others[0]
        yield (
            f"images of another shape than those learned (width / height {width / height:.2f}, "
            f"learned {learned}) are squeezed otherwise, and may be called novel for that alone: "
            "crop or pad them"
        )


def _bits_notes(rule: ImageRule, used: int) -> Iterator[str]:
    """Say that 16-bit images use fewer bits than those learned, or more."""
    if used > rule.bits:
        yield (
            f"of 16 bits {used} are in use, where the model takes {2**rule.bits - 1} and all that "
            "is brighter for white: if they are scaled otherwise than what it has learned, divide "
            f"by {2 ** (used - rule.bits)}"
        )
    elif used < rule.bits == BITS[-1]:
        yield (
            f"of 16 bits {used} seem to be in use, where the model takes 65535 for white: if that "
            f"is darker than what it has learned, multiply by {2 ** (BITS[-1] - used)}"
        )


def _mode_notes(rule: ImageRule, headers: set[Header]) -> Iterator[str]:
    modes = {header.mode for header in headers}
    if any(map(_has_16_bits, modes)):
        used = "" if rule.bits == 16 else f", of which {rule.bits} are in use,"
        yield f"16-bit images{used} reduced to 8 bits: 0 to {2**rule.bits - 1} becomes 0 to 255"
    if any(header.has_transparency for header in headers):
        yield "images with transparency laid on white"
    colours = {_is_colour(mode) for mode in modes}
    if rule.channels == 1 and True in colours:
        yield "images stored in colour reduced to grey"
    if rule.channels == 3 and False in colours:
        yield "grey images repeated in all 3 channels"
