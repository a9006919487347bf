"""From scores to decisions with held-out normal images only: split-conformal p-values.

Vovk, Gammerman, Shafer 2005, "Algorithmic learning in a random world"; for novelty detection
Bates et al. 2023, "Testing for outliers with conformal p-values". If a new image is normal, that
is, exchangeable with the calibration images, then P(p ≤ α) ≤ α whatever the scores are.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError, UsageError

SMALLEST_FPR = 1e-9  # no one has more images than that
ANY_FPR = 0.5  # where no verdict is asked for: no image more than the config's fraction calibrates


@dataclass(frozen=True)
class SplitCounts:
    """How many normal images train, choose the checkpoint (validation), and calibrate."""

    train: int
    validation: int
    calibration: int


def images_needed(fpr: float) -> int:
    """Return the fewest calibration images with which a p-value can be as small as `fpr`."""
    fpr = check_fpr(fpr)
    n = max(1, math.floor(1 / fpr) - 1)
    while 1 / (n + 1) > fpr:  # at most twice: the division above is rounded
        n += 1
    return n


def check_fpr(fpr: float) -> float:
    """Refuse a false-alarm rate outside (0, 1), or too small for any number of images.

    Returns Python's number of the same digits: NumPy's float32 of 0.01 is a little less than that.
    """
    if not (isinstance(fpr, (int, float, np.floating)) and SMALLEST_FPR <= fpr < 1):
        raise UsageError(
            f"fpr = {fpr!r} must be a false-alarm rate between {SMALLEST_FPR:g} and 1, such as 0.01"
        )
    return float(str(fpr))


def split_counts(n: int, *, validation: float, calibration: float, fpr: float) -> SplitCounts:
    """Share out `n` normal images.

    Calibration takes its fraction, or as many as `fpr` needs if that is more, but never more than
    half of the images; two at least are left to train.

    Raises
    ------
    InputError
        When `n` is too small; the message says how many images the rate needs.
    """
    smallest = images_needed(fpr)
    if smallest > _most_calibration(n, validation):
        needed = next(
            m for m in itertools.count(2 * smallest) if smallest <= _most_calibration(m, validation)
        )
        raise InputError(
            f"{n} normal image{'s' * (n != 1)} cannot be calibrated for a false-alarm rate of "
            f"{fpr:g}: that needs {needed:,} or more, of which {smallest:,} are kept to "
            f"calibrate{_reachable(_most_calibration(n, validation))}"
        )
    n_calibration = max(math.ceil(calibration * n), smallest)
    n_calibration = min(n_calibration, _most_calibration(n, validation))
    n_validation = _validation(n, validation)
    return SplitCounts(n - n_calibration - n_validation, n_validation, n_calibration)


def _validation(n: int, fraction: float) -> int:
    return max(1, math.ceil(fraction * n))


def _most_calibration(n: int, validation: float) -> int:
    """The most of `n` images that may calibrate: half, and two are left to train."""
    return min(n // 2, n - _validation(n, validation) - 2)


def _reachable(n_calibration: int) -> str:
    """Say which rate can be had, rounded up so that it can be typed in."""
    if n_calibration < 1:
        return ""
    smallest = 1 / (n_calibration + 1)
    unit = 10.0 ** (math.floor(math.log10(smallest)) - 1)
    return f"; {math.ceil(smallest / unit) * unit:.2g} is in reach"


@dataclass(frozen=True)
class Calibration:
    """Scores of the normal images that calibrate, ascending: float64 (n,)."""

    scores: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike) -> Calibration:
        """Build from scores in any order; they must be finite and at least one."""
        given = np.asarray(scores, dtype=np.float64)
        if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
            raise InputError("calibration needs one finite score for each of one or more images")
        return cls(np.sort(given))

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """P = (1 + #{calibration scores ≥ score}) / (n + 1): (N,) in [1/(n+1), 1].

        Raises
        ------
        InputError
            When a score is not finite: NaN, above no threshold, would have the smallest p-value.
        """
        given = np.asarray(scores, np.float64)
        if not (is_finite := np.isfinite(given)).all():
            raise InputError(
                f"a p-value needs a finite score, got {given[~is_finite][0]}: leave out images "
                "that have none"
            )
        n = len(self.scores)
        above = n - np.searchsorted(self.scores, given, side="left")
        return (1 + above) / (n + 1)

    def threshold(self, fpr: float) -> float:
        """Return the score above which, and only above which, the p-value is at most `fpr`.

        Raises
        ------
        UsageError
            When `fpr` is under 1/(n+1), which no p-value can reach.
        """
        fpr = check_fpr(fpr)
        n = len(self.scores)
        # p ≤ fpr: fewer than k calibration scores ≥ score. Found among the p-values themselves,
        # since fpr * (n + 1) is rounded: 0.29 * 100 is less than 29.
        k = int(np.searchsorted(np.arange(1, n + 1) / (n + 1), fpr, side="right"))
        if k < 1:
            raise UsageError(
                f"fpr = {fpr:g} is out of reach of {n} calibration images (the smallest rate is "
                f"1/{n + 1} = {1 / (n + 1):.3g}): it needs {images_needed(fpr)}"
            )
        return float(self.scores[n - k])
