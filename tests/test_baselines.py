"""Training-free methods: known answers on tiny arrays, invariances, and one printed number."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_fixtures import needs
from pyocgan.baselines import (
    BASELINES,
    KernelDensityEstimate,
    NearestNeighbours,
    PCAReconstruction,
    cosine,
    oriented_gradients,
    raw,
    unit_norm,
)
from pyocgan.data import averaged_down
from pyocgan.errors import InputError


def grey(*values):
    """Images of 2×2 pixels, each of one value."""
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def noise(n=20, height=10, width=8, channels=1, seed=0):
    shape = (n, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_one_image_has_no_density():
    with pytest.raises(InputError, match="two normal images or more"):
        KernelDensityEstimate().fit(noise(1))


def test_raw_pixels_lie_in_0_to_1():
    features = raw(noise())
    assert features.shape == (20, 80)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, noise().reshape(20, -1) / 255)


def test_the_mean_distance_to_the_nearest_neighbours_by_hand():
    # On 2×2 pixels, v and w are 2·|v − w|/255 apart. From 100, the nearest three are 90, 115, 60.
    method = NearestNeighbours(raw, k=3).fit(grey(0, 60, 90, 115, 200))
    expected = 2 * np.array([(10 + 15 + 40) / 3, (0 + 60 + 90) / 3]) / 255
    np.testing.assert_allclose(method.novelty_scores(grey(100, 0)), expected, rtol=1e-5)


def test_fewer_images_than_neighbours():
    method = NearestNeighbours(raw, k=5).fit(grey(0, 50))
    np.testing.assert_allclose(method.novelty_scores(grey(0)), [2 * 25 / 255], rtol=1e-5)


def test_distances_equal_brute_force():
    train, test = noise(40), noise(15, seed=1)
    distances = np.linalg.norm(raw(test)[:, None] - raw(train)[None], axis=2)
    expected = np.sort(distances, axis=1)[:, :5].mean(1)
    scores = NearestNeighbours(raw).fit(train).novelty_scores(test)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_unit_norm():
    np.testing.assert_allclose(
        unit_norm(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]]
    )


def test_pca_rebuilds_what_has_few_dimensions_and_nothing_else():
    rng = np.random.default_rng(0)
    basis = rng.integers(0, 60, (3, 8, 8, 1))
    weights = rng.integers(0, 2, (50, 3))
    X = np.einsum("nk,khwc->nhwc", weights, basis).astype(np.uint8)
    method = PCAReconstruction(3).fit(X)
    np.testing.assert_allclose(method.novelty_scores(X), 0, atol=1e-9)
    outside = noise(5, 8, 8)
    scores = method.novelty_scores(outside)
    assert (scores > 0.01).all()
    centred = raw(outside) - raw(X).mean(0)
    axes = np.linalg.svd(raw(X) - raw(X).mean(0), full_matrices=False)[2][:3]
    np.testing.assert_allclose(
        scores, np.square(centred - centred @ axes.T @ axes).mean(1), rtol=1e-3
    )


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_has_no_gradients(value):
    assert not oriented_gradients(np.full((1, 8, 8, 1), value, np.uint8)).any()


def ramp():
    """An image that gets brighter to the right."""
    return np.tile((np.arange(8) * 30).astype(np.uint8), (8, 1))[None, :, :, None]


@pytest.mark.parametrize(
    ("turn", "direction"),
    [
        (lambda x: x, 0),  # right
        (lambda x: x[:, :, ::-1], 1),  # left
        (lambda x: x.transpose(0, 2, 1, 3), 2),  # down
        (lambda x: x.transpose(0, 2, 1, 3)[:, ::-1], 3),  # up
    ],
)
def test_each_direction_has_its_own_map(turn, direction):
    features = oriented_gradients(turn(ramp())).reshape(4, 4, 4)  # pooled rows, columns, map
    strength = features.sum((0, 1))
    assert strength[direction] > 0
    assert not np.delete(strength, direction).any()


def test_gradients_by_hand():
    """One bright pixel: the blur of four single points, pooled."""
    X = np.zeros((1, 8, 8, 1), np.uint8)
    X[0, 3, 4] = 255
    kernel = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    kernel /= kernel.sum()

    def blurred(row, column):
        padded = np.zeros((8 + 16, 8 + 16))
        padded[row + 4 : row + 13, column + 4 : column + 13] = np.outer(kernel, kernel)
        for axis in (0, 1):  # scipy's default: the picture is mirrored at its edges
            padded = np.swapaxes(padded, 0, axis)
            padded[8:16] += padded[:8][::-1] + padded[16:][::-1]
            padded = np.swapaxes(padded, 0, axis)
        return padded[8:16, 8:16]

    # The difference to the right is positive at column 3, negative at column 4; rows likewise.
    maps = np.stack([blurred(3, 3), blurred(3, 4), blurred(2, 4), blurred(3, 4)], axis=2)
    pooled = maps.reshape(4, 2, 4, 2, 4).mean((1, 3)).ravel()
    np.testing.assert_allclose(
        oriented_gradients(X)[0], pooled / np.linalg.norm(pooled), rtol=1e-4, atol=1e-6
    )


def test_odd_sizes_and_colours():
    features = oriented_gradients(noise(3, 9, 7, 3))
    assert features.shape == (3, 4 * 3 * 4 * 3)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("space", [cosine, oriented_gradients])
def test_brightness_does_not_count(space):
    dark = noise() // 4
    np.testing.assert_allclose(space(dark * 3), space(dark), atol=1e-5)
    assert not np.allclose(raw(dark * 3), raw(dark), atol=1e-2)


def test_an_offset_changes_cosine_but_not_gradients():
    X = noise() // 2
    np.testing.assert_allclose(oriented_gradients(X + 100), oriented_gradients(X), atol=1e-5)
    assert not np.allclose(cosine(X + 100), cosine(X), atol=1e-2)


@pytest.mark.parametrize("key", BASELINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_baseline_scores_images_alone_and_finds_another_kind(key, channels):
    rows = np.linspace(0, 200, 10)[:, None, None] + 3 * np.arange(8)[:, None]
    smooth = np.clip(rows + np.random.default_rng(0).normal(0, 5, (60, 10, 8, channels)), 0, 255)
    X = smooth.astype(np.uint8)
    method = BASELINES[key][1]()
    assert method.fit(X[:40]) is method
    test = np.concatenate([X[40:], noise(20, channels=channels)])
    scores = method.novelty_scores(test)
    assert scores.shape == (40,)
    assert scores.dtype == np.float64
    assert roc_auc_score(np.arange(40) >= 20, scores) == 1
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(method.novelty_scores(test[order]), scores[order], rtol=1e-5)
    np.testing.assert_allclose(method.novelty_scores(test[3:4]), scores[3:4], rtol=1e-5)
    again = BASELINES[key][1]().fit(X[:40])
    np.testing.assert_array_equal(again.novelty_scores(test), scores)


@needs("mnist")
def test_the_digit_8_of_mnist():
    from pyocgan.data import ImageRule, open_source, protocol_2, read

    rule = ImageRule((28, 28), 1)
    split = protocol_2(open_source("mnist"), open_source("mnist", split="test"), 8)
    method = BASELINES["knn_gradients"][1]().fit(read(split.train, rule).pixels)
    scores = method.novelty_scores(read(split.test, rule).pixels)
    # Measured before the project started, with a program of its own.
    assert roc_auc_score(split.is_novel, scores) == pytest.approx(0.981, abs=0.002)


@pytest.mark.parametrize("space", [raw, cosine, oriented_gradients])
def test_large_images_are_looked_at_averaged_down(space):
    X = noise(3, 100, 80, 3)
    np.testing.assert_array_equal(space(X), space(averaged_down(X, 64)))
    assert len(space(X)[0]) == len(space(noise(1, 64, 51, 3))[0])
