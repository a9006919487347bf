"""From scores to decisions with held-out normal images only: split-conformal p-values.

Vovk, Gammerman, Shafer 2005, "Algorithmic learning in a random world"; for novelty detection
Bates et al. 2023, "Testing for outliers with conformal p-values". If a new image is normal, that
is, exchangeable with the calibration images, then P(p ≤ α) ≤ α whatever the scores are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError, UsageError


@dataclass(frozen=True)
class Split:
    """How many normal images train, choose the checkpoint (validation), and calibrate."""

    train: int
    validation: int
    calibration: int


def images_needed(fpr: float) -> int:
    """Return the fewest calibration images with which a p-value can be as small as `fpr`."""
    check_fpr(fpr)
    return max(1, math.ceil(1 / fpr - 1e-9) - 1)


def check_fpr(fpr: float) -> None:
    """Refuse a false-alarm rate outside (0, 1)."""
    if not (isinstance(fpr, (int, float)) and 0 < fpr < 1):
        raise UsageError(f"fpr = {fpr!r} must be a false-alarm rate between 0 and 1, such as 0.01")


def split_counts(n: int, *, validation: float, calibration: float, fpr: float) -> Split:
    """Share out `n` normal images.

    Calibration takes its fraction, or as many as `fpr` needs if that is more, but never more than
    half of the images.

    Raises
    ------
    InputError
        When `n` is too small; the message says how many images the rate needs.
    """
    n_calibration = max(math.ceil(calibration * n), images_needed(fpr))
    n_validation = max(1, math.ceil(validation * n))
    if n_calibration > n // 2 or n - n_calibration - n_validation < 2:
        needed = max(2 * images_needed(fpr), 4)
        reachable = 1 / (n // 2 + 1)
        advice = f"; {n} images reach fpr {reachable:.3g} at best" if n >= 4 else ""
        raise InputError(
            f"{n} normal image{'s' * (n != 1)} cannot be calibrated for a false-alarm rate of "
            f"{fpr:g}: that needs {needed} images or more (half of them held out){advice}"
        )
    return Split(n - n_calibration - n_validation, n_validation, n_calibration)


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out normal images, ascending: float64 (n,)."""

    scores: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike) -> Calibration:
        """Build from scores in any order; they must be finite and at least one."""
        ordered = np.sort(np.asarray(scores, dtype=np.float64))
        if ordered.ndim != 1 or not len(ordered) or not np.isfinite(ordered).all():
            raise InputError("calibration needs one finite score for each of one or more images")
        return cls(ordered)

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """P = (1 + #{calibration scores ≥ score}) / (n + 1): (N,) in [1/(n+1), 1]."""
        n = len(self.scores)
        above = n - np.searchsorted(self.scores, np.asarray(scores, np.float64), side="left")
        result: NDArray[np.float64] = (1 + above) / (n + 1)
        return result

    def threshold(self, fpr: float) -> float:
        """Return the score above which, and only above which, the p-value is at most `fpr`.

        Raises
        ------
        UsageError
            When `fpr` is under 1/(n+1), which no p-value can reach.
        """
        check_fpr(fpr)
        n = len(self.scores)
        k = math.floor(fpr * (n + 1) + 1e-9)  # p ≤ fpr: fewer than k calibration scores ≥ score
        if k < 1:
            raise UsageError(
                f"fpr = {fpr:g} is out of reach of {n} calibration images (the smallest rate is "
                f"1/{n + 1} = {1 / (n + 1):.3g}): it needs {images_needed(fpr)}"
            )
        return float(self.scores[n - k])
