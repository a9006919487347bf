"""How well scores tell novel images from normal ones. Scores: larger = more novel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from .errors import InputError, listed


@dataclass(frozen=True)
class Evaluation:
    """Figures of one method on one test set; novel images are the positives."""

    n_normal: int
    n_novel: int
    auroc: float
    aupr: float  # average precision
    fpr_at_95_tpr: float  # share of normal images above the score that catches 95 % of novel ones
    auroc_by_class: dict[str, float]  # normal images against each other class alone

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def evaluate(
    scores: ArrayLike,
    is_novel: ArrayLike,
    labels: ArrayLike | None = None,
    classes: Iterable[object] | None = None,
) -> Evaluation:
    """Measure scores against the truth.

    Parameters
    ----------
    scores
        (N,) finite numbers, larger = more novel.
    is_novel
        (N,) True or 1 where an image is novel, False or 0 where it is normal.
    labels, classes
        (N,) class names or numbers, and their order, for `Evaluation.auroc_by_class`; by default
        sorted. They are compared as text: 0 is not 0.0.

    Raises
    ------
    InputError
        When all images are normal, or all novel: there is nothing to tell apart. When the truth is
        something else, as −1 and 1 of `predict`, a score is not finite, or lengths differ. When a
        novel image's label is none of `classes`.
    """
    scores, is_novel = np.asarray(scores, np.float64), _truth(is_novel)
    labels = None if labels is None else np.asarray(labels).astype(np.str_)
    lengths = [len(a) for a in (scores, is_novel, labels) if a is not None]
    if len(set(lengths)) > 1 or scores.ndim != 1 or not np.isfinite(scores).all():
        raise InputError(
            "scores, is_novel and labels must be as long as each other, and scores finite: got "
            f"{', '.join(map(str, lengths))}, the scores of shape {scores.shape} and "
            f"{np.isfinite(scores).sum()} of them finite"
        )
    n_novel = int(is_novel.sum())
    n_normal = len(is_novel) - n_novel
    if not n_normal or not n_novel:
        raise InputError(
            f"a test needs normal and novel images, got {n_normal} normal and {n_novel} novel"
        )
    false_alarms, hits, _ = roc_curve(is_novel, scores, drop_intermediate=False)
    return Evaluation(
        n_normal=n_normal,
        n_novel=n_novel,
        auroc=float(roc_auc_score(is_novel, scores)),
        aupr=float(average_precision_score(is_novel, scores)),
        fpr_at_95_tpr=float(false_alarms[hits >= 0.95].min()),
        auroc_by_class=_auroc_by_class(scores, is_novel, labels, classes),
    )


def pixel_auroc(heat: NDArray[np.float32], is_defective: NDArray[np.bool_]) -> float:
    """Return how well heat maps tell defective pixels from all others, in [0, 1].

    Over all pixels of all images, flawless ones too, as MVTec AD's authors do: Bergmann et al.,
    CVPR 2019. Both are (N, H, W); one pixel at least is defective, and one is not.
    """
    return float(roc_auc_score(is_defective.ravel(), heat.ravel()))


def _truth(is_novel: ArrayLike) -> NDArray[np.bool_]:
    truth = np.asarray(is_novel)
    values = sorted({*truth.ravel().tolist()}, key=str)
    if truth.ndim != 1 or not {*values} <= {False, True}:
        raise InputError(
            f"the truth must be True (novel) or False for each image, got {values[:4]}: for "
            "scikit-learn's labels, -1 and 1, give truth == -1"
        )
    return truth.astype(bool)


def _auroc_by_class(
    scores: NDArray[np.float64],
    is_novel: NDArray[np.bool_],
    labels: NDArray[Any] | None,
    classes: Iterable[object] | None,
) -> dict[str, float]:
    if labels is None:
        return {}
    names = np.unique(labels).tolist() if classes is None else [str(c) for c in classes]
    if unnamed := sorted({*np.unique(labels[is_novel]).tolist()} - {*names}):
        raise InputError(
            f"the label {unnamed[0]!r} of a novel image is none of the classes {listed(names)}: "
            "they are compared as text, so write both alike"
        )
    chosen = {c: ~is_novel | (labels == c) for c in names if (is_novel & (labels == c)).any()}
    return {c: float(roc_auc_score(is_novel[who], scores[who])) for c, who in chosen.items()}
