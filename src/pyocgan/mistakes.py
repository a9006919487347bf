"""Finding wrong images among those that are to be learned: each is judged by a model of the others.

A model has trained on its images, or chosen and calibrated by them, and knows them too well to find
mistakes among them. So they are dealt out to k parts, and each part is scored by a model of all the
others: cross-validation. Copies lie in one part: otherwise each would make the other look normal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .baselines import Scorer
from .calibration import ANY_FPR
from .data import Images, ImageSource
from .data.source import count_text
from .detector import NoveltyDetector
from .errors import InputError, UsageError
from .preparation import settled_seed

PARTS = 5


def suspicion(
    detector: NoveltyDetector,
    X: ImageSource,  # noqa: N803 - scikit-learn's name
    *,
    parts: int = PARTS,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return how unlike the others each image is: names, and (N,) scores; large = suspicious.

    Both in the order of the images. Of a source that is divided into train and test, the train
    part. The time is that of as many fits as there are parts.

    Parameters
    ----------
    detector
        Its preset, settings and seed count; it stays as it is, fitted or not. Images that cannot be
        read raise, or with its `skip_unreadable` are left out.
    X
        Images, most of them right: a model takes whatever is frequent for normal.
    parts
        As in `judged`.
    """
    _, _, images = detector.images_to_learn(X)
    make = partial(unfitted, detector)
    seed = settled_seed(clone(detector).random_state)  # a generator of numbers stays where it is
    return images.names, held_out_scores(make, images, parts, seed)


def unfitted(detector: NoveltyDetector) -> NoveltyDetector:
    """Return a detector like it that has learned nothing, for scores alone, not for verdicts."""
    alike: NoveltyDetector = clone(detector).set_params(fpr=ANY_FPR)
    return alike


def held_out_scores(
    make: Callable[[], Scorer], images: Images, parts: int, random_state: int
) -> NDArray[np.float64]:
    """Return the score of each image by what has learned the other parts, (N,); see `judged`."""
    scores = np.empty(len(images))
    for rows, found in judged(make, images, parts, random_state):
        scores[rows] = found
    return scores


def judged(
    make: Callable[[], Scorer], images: Images, parts: int, random_state: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yield the rows of each of k parts, (n,), and their scores by what has learned the others.

    Parameters
    ----------
    make
        Gives what learns, a detector or a method without training, unfitted.
    images
        Those dealt out.
    parts
        k, 2 to as many as there are different images.
    random_state
        Seed of the dealing.

    Raises
    ------
    UsageError
        `parts` is no such number.
    InputError
        There are too few images to fit with the rest of them.
    """
    different: dict[bytes, int] = {}
    which = np.array([different.setdefault(digest, len(different)) for digest in images.digests()])
    if len(different) < 2:
        raise InputError(f"{count_text(len(images))}, all alike: there is nothing to compare with")
    if parts not in range(2, len(different) + 1):
        most = f"{len(different):,}, the number of different images"
        raise UsageError(f"parts = {parts!r} must be from 2 to {most}")
    order = np.random.default_rng([random_state, len(different)]).permutation(len(different))
    for part in range(int(parts)):
        is_own = (order % parts == part)[which]
        scorer = make().fit(images.pixels[~is_own])
        yield np.flatnonzero(is_own), scorer.novelty_scores(images.pixels[is_own])
