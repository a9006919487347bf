"""p-values against brute force, their promise on simulated data, and the threshold's exactness."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pyocgan.calibration import (
    Calibration,
    SplitCounts,
    check_fpr,
    images_needed,
    split_counts,
)
from pyocgan.errors import InputError, UsageError

RATES = (0.01, 0.02, 0.05, 0.07, 0.1, 0.29, 0.3, 1 / 3, 0.5, 0.58, 0.7, 0.9, 0.99)


def by_hand(calibration, score):
    return (1 + sum(other >= score for other in calibration)) / (len(calibration) + 1)


def test_p_values_by_hand_with_ties():
    calibration = [3.0, 1.0, 2.0, 2.0]
    expected = {0.5: 5 / 5, 1.0: 5 / 5, 1.5: 4 / 5, 2.0: 4 / 5, 2.5: 2 / 5, 3.0: 2 / 5, 9: 1 / 5}
    p_values = Calibration.of(calibration).p_values(list(expected))
    assert p_values.tolist() == list(expected.values())


@pytest.mark.parametrize("seed", range(20))
def test_p_values_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    calibration = rng.integers(0, 12, rng.integers(1, 40)) / 4  # many ties
    scores = rng.integers(-2, 14, 50) / 4
    expected = [by_hand(calibration, score) for score in scores]
    assert Calibration.of(calibration).p_values(scores).tolist() == expected


@pytest.mark.parametrize("draw", ["continuous", "with ties"])
def test_a_normal_image_has_p_of_alpha_or_less_with_probability_alpha_at_most(draw):
    rng = np.random.default_rng(0)
    n, trials = 19, 20_000
    scores = rng.standard_exponential((trials, n + 1))
    scores = np.floor(scores * 3) if draw == "with ties" else scores
    p = np.array([Calibration.of(row[1:]).p_values(row[:1])[0] for row in scores[:4000]])
    p_all = (1 + (scores[:, 1:] >= scores[:, :1]).sum(1)) / (n + 1)
    np.testing.assert_array_equal(p, p_all[:4000])
    for alpha in (0.05, 0.1, 0.2, 0.5, 0.9):
        rate = (p_all <= alpha).mean()
        assert rate <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / trials)
        if draw == "continuous":  # exact there: a p-value that is always 1 would keep the promise
            assert rate >= alpha - 4 * np.sqrt(alpha * (1 - alpha) / trials)


@pytest.mark.parametrize("n", [1, 2, 9, 18, 19, 98, 99, 100, 199])
def test_above_the_threshold_means_p_of_fpr_or_less_exactly(n):
    rng = np.random.default_rng(n)
    for values in (rng.random(n), rng.integers(0, 5, n) / 5, np.ones(n)):
        calibration = Calibration.of(values)
        scores = np.concatenate([values, values - 1e-9, np.nextafter(values, 9), [-1, 9]])
        p_values = calibration.p_values(scores)
        reachable = [1 / (n + 1), n / (n + 1), *np.arange(1, n + 1) / (n + 1), *RATES]
        for fpr in [rate for rate in reachable if 1 / (n + 1) <= rate < 1]:
            novel = scores > calibration.threshold(fpr)
            np.testing.assert_array_equal(novel, p_values <= fpr, err_msg=f"{n}, {fpr}")


def test_rates_may_be_numpys():
    assert images_needed(np.float32(0.5)) == images_needed(np.float64(0.5)) == 1
    for number in (np.float32, np.float16, np.float64):
        assert images_needed(number(0.01)) == images_needed(0.01) == 99
        assert Calibration.of(np.arange(99.0)).threshold(number(0.01)) == 98


def test_rates_that_floating_point_rounds_down_are_reached():
    assert 0.29 * 100 < 29  # the trap
    scores = np.arange(99.0)
    assert Calibration.of(scores).threshold(0.29) == 99 - 29
    assert (scores > Calibration.of(scores).threshold(0.29)).sum() == 28  # and p = 29/100 at most
    assert Calibration.of(scores).p_values([70.5])[0] == 0.29


@pytest.mark.parametrize(("n", "fpr"), [(99, 0.0099), (9, 0.0999999), (1, 0.49), (98, 0.01)])
def test_a_rate_out_of_reach_says_how_many_images_it_needs(n, fpr):
    needed = images_needed(fpr)
    with pytest.raises(UsageError, match=rf"{n} calibration images.* needs {needed}$"):
        Calibration.of(np.arange(n)).threshold(fpr)
    Calibration.of(np.arange(needed)).threshold(fpr)


def test_images_needed_is_the_fewest():
    for fpr in [*RATES, *(1 / n for n in range(2, 3000)), 0.4999999999, np.nextafter(0.01, 0)]:
        n = images_needed(fpr)
        assert 1 / (n + 1) <= fpr
        assert n == 1 or 1 / n > fpr


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "0.1", None, 1e-320])
def test_rates_outside_0_to_1_are_refused(fpr):
    with pytest.raises(UsageError, match="between 1e-09 and 1"):
        check_fpr(fpr)


@pytest.mark.parametrize("scores", [[], [[1.0]], [1.0, np.nan], [np.inf], 3.0])
def test_calibration_needs_finite_scores(scores):
    with pytest.raises(InputError):
        Calibration.of(scores)


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_p_values_need_finite_scores(score):
    with pytest.raises(InputError, match=f"finite score, got {score}: leave out"):
        Calibration.of([1.0, 2.0]).p_values([0.5, score])


def test_known_splits():
    shares = {"validation": 0.1, "calibration": 0.1}
    assert split_counts(6000, **shares, fpr=0.01) == SplitCounts(4800, 600, 600)
    assert split_counts(500, **shares, fpr=0.01) == SplitCounts(351, 50, 99)  # the rate needs 99
    assert split_counts(198, **shares, fpr=0.01) == SplitCounts(79, 20, 99)
    assert split_counts(4, **shares, fpr=0.5) == SplitCounts(2, 1, 1)


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("validation", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("calibration", [0.01, 0.1, 0.5])
def test_splits_share_out_all_images_or_say_how_many_are_needed(fpr, validation, calibration):
    def share(n, fpr=fpr):
        return split_counts(n, validation=validation, calibration=calibration, fpr=fpr)

    needed = set()
    for n in range(0, 500):
        try:
            split = share(n)
        except InputError as error:
            needed.add(int(re.search(r"needs ([\d,]+) or more", str(error))[1].replace(",", "")))
            if reachable := re.search(r"; ([\d.]+) is in reach", str(error)):
                share(n, float(reachable[1]))  # the advice works as printed
        else:
            assert split.train + split.validation + split.calibration == n
            assert split.train >= 2
            assert split.validation >= 1
            assert images_needed(fpr) <= split.calibration <= n / 2
            assert n >= max(needed), "refused more images than it said were enough"
    assert len(needed) == 1  # one answer, whatever came in
    share(needed.pop())


def test_one_image_is_written_in_the_singular():
    with pytest.raises(InputError, match=r"^1 normal image cannot"):
        split_counts(1, validation=0.1, calibration=0.1, fpr=0.01)
