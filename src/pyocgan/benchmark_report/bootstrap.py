"""Intervals of a mean AUROC: the images of a data set drawn again, alike for all its cells.

Shapes: R resamples, n normal and m novel images of a cell. A resample is kept as weights, how often
each image was drawn, by the Poisson bootstrap: each number is Poisson(1) by itself. An image has
the same numbers whichever class, seed or method tested it. So cells that share images, as those of
a table do, go up and down together, and the difference of two methods has an interval, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
ROUNDING = 1e-9  # by which equal figures may differ
MOST_IMAGES = 10_000  # normal or novel ones of a cell; of more, every k-th takes part
BLOCK = 10_000  # images whose weights are drawn together

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a figure's resamples."""

    low: float
    high: float

    @classmethod
    def of(cls, resampled: Floats) -> Interval | None:
        """Take the 2.5 % and 97.5 % quantiles of (R,) figures; None where these are a point.

        Where all images are ranked right, every resample gives 1: that says nothing of others.
        """
        low, high = np.quantile(resampled, [0.025, 0.975])
        return cls(float(low), float(high)) if high - low > ROUNDING else None


def auroc(normal: Floats, novel: Floats) -> float:
    """Return the AUROC of (n,) and (m,) scores, larger = more novel; ties count half."""
    once = np.ones((1, len(normal)), np.uint8), np.ones((1, len(novel)), np.uint8)
    return float(weighted_aurocs(normal, novel, *once)[0])


def resampled_aurocs(normal: Floats, novel: Floats, normal_rows: Rows, novel_rows: Rows) -> Floats:
    """Return the AUROC of every resample of a cell, (R,).

    Parameters
    ----------
    normal, novel
        (n,) and (m,) scores.
    normal_rows, novel_rows
        (n,) and (m,), which images of the data set these are, from 0.
    """
    kept = thinned(normal), thinned(novel)
    weights = _weights(thinned(normal_rows)), _weights(thinned(novel_rows))
    # Around the AUROC of all images, not of those that take part.
    shift = auroc(normal, novel) - auroc(*kept)
    return np.asarray(np.clip(weighted_aurocs(*kept, *weights) + shift, 0, 1), np.float64)


def thinned(values: NDArray[Number]) -> NDArray[Number]:
    """Keep every k-th, of the same images for every method; intervals get wider by √k."""
    step = -(-len(values) // MOST_IMAGES)
    return values[step // 2 :: step]


def weighted_aurocs(
    normal: Floats,
    novel: Floats,
    normal_weights: NDArray[np.uint8],
    novel_weights: NDArray[np.uint8],
) -> Floats:
    """Return the AUROC for each of R weightings of the images.

    Parameters
    ----------
    normal, novel
        (n,) and (m,) scores, larger = more novel; ties count half.
    normal_weights, novel_weights
        (R, n) and (R, m), how often each image counts.
    """
    order = np.argsort(normal, kind="stable")
    below = np.zeros((len(normal_weights), len(normal) + 1), np.int64)
    np.cumsum(normal_weights[:, order], axis=1, out=below[:, 1:])  # weight of the k lowest
    lower, upper = (np.searchsorted(normal[order], novel, side) for side in ("left", "right"))
    wins = _beaten(below, novel_weights, lower)
    ties_or_wins = wins if (lower == upper).all() else _beaten(below, novel_weights, upper)
    pairs = below[:, -1] * novel_weights.sum(1, dtype=np.int64)
    return np.asarray((wins + ties_or_wins) / (2 * pairs), np.float64)


def _beaten(
    below: NDArray[np.int64], weights: NDArray[np.uint8], places: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Sum, over novel images, their weight times that of the normal images below: (R,).

    Novel images between the same two normal ones are added up first.
    """
    order = np.argsort(places, kind="stable")
    found, starts = np.unique(places[order], return_index=True)
    sums = np.add.reduceat(weights[:, order], starts, axis=1, dtype=np.int64)
    return np.asarray((below[:, found] * sums).sum(1), np.int64)


def _weights(rows: Rows) -> NDArray[np.uint8]:
    """Say how often each of some images was drawn, (n,) → (R, n): once, where none of them was."""
    weights = np.empty((RESAMPLES, len(rows)), np.uint8)
    blocks = rows // BLOCK
    for block in np.unique(blocks).tolist():
        here = blocks == block
        weights[:, here] = _drawn(block)[:, rows[here] % BLOCK]
    weights[~weights.any(axis=1)] = 1  # as may happen to few images
    return weights


@lru_cache(maxsize=16)
def _drawn(block: int) -> NDArray[np.uint8]:
    """Draw the weights of `BLOCK` images that follow each other: (R, BLOCK)."""
    generator = np.random.default_rng([SEED, block])
    return generator.poisson(1.0, (RESAMPLES, BLOCK)).astype(np.uint8)
