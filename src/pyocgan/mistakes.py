"""Finding wrong images among those that are to be learned: each is judged by a model of the others.

A model has trained on its images, or chosen and calibrated by them, and knows them too well to find
mistakes among them. So they are dealt out to k parts, and each part is scored by a model of all the
others: cross-validation. Copies lie in one part, for else each would vouch for the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

from .calibration import ANY_FPR
from .data import Images
from .detector import ImageSource, NoveltyDetector
from .errors import UsageError

PARTS = 5


def suspicion(
    detector: NoveltyDetector,
    X: ImageSource,  # noqa: N803 - scikit-learn's name
    *,
    parts: int = PARTS,
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return how unlike the others each image is: names, and (N,) scores; large = suspicious.

    See `judged`. Of a source that is divided into train and test, the train part; images that
    cannot be read raise, or with the detector's `skip_unreadable` are left out.
    """
    _, _, images = detector.images_to_learn(X)
    scores = np.empty(len(images))
    for rows, found in judged(detector, images, parts=parts):
        scores[rows] = found
    return images.names, scores


def judged(
    detector: NoveltyDetector, images: Images, *, parts: int = PARTS
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yield the rows of each of k parts, and their scores by a model of the other parts.

    Parameters
    ----------
    detector
        Its preset, settings and seed count; it stays as it is. Its false-alarm rate does not: no
        verdict is asked for.
    images
        Most of them right: a model takes whatever is frequent for normal.
    parts
        k, 2 to as many as there are different images. The time is that of k fits.

    Yields
    ------
    (n,) rows of `images`, and (n,) novelty scores.

    Raises
    ------
    UsageError
        `parts` is no such number.
    InputError
        There are too few images to fit with the rest of them.
    """
    for others, rows in dealt(images, parts, detector.random_state):
        model = clone(detector).set_params(fpr=ANY_FPR).fit(images.pixels[others])
        yield rows, model.novelty_scores(images.pixels[rows])


def dealt(
    images: Images, parts: int, random_state: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield for each of k parts the rows of all others, and its own; copies stay together."""
    different: dict[bytes, int] = {}
    groups = [different.setdefault(digest, len(different)) for digest in images.digests()]
    if not 2 <= parts <= len(different):
        most = f"{len(different):,}, the number of different images"
        raise UsageError(f"parts = {parts!r} must be from 2 to {most}")
    folds = GroupKFold(parts, shuffle=True, random_state=random_state)
    yield from folds.split(images.pixels, groups=groups)
