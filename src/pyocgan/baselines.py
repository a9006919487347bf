"""Training-free baselines: what a trained detector has to beat before anyone should use it.

All take uint8 images (N, H, W, K) and have the detector's methods: ``fit(X)``,
``novelty_scores(X)`` → (N,) float64, larger = more novel. None has randomness, except the isolation
forest. Each has one setting for all data sets and classes; none was chosen by looking at results.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.svm import OneClassSVM

from .data.rule import averaged_down
from .errors import InputError

GRADIENTS_AT_ONCE = 512  # images whose gradients are computed together: bounds memory, no result
LARGEST = 64  # pixels of a side that are looked at, as the networks do: see docs/research.md

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


class Scorer(Protocol):
    """The two methods that a table needs of any method."""

    def fit(self, X: Pixels) -> Self:
        """Learn the normal class from its images."""
        ...

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return one score an image, larger = more novel."""
        ...


def raw(X: Pixels) -> Features:
    """Pixels in [0, 1], flattened: (N, H·W·K), of at most `LARGEST` a side."""
    X = averaged_down(X, LARGEST)
    return X.reshape(len(X), -1).astype(np.float32) / np.float32(255)


def unit_norm(features: Features) -> Features:
    """Divide each row by its 2-norm; a row of zeros stays zero."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(norms, np.finfo(np.float32).tiny)


def cosine(X: Pixels) -> Features:
    """Pixels of each image divided by their 2-norm: Euclidean distance is cosine distance."""
    return unit_norm(raw(X))


def oriented_gradients(X: Pixels) -> Features:
    """Half-rectified differences to the right, left, down and up, pooled and of unit norm.

    Each of the 4·K maps is blurred with σ = 1 pixel and average-pooled 2×2; the whole vector is
    divided by its 2-norm: (N, 4·K·⌊H/2⌋·⌊W/2⌋). Images have at most `LARGEST` pixels a side.
    """
    X = averaged_down(X, LARGEST)
    starts = range(0, max(len(X), 1), GRADIENTS_AT_ONCE)
    return np.concatenate([_gradients(X[start : start + GRADIENTS_AT_ONCE]) for start in starts])


def _gradients(X: Pixels) -> Features:
    x = X.astype(np.float32) / 255
    across, down = np.zeros_like(x), np.zeros_like(x)
    across[:, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
    down[:, :-1] = x[:, 1:] - x[:, :-1]
    maps = np.concatenate([f for d in (across, down) for f in (d.clip(0), (-d).clip(0))], axis=3)
    blurred = gaussian_filter(maps, sigma=(0, 1, 1, 0))
    n, h, w, k = blurred.shape
    cropped = blurred[:, : h // 2 * 2, : w // 2 * 2]
    pooled = cropped.reshape(n, h // 2, 2, w // 2, 2, k).mean(axis=(2, 4))
    return unit_norm(pooled.reshape(n, h // 2 * (w // 2) * k))


class NearestNeighbours:
    """Mean Euclidean distance to the k nearest training images, in a space of features."""

    def __init__(self, space: Callable[[Pixels], Features] = raw, k: int = 5) -> None:
        self.space = space
        self.k = k

    def fit(self, X: Pixels) -> Self:
        """Keep the features of the normal images."""
        neighbours = min(self.k, len(X))
        self.index_ = NearestNeighbors(n_neighbors=neighbours, algorithm="brute")
        self.index_.fit(self.space(X))
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return the mean distance to the nearest normal images."""
        distances, _ = self.index_.kneighbors(self.space(X))
        return distances.astype(np.float64).mean(axis=1)


class PCAReconstruction:
    """Squared error of the reconstruction from the first principal components of raw pixels."""

    def __init__(self, components: int = 32) -> None:
        self.components = components

    def fit(self, X: Pixels) -> Self:
        """Find the principal components of the normal images."""
        features = raw(X)
        components = min(self.components, *features.shape)
        self.pca_ = PCA(components, svd_solver="full").fit(features)
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return the mean squared error of each image's reconstruction."""
        x = raw(X)
        x_hat = self.pca_.inverse_transform(self.pca_.transform(x))
        return np.square(x - x_hat, dtype=np.float64).mean(axis=1)


class KernelDensityEstimate:
    """Negative log density of a Gaussian kernel estimate on whitened principal components.

    The bandwidth is Scott's rule, n^(-1/(d+4)) (Scott, Multivariate Density Estimation, 1992), for
    d components. Ruff et al. (Deep One-Class Classification, ICML 2018) choose it by
    cross-validation for each class instead.
    """

    def __init__(self, components: int = 32) -> None:
        self.components = components

    def fit(self, X: Pixels) -> Self:
        """Find the principal components of the normal images, and keep their coordinates.

        Raises
        ------
        InputError
            There is one image alone, which has no density.
        """
        if len(X) < 2:
            raise InputError("a density needs two normal images or more")
        features = raw(X)
        components = min(self.components, len(X) - 1, features.shape[1])
        self.pca_ = PCA(components, whiten=True, svd_solver="full").fit(features)
        self.density_ = KernelDensity(bandwidth="scott").fit(self.pca_.transform(features))
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return the negative log density at each image."""
        return -self.density_.score_samples(self.pca_.transform(raw(X)))


class OneClassSupportVectors:
    """One-class support vector machine on pixels in [0, 1] (Schölkopf et al., 2001).

    RBF kernel with scikit-learn's γ = 1 / (pixels × variance), ν = 0.1. Ruff et al. (2018) try ten
    values of γ on labelled test images, which no user has.
    """

    def __init__(self, nu: float = 0.1) -> None:
        self.nu = nu

    def fit(self, X: Pixels) -> Self:
        """Find the support vectors."""
        self.svm_ = OneClassSVM(kernel="rbf", gamma="scale", nu=self.nu).fit(raw(X))
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return the negative sum of kernels at each image."""
        return -self.svm_.score_samples(raw(X)).astype(np.float64)


class Isolation:
    """Isolation forest on pixels (Liu, Ting, Zhou, 2008): 100 trees of 256 images, as they say.

    The only baseline with randomness.
    """

    def __init__(self, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: Pixels) -> Self:
        """Grow the trees."""
        self.forest_ = IsolationForest(
            n_estimators=100, max_samples=min(256, len(X)), random_state=self.random_state
        ).fit(raw(X))
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:
        """Return the anomaly score of Liu et al., equation 2: in (0, 1)."""
        return -self.forest_.score_samples(raw(X))


# Key in result files → title in tables and constructor (picklable, to be sent to processes).
BASELINES: dict[str, tuple[str, Callable[[], Scorer]]] = {
    "knn": ("5-NN, raw pixels", partial(NearestNeighbours, raw)),
    "knn_cosine": ("5-NN, cosine", partial(NearestNeighbours, cosine)),
    "knn_gradients": (
        "5-NN, cosine, oriented gradients",
        partial(NearestNeighbours, oriented_gradients),
    ),
    "pca": ("PCA-32 reconstruction", partial(PCAReconstruction, 32)),
}
