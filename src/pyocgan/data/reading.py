"""Sources to arrays. Shapes: N images, H W pixels, K channels."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .decode import UnreadableImage, naming
from .rule import DARK, ImageRule
from .source import Source, count_text
from .stores import Pixels

# Threads that decode while the caller works: half of the cores, for the caller wants some too.
# Only one where images are small: Python itself then is most of the work, and does one at a time.
DECODERS = max(1, min(4, (os.cpu_count() or 1) // 2))
SMALL = 96**2  # pixels; where a second thread begins to gain
SKIPPING = "--skip-unreadable (skip_unreadable=True) skips such files"


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

    pixels: NDArray[np.uint8] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    labels: NDArray[np.str_] | None = field(repr=False)
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def digests(self) -> list[bytes]:
        """Give a short name to what each image shows; copies have the same one."""
        return [sha256(pixels.tobytes()).digest() for pixels in self.pixels]

    def distinct(self) -> Images:
        """Return the images without copies: of those that are alike to the last bit the first."""
        first: dict[bytes, int] = {}
        for row, digest in enumerate(self.digests()):
            first.setdefault(digest, row)
        rows = [*first.values()]
        if len(rows) == len(self):
            return self
        names = tuple(self.names[row] for row in rows)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, pixels=self.pixels[rows], names=names, labels=labels)

    def fingerprint(self) -> str:
        """Give the SHA-256 (hex) of shape, pixels and labels; names do not count."""
        digest = sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        labels = None if self.labels is None else self.labels.tolist()
        digest.update(repr(labels).encode())
        return digest.hexdigest()


def dark_note(images: Images) -> tuple[str, ...]:
    """Say that no pixel is nearly white: perhaps white is another number than 255."""
    brightest = int(images.pixels.max(initial=0))
    if brightest >= DARK:
        return ()
    return (f"the brightest pixel is {brightest} of 255: are these images scaled to 0..255?",)


def copies_note(images: Images, distinct: Images, *, learned: bool = True) -> list[str]:
    """Say how many of the images are no other than the rest; nothing where none is.

    Of images that are `learned` each counts once; of those tested, copies too.
    """
    count_how = "each counts once" if learned else "in a test they count as often"
    count = len(images) - len(distinct)
    verb = "is a copy of another" if count == 1 else "are copies of others"
    return [f"{count:,} of {len(images):,} images {verb}: {count_how}"] if count else []


def read(
    source: Source,
    rule: ImageRule,
    *,
    skip_unreadable: bool = False,
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

    Raises
    ------
    UnreadableImage
        An image cannot be read, and `skip_unreadable` is False.
    InputError
        There are no images, or none can be read.
    """
    try:
        images = _read_rows(source, rule, range(len(source)), skip_unreadable)
    except UnreadableImage as error:
        raise error.with_advice(SKIPPING) from error
    _require_some(source, len(images), images.skipped)
    return images


def read_batches(
    source: Source, rule: ImageRule, batch_size: int, *, skip_unreadable: bool = False
) -> Iterator[Images]:
    """Read `batch_size` images of a source at a time, in order.

    While the caller works on one batch, threads decode the next: memory for `DECODERS` + 2 batches
    at most.
    Unreadable images make a batch smaller, down to 0 images, and stand in its `Images.skipped`.
    Parameters and errors are those of `read`; that none can be read is found out at the end.
    """
    starts = range(0, len(source), batch_size)
    batches_of_rows = (range(len(source))[start : start + batch_size] for start in starts)
    jobs = (partial(_read_rows, source, rule, rows, skip_unreadable) for rows in batches_of_rows)
    done = 0
    skipped: tuple[tuple[str, str], ...] = ()
    with closing(
        (job() for job in jobs) if source.is_decoded else _run_ahead(jobs, _decoders(source))
    ) as batches:
        for batch in batches:
            done += len(batch)
            skipped = skipped or batch.skipped[:1]
            yield batch
    _require_some(source, done, skipped)


def _decoders(source: Source) -> int:
    """Choose how many threads decode, by the first image: others are mostly like it."""
    try:
        height, width = source.header(0).size if len(source) else (0, 0)
    except UnreadableImage:  # and will say so in its place
        return 1
    return DECODERS if height * width >= SMALL else 1


def _run_ahead(jobs: Iterable[Callable[[], Images]], threads: int) -> Generator[Images, None, None]:
    """Yield what the jobs return, in order, while threads do the next ones, `threads` of them.

    An error of a job is raised where its result would have come. Closing the generator drops the
    jobs that wait and waits for those at work.
    """
    ahead: deque[Future[Images]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for job in jobs:
            ahead.append(pool.submit(job))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read_rows(
    source: Source,
    rule: ImageRule,
    rows: Sequence[int],
    skip_unreadable: bool,
) -> Images:
    if isinstance(source.store, Pixels):  # together, for none of them can be unreadable
        taken = rule.apply_array(source.store.pixels[source.rows[rows]])
        return _images(source, taken, rows, ())
    pixels = np.empty((len(rows), *rule.shape), np.uint8)
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    for row in rows:
        try:
            pixels[len(kept)] = _read_one(source, row, rule)
            kept.append(row)
        except UnreadableImage as error:
            if not skip_unreadable:
                raise
            skipped.append((error.name, error.reason))
    return _images(source, pixels[: len(kept)], kept, skipped)


def _images(
    source: Source,
    pixels: NDArray[np.uint8],
    rows: Sequence[int],
    skipped: Sequence[tuple[str, str]],
) -> Images:
    names = tuple(source.names[row] for row in rows)
    labels = None if source.labels is None else source.labels[rows]
    return Images(pixels, names, labels, tuple(skipped))


def _read_one(source: Source, row: int, rule: ImageRule) -> NDArray[np.uint8]:
    with naming(source.names[row]):
        return rule.apply(source.image(row, at_least=rule.enough_pixels))


def _require_some(source: Source, count: int, skipped: Sequence[tuple[str, str]]) -> None:
    if not len(source):
        raise InputError(f"there is nothing to read: {source.description}")
    if not count:
        raise InputError(
            f"none of {count_text(len(source))} can be read: {skipped[0][0]} {skipped[0][1]}"
        )
