"""The two evaluation protocols of the paper's section 4: which images train, which are tested.

Nothing of any other class ever trains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .source import Source

PROTOCOL_1_TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class Split:
    """What trains and what is tested.

    Parameters
    ----------
    train
        Images of the normal class only.
    test
        M images.
    is_novel
        (M,) bool, the truth about the test images.
    """

    train: Source
    test: Source
    is_novel: NDArray[np.bool_]


def protocol_1(everything: Source, normal_class: str | int, *, random_state: int) -> Split:
    """Train on 80 % of one class; test on its other 20 % and as many images of other classes.

    Given the training part of a data set alone, this is our development split: settings are chosen
    on it, other training classes standing in for novelty, and no test image is looked at.

    Parameters
    ----------
    everything
        All images of the data set, with labels.
    normal_class
        The class that trains, by name or number.
    random_state
        Seed of both draws, which are without replacement. Each class draws for itself, by its name:
        one stream for all would have all classes of COIL-100, as large as each other, judge the
        same few images as novel.

    Raises
    ------
    UsageError
        No such class, no labels, fewer than two images of the class, or none of any other.
    """
    name = everything.class_name(normal_class)
    rng = np.random.default_rng([random_state, *name.encode("utf-8", "surrogateescape")])
    is_novel = everything.is_novel(normal_class)
    normal = rng.permutation(np.flatnonzero(~is_novel))
    others = rng.permutation(np.flatnonzero(is_novel))
    if len(normal) < 2 or not len(others):
        raise UsageError(
            f"protocol 1 needs two images of class {normal_class} and one of another: "
            f"there are {len(normal)} and {len(others)}"
        )
    count = min(max(round(PROTOCOL_1_TRAIN_SHARE * len(normal)), 1), len(normal) - 1)
    held_out = normal[count:]
    tested = np.concatenate([held_out, others[: len(held_out)]])
    train = everything.subset(np.sort(normal[:count]))
    return Split(train, everything.subset(tested), is_novel[tested])


def protocol_2(train: Source, test: Source, normal_class: str | int) -> Split:
    """Train on one class of the official training set; test on the whole official test set.

    Parameters
    ----------
    train, test
        The two parts of the data set, with labels.
    normal_class
        The class that trains, by name or number.

    Raises
    ------
    UsageError
        No such class in either part, or no labels.
    InputError
        No image of the class trains.
    """
    name = train.class_name(normal_class)
    return Split(train.of_class(name), test, test.is_novel(name))
