"""Intervals of a mean AUROC: test images drawn again, with replacement, within each cell.

Shapes: R resamples, n normal and m novel images of a cell. Normal and novel images are drawn
apart, so that both numbers stay; a resample is kept as weights, how often each image was drawn.
Methods that tested the same images are resampled alike: their difference has an interval, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 0
MOST_IMAGES = 10_000  # normal or novel ones of a cell; of more, every k-th takes part

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a figure's resamples."""

    low: float
    high: float

    @classmethod
    def of(cls, resampled: Floats) -> Interval:
        """Take the 2.5 % and 97.5 % quantiles of (R,) figures."""
        low, high = np.quantile(resampled, [0.025, 0.975])
        return cls(float(low), float(high))


def auroc(normal: Floats, novel: Floats) -> float:
    """Return the AUROC of (n,) and (m,) scores, larger = more novel; ties count half."""
    once = np.ones((1, len(normal)), np.uint8), np.ones((1, len(novel)), np.uint8)
    return float(weighted_aurocs(normal, novel, *once)[0])


def resampled_aurocs(normal: Floats, novel: Floats, key: tuple[int, ...]) -> Floats:
    """Return the AUROC of every resample of a cell, (R,).

    Parameters
    ----------
    normal, novel
        (n,) and (m,) scores in the order of the images.
    key
        Cells with the same key and images are resampled alike, whatever method scored them.
    """
    kept = thinned(normal), thinned(novel)
    weights = _weights((*key, 0), len(kept[0])), _weights((*key, 1), len(kept[1]))
    # Around the AUROC of all images, not of those that take part.
    shift = auroc(normal, novel) - auroc(*kept)
    return np.asarray(np.clip(weighted_aurocs(*kept, *weights) + shift, 0, 1), np.float64)


def thinned(scores: Floats) -> Floats:
    """Keep every k-th score, of the same images for every method; intervals get wider by √k."""
    step = -(-len(scores) // MOST_IMAGES)
    return scores[step // 2 :: step]


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


@lru_cache(maxsize=2)
def _weights(key: tuple[int, ...], count: int) -> NDArray[np.uint8]:
    """Draw `count` of `count` images R times: (R, count), how often each was drawn."""
    generator = np.random.default_rng([SEED, *key])
    draws = (generator.integers(count, size=count) for _ in range(RESAMPLES))
    return np.stack([np.bincount(drawn, minlength=count).astype(np.uint8) for drawn in draws])
