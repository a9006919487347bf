"""scikit-learn's handwritten digits: 1,797 images of 8×8 pixels that need no download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .arrays import source_of_array
from .source import Source

_TRAIN_SHARE = 0.8


def open_digits(split: str) -> Source:
    """Open the digits; their 0..16 becomes 0..255.

    The set has no official split: the first 80 % of each class, in the set's order, are
    ``"train"``, the others ``"test"``.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    everything = source_of_array(pixels[..., None], digits.target, "digits:")
    return everything.subset(_members(digits.target, split))


def _members(labels: NDArray[np.int_], split: str) -> NDArray[np.bool_]:
    train = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        train[rows[: round(_TRAIN_SHARE * len(rows))]] = True
    return {"train": train, "test": ~train, "all": np.ones_like(train)}[split]
