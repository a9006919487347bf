"""Sources to arrays. Shapes: N images, H W pixels, K channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .decode import UnreadableImage, naming
from .rule import ImageRule
from .source import Source, count_text


@dataclass(frozen=True, eq=False)
class Images:
    """Images as one array.

    Parameters
    ----------
    pixels
        (N, H, W, K) uint8, 0 to 255.
    names
        N names.
    labels
        (N,) class names, or None.
    skipped
        (name, reason) of every image that could not be read.
    """

    pixels: NDArray[np.uint8]
    names: tuple[str, ...]
    labels: NDArray[np.str_] | None
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """Give the SHA-256 (hex) of shape, pixels and labels; names do not count."""
        digest = sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        labels = None if self.labels is None else self.labels.tolist()
        digest.update(repr(labels).encode())
        return digest.hexdigest()


def read(
    source: Source,
    rule: ImageRule,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Images:
    """Read all images of a source.

    Parameters
    ----------
    source
        What `open_source` gives.
    rule
        How each image becomes (H, W, K).
    skip_unreadable
        Collect unreadable images in `Images.skipped` instead of raising on the first.
    progress
        Called after every image with the number of images done.

    Raises
    ------
    UnreadableImage
        An image cannot be read, and `skip_unreadable` is False.
    InputError
        There are no images, or none can be read.
    """
    images = _read_rows(source, rule, range(len(source)), skip_unreadable, progress)
    _require_some(source, len(images), images.skipped)
    return images


def read_batches(
    source: Source, rule: ImageRule, batch_size: int, *, skip_unreadable: bool = False
) -> Iterator[Images]:
    """Read `batch_size` images of a source at a time, in order: memory for one batch only.

    Unreadable images make a batch smaller, down to 0 images, and stand in its `Images.skipped`.
    Parameters and errors are those of `read`; that none can be read is found out at the end.
    """
    done = 0
    skipped: tuple[tuple[str, str], ...] = ()
    for start in range(0, len(source), batch_size):
        rows = range(start, min(start + batch_size, len(source)))
        batch = _read_rows(source, rule, rows, skip_unreadable)
        done += len(batch)
        skipped = skipped or batch.skipped[:1]
        yield batch
    _require_some(source, done, skipped)


def _read_rows(
    source: Source,
    rule: ImageRule,
    rows: Sequence[int],
    skip_unreadable: bool,
    progress: Callable[[int], None] | None = None,
) -> Images:
    pixels = np.empty((len(rows), *rule.shape), np.uint8)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    for done, row in enumerate(rows, start=1):
        try:
            pixels[len(kept)] = _read_one(source, row, rule)
            kept.append(row)
        except UnreadableImage as error:
            if not skip_unreadable:
                raise _with_advice(error) from error
            skipped.append((error.name, error.reason))
        if progress is not None:
            progress(done)
    names = tuple(source.names[row] for row in kept)
    labels = None if source.labels is None else source.labels[kept]
    return Images(pixels[: len(kept)], names, labels, tuple(skipped))


def _read_one(source: Source, row: int, rule: ImageRule) -> NDArray[np.uint8]:
    with naming(source.names[row]):
        return rule.apply(source.image(row, at_least=rule.enough_pixels))


def _with_advice(error: UnreadableImage) -> UnreadableImage:
    advice = "--skip-unreadable (skip_unreadable=True) skips such files"
    return UnreadableImage(error.name, f"{error.reason}; {advice}")


def _require_some(source: Source, count: int, skipped: Sequence[tuple[str, str]]) -> None:
    if not len(source):
        raise InputError(f"there is nothing to read: {source.description}")
    if not count:
        raise InputError(
            f"none of {count_text(len(source))} can be read: {skipped[0][0]} {skipped[0][1]}"
        )
