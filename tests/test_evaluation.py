"""Figures of merit against counting by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyocgan.errors import InputError
from pyocgan.evaluation import evaluate


def auroc_by_counting(scores, is_novel):
    """The share of (novel, normal) pairs in the right order; ties count half."""
    novel, normal = scores[is_novel][:, None], scores[~is_novel][None]
    return ((novel > normal) + 0.5 * (novel == normal)).mean()


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    scores, is_novel = rng.integers(0, 9, 60) / 3, rng.random(60) < 0.4
    labels = np.where(is_novel, rng.choice(["b", "c"], 60), "a")
    result = evaluate(scores, is_novel, labels, ("a", "b", "c", "d"))
    assert result.auroc == pytest.approx(auroc_by_counting(scores, is_novel))
    assert (result.n_normal, result.n_novel) == ((~is_novel).sum(), is_novel.sum())
    assert list(result.auroc_by_class) == ["b", "c"]  # a is normal, of d there is none
    assert evaluate(scores, is_novel, labels) == result
    numbered = evaluate(scores, is_novel, np.unique(labels, return_inverse=True)[1], ("1", "2"))
    assert [*numbered.auroc_by_class.values()] == [*result.auroc_by_class.values()]
    for name in "bc":
        chosen = ~is_novel | (labels == name)
        assert result.auroc_by_class[name] == pytest.approx(
            auroc_by_counting(scores[chosen], is_novel[chosen])
        )


def test_larger_means_more_novel():
    scores, is_novel = np.array([1.0, 2, 3, 4]), np.array([False, False, True, True])
    assert evaluate(scores, is_novel).auroc == 1
    assert evaluate(-scores, is_novel).auroc == 0
    assert evaluate(np.ones(4), is_novel).auroc == 0.5
    assert evaluate(np.exp(scores), is_novel) == evaluate(scores, is_novel)  # ranks alone count


def test_figures_by_hand():
    #            novel: 9 7 5 1        normal: 8 6 4 3 2
    scores = np.array([9.0, 7, 5, 1, 8, 6, 4, 3, 2])
    is_novel = np.arange(9) < 4
    result = evaluate(scores, is_novel)
    assert result.auroc == pytest.approx((5 + 4 + 3 + 0) / 20)
    assert result.aupr == pytest.approx((1 / 1 + 2 / 3 + 3 / 5 + 4 / 9) / 4)
    assert result.fpr_at_95_tpr == 1.0  # to catch all four, the score must go below all normal ones
    assert result.auroc_by_class == {}


def test_the_false_alarm_rate_at_95_percent_detection():
    novel = np.arange(100) + 0.5  # 95 of 100 are above 5
    normal = np.array([-3.0, 1.0, 4.0, 6.0])  # one of four is above 5
    result = evaluate(np.concatenate([novel, normal]), np.arange(104) < 100)
    assert result.fpr_at_95_tpr == 0.25


@pytest.mark.parametrize("is_novel", [[True, True], [False, False], []])
def test_one_kind_alone_is_refused(is_novel):
    with pytest.raises(InputError, match="normal and novel"):
        evaluate(np.zeros(len(is_novel)), np.array(is_novel, bool))


def test_zeros_and_ones_and_lists_are_truth():
    scores, is_novel, labels = (
        [0.1, 0.9, 0.2, 0.4],
        [False, True, False, True],
        ["a", "b", "a", "c"],
    )
    result = evaluate(scores, is_novel, labels, ["a", "b", "c"])
    assert result.auroc_by_class == {"b": 1.0, "c": 1.0}
    assert evaluate(scores, np.array(is_novel, int), np.array(labels), ["a", "b", "c"]) == result
    numbers = ["abc".index(label) for label in labels]
    assert evaluate(scores, is_novel, numbers, range(3)).auroc_by_class == {"1": 1.0, "2": 1.0}


@pytest.mark.parametrize(
    ("scores", "is_novel", "words"),
    [
        (np.arange(4.0), [1, -1, 1, -1], r"got \[-1, 1\]: .* give truth == -1"),
        (np.arange(4.0), ["yes", "no", "no", "no"], "True .novel. or False"),
        (np.arange(3.0), [0, 1, 0, 1], "scores finite: got 3, 4,"),
        ([0.5, np.nan, 0.1, 0.2], [0, 1, 0, 1], r"of shape \(4,\) and 3 of them finite"),
        ([[0.5], [0.1]], [0, 1], r"got 2, 2, the scores of shape \(2, 1\)"),
        ([0.5, 0.1], [0, None], r"got \[0, None\]"),
    ],
)
def test_what_is_no_truth_or_no_score_is_refused(scores, is_novel, words):
    with pytest.raises(InputError, match=words):
        evaluate(scores, is_novel)


def test_a_novel_label_that_is_no_class_is_refused():
    given = [0.1, 0.9, 0.4], [0, 1, 1]
    with pytest.raises(InputError, match=r"'1\.0' of a novel image is none of the classes 0,"):
        evaluate(*given, [0.0, 1.0, 2.0], [0, 1, 2])
    assert evaluate(*given, ["good", "a", "b"], ["a", "b"]).auroc_by_class == {"a": 1, "b": 1}


def test_figures_are_plain_json():
    result = evaluate(np.array([0.0, 1]), np.array([False, True]), np.array(["a", "b"]), ("a", "b"))
    assert json.loads(json.dumps(result.to_dict()))["auroc_by_class"] == {"b": 1.0}
