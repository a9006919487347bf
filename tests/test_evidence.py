"""The scores beside the paper's: gradients, neighbours, turns, and their sum."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from conftest import draw_spots, hottest, weave
from pyocgan import (
    NoveltyDetector,
    baselines,
    evidence,
    gradients,
    novelty,
    projection,
    residual,
    scoring,
    turn_training,
    turns,
)
from pyocgan.config import resolve
from pyocgan.data import averaged_down
from pyocgan.errors import UsageError
from pyocgan.gradients import gradient_maps
from pyocgan.images import to_range

ALL = (
    *("error", "gradients", "codes", "neighbours", "windows", "completion", "patches"),
    *("flaws", "turns", "views"),
)
WEIGHTS = (0.3, 0.5, 1.0, 1.0, 2.0, 1.5, 0.5, 0.6, 1.0, 0.7)
PAPER, DEFAULT = resolve("paper", {}), resolve("default", {})
TINY = {
    **{"autoencoder_width": 4, "visual_width": 4, "classifier_width": 4, "turn_width": 4},
    **{"flaw_width": 4, "flaw_steps": 4},
    "contrast_floor": 0.0,
    **{"epochs": 2, "batch_size": 16, "least_iterations": 1},
}
TINY_PAPER = {name: TINY[name] for name in ("autoencoder_width", "visual_width", "epochs")}


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def summed(eights):
    settings = {**TINY, "scores": ALL, "score_weights": WEIGHTS}
    return NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)


def flat_gradients(x, config):
    return gradient_maps(x, config).flatten(1)


def each_score(summed, X):
    X = X if X.ndim == 4 else X[..., None]
    with torch.no_grad():
        return evidence._all_scores(summed.evidence_, summed.networks_, X)


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (3, 32, 32, 3), (2, 11, 17, 3), (2, 8, 8, 1)])
def test_gradients_are_those_of_the_baseline(shape):
    X = pixels(*shape)
    n, h, w, k = shape
    expected = baselines.oriented_gradients(X).reshape(n, h // 2, w // 2, 4, k)
    ours = gradient_maps(to_range(torch.from_numpy(X)), PAPER).view(n, 4, k, h // 2, w // 2)
    # The baseline lists right, left, down, up within its last axis, as maps of K channels each.
    np.testing.assert_allclose(ours.permute(0, 3, 4, 1, 2).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("changed", [{}, {"gradient_smoothing": 0.35}, {"contrast_floor": 0.2}])
def test_gradients_of_large_images_stay_small_and_forget_contrast(changed):
    config = resolve("paper", changed)
    x = to_range(torch.from_numpy(pixels(2, 128, 100, 3)))
    features = flat_gradients(x, config)
    assert features.shape == (2, 4 * 3 * 16 * 14)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(flat_gradients(0.3 * x + 0.2, config), features)


@pytest.mark.parametrize("side", [33, 64, 69, 89, 103, 127, 128])
@pytest.mark.parametrize("cells", [gradients.CELLS, gradients.FINE_CELLS])
def test_the_last_pixels_of_a_large_image_count_as_the_first_ones(side, cells):
    pooling = gradients._pooling(side, gradients._cell(side, cells))
    np.testing.assert_allclose(pooling.sum(1), 1)
    np.testing.assert_allclose(pooling, pooling[::-1, ::-1], atol=1e-12)
    assert pooling.sum(0).min() > 0.8 * pooling.sum(0).max()


@pytest.mark.parametrize(("h", "w"), [(33, 64), (64, 127), (128, 40)])
def test_the_map_of_patches_puts_each_where_it_lies(h, w):
    seen = gradients.patches(torch.rand(1, 1, h, w))
    distances = torch.zeros(1, *seen.shape[2:])
    for row, column in ((0, 0), (3, 5), (-1, -1)):
        one = distances.clone()
        one[0, row, column] = 1
        heat = gradients.spread_patches(one, (h, w))[0]
        found = [float((heat.sum(1 - axis) >= 0.99 * heat.sum(1 - axis).max()).nonzero().float()
                       .mean()) for axis in (0, 1)]  # fmt: skip
        # What of an image changes the patch most stands where the map has it.
        x = torch.zeros(1, 1, h, w, requires_grad=True)
        gradients.patches(x + torch.rand(1, 1, h, w))[0, :, row, column].square().sum().backward()
        weight = x.grad[0, 0].abs()
        middle = [
            float((weight.sum(1 - axis) * torch.arange(n)).sum() / weight.sum())
            for axis, n in ((0, h), (1, w))
        ]
        cell = max(2, -(-max(h, w) // gradients.FINE_CELLS))
        assert np.abs(np.array(found) - middle).max() < 1.5 * cell, (row, column)


@pytest.mark.parametrize("smoothing", [0.0, 0.35])
@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_gradients_of_an_even_image_are_zero_and_so_are_their_derivatives(floor, smoothing):
    x = torch.full((1, 1, 9, 9), 0.3, requires_grad=True)
    changed = {"contrast_floor": floor, "gradient_smoothing": smoothing}
    phi = flat_gradients(x, resolve("paper", changed))
    phi.sum().backward()
    assert phi.abs().max() == 0
    assert x.grad.isfinite().all()


def test_smoothing_blurs_the_image_by_a_share_of_a_cell():
    X = pixels(2, 16, 12, 3)
    blurred = gaussian_filter(X / 255.0, sigma=(0, 0.7, 0.7, 0))
    expected = flat_gradients(torch.from_numpy(blurred).permute(0, 3, 1, 2), PAPER)
    x = torch.from_numpy(X / 255.0).permute(0, 3, 1, 2)
    ours = flat_gradients(x, resolve("paper", {"gradient_smoothing": 0.35}))
    torch.testing.assert_close(ours, expected)


def test_a_contrast_floor_makes_a_faint_edge_count_as_a_strong_one():
    x = torch.zeros(1, 1, 28, 28)
    x[..., 4:, :14], x[..., 18:, 14:] = 1.0, 0.1  # an edge, and far from it one ten times as faint
    faint = []
    for floor in (0.0, 0.2, 0.02):
        phi = flat_gradients(x, resolve("paper", {"contrast_floor": floor})).view(4, 14, 14)
        faint.append(float(phi[2, 9, 10] / phi[2, 2, 3]))
    assert faint[0] == pytest.approx(0.1, rel=0.05)
    assert 0.25 < faint[1] < 0.7 < faint[2] < 1


def test_a_square_has_four_positions():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    seen = turns.turned(x)
    assert seen.shape == (4, 1, 1, 3, 3)
    assert torch.equal(seen[0], x)
    assert seen[1, 0, 0].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert len({tuple(one.flatten().tolist()) for one in seen}) == 4


def test_another_rectangle_has_two():
    seen = turns.turned(torch.arange(160.0).view(2, 1, 8, 10))
    assert seen.shape == (2, 2, 1, 8, 10)
    assert torch.equal(seen[1], seen[0].flip(2, 3))
    assert turns.TurnClassifier(1, (8, 10), 2)(seen[0]).shape == (2, 2)


def test_turn_loss_of_a_network_that_knows_nothing_is_chance():
    ignorant = turns.TurnClassifier(1, (8, 8), 3)
    for weight in ignorant.logits.parameters():
        torch.nn.init.zeros_(weight)
    loss = turns.l_turns(ignorant, turns.seen(ignorant, torch.rand(5, 1, 8, 8), mirror=False)[0])
    torch.testing.assert_close(loss, torch.full((5,), 4 * np.log(4), dtype=torch.float32))


def test_moved_images_are_shifted_by_whole_pixels_and_mirrored_at_random():
    x = torch.rand(64, 3, 20, 10)
    one, same, other, plain = (
        turn_training.moved(x, torch.Generator().manual_seed(seed), mirror=mirror)
        for seed, mirror in ((3, True), (3, True), (4, True), (3, False))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    seen = set()
    for before, after in zip(x, one, strict=True):
        for flip in (False, True):
            upright = after.flip(2) if flip else after
            inner = upright[:, 2:-2, 1:-1]
            for down in range(5):
                for right in range(3):
                    if torch.equal(inner, before[:, down : down + 16, right : right + 8]):
                        seen.add((down, right, flip))
                        break
    places = {place[:2] for place in seen}
    assert len(places) > 10, "not everywhere"
    assert {place[2] for place in seen} == {False, True}
    as_shifted = [torch.equal(*pair) for pair in zip(one, plain, strict=True)]
    as_mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(one, plain, strict=True)]
    assert all(a or b for a, b in zip(as_shifted, as_mirrored, strict=True))
    assert any(as_shifted)
    assert any(as_mirrored)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_cropped_image_is_a_part_of_it_made_as_large(autocast):
    across, down = torch.meshgrid(torch.arange(32.0), torch.arange(24.0), indexing="xy")
    x = torch.stack([across, down]).expand(400, 2, 24, 32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        inner = turn_training.cropped(x, torch.Generator().manual_seed(0), 0.5)[:, :, 3:-3, 3:-3]
    slopes = []
    for ramp, axis, side in ((inner[:, 0], 2, 32), (inner[:, 1], 1, 24)):
        slope = ramp.diff(dim=axis).flatten(1)
        torch.testing.assert_close(slope, slope[:, :1].expand_as(slope), atol=1e-3, rtol=0)
        slopes.append(slope.mean(1))
        assert 0.5 <= slopes[-1].min() < 0.55
        assert 1 < slopes[-1].max() <= turn_training.WHOLE
        assert ramp.min() < 3, "nowhere at one edge"
        assert ramp.max() > side - 4, "nowhere at the other"
        assert ramp.min() >= 0
        assert ramp.max() <= side - 1
    torch.testing.assert_close(*slopes, atol=1e-3, rtol=0)


def muon_and_adam(**settings):
    given = {"turn_muon_rate": 0.06, "turn_learning_rate": 0.003, "turn_hidden": 5, "turn_width": 3}
    config = resolve("default", given | settings)
    T = turns.build(config, 1, (8, 8), torch.Generator().manual_seed(0))
    optimizers = turn_training.build_optimizers(T, config)
    return T, optimizers, config


def test_muon_moves_every_direction_of_a_matrix_alike_and_adam_the_rest():
    T, optimizers, config = muon_and_adam()
    before = {name: weight.detach().clone() for name, weight in T.named_parameters()}
    x = to_range(torch.from_numpy(pixels(8, 8, 8, 1)))
    turn_training.update(T, optimizers.values(), x, torch.Generator().manual_seed(0), config)
    for name, weight in T.named_parameters():
        change = weight.detach() - before[name]
        if weight.ndim > 1 and not name.startswith("logits.3"):
            rows = change.flatten(1) / 0.06
            stretch = max(1, rows.shape[0] / rows.shape[1]) ** 0.5  # tall matrices move farther
            found = torch.linalg.svdvals(rows / stretch)
            strong = found[found > 0.3]  # a direction without any gradient stays
            assert len(strong) >= 2 or min(rows.shape) < 2, name
            assert found.max() < 1.4, name
        else:
            assert change.abs().max() == pytest.approx(0.003, rel=0.1), name


def test_muon_is_torchs_on_each_matrix_for_several_steps():
    T, optimizers, _ = muon_and_adam()
    muon = optimizers["turns_muon"]
    twins = [torch.nn.Parameter(w.detach().flatten(1).clone()) for w in muon.weights]
    momentum, rounds = turn_training.MOMENTUM, turn_training.ROUNDS
    plain = torch.optim.Muon(twins, 0.06, weight_decay=0.0, momentum=momentum, ns_steps=rounds)
    for seed in range(3):
        torch.manual_seed(seed)
        for weight, twin in zip(muon.weights, twins, strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.flatten(1).clone()
        muon.step()
        plain.step()
    for weight, twin in zip(muon.weights, twins, strict=True):
        torch.testing.assert_close(weight.detach().flatten(1), twin.detach())
    assert {id(w) for w in muon.weights} <= {id(w) for w in T.parameters()}


@pytest.mark.parametrize("rate", [0.0, 0.06])
def test_T_learns_which_way_is_up(rate):
    T, optimizers, config = muon_and_adam(turn_muon_rate=rate, turn_crop=0.7)
    X = np.zeros((64, 8, 8, 1), np.uint8)
    X[:, :3] = pixels(64, 3, 8, 1) // 2 + 128  # bright at the top
    x, draws = to_range(torch.from_numpy(X)), torch.Generator().manual_seed(0)
    for step in range(30):
        loss = turn_training.train(T, optimizers, [x], step / 30, draws, config)
    assert loss < 0.75 * 4 * np.log(4), "of 1, guessing"


def test_where_a_mirrored_part_is_a_fault_T_says_so_unless_it_learned_mirrored_ones():
    rng = np.random.default_rng(0)

    def lopsided(n):
        X = rng.normal(100, 25, (n, 16, 16, 3))
        X[:, 4:12, 2:6] += (80, 40, 0)
        return gaussian_filter(X, (0, 0.7, 0.7, 0)).clip(0, 255).astype(np.uint8)

    train, test = lopsided(60), lopsided(40)
    X = np.concatenate([test, test[:, :, ::-1]])
    for symmetry, least, most in (("none", 0.95, 1), ("mirror", 0.25, 0.75)):
        plain = {"turn_muon_rate": 0.0, "turn_crop": 1.0, "turn_middle": 1.0, "turn_hidden": 0}
        chosen = plain | {"scores": "turns", "symmetry": symmetry, "turn_sides": 1, "turn_width": 8}
        settings = {**TINY, **chosen, "stage": "ae", "epochs": 4, "least_iterations": 10}
        found = NoveltyDetector("default", settings=settings, fpr=0.2).fit(train)
        auroc = roc_auc_score(np.repeat([0, 1], 40), found.novelty_scores(X))
        assert least <= auroc <= most, symmetry


def test_T_that_learned_parts_of_images_knows_better_which_way_up_they_are():
    X = np.zeros((64, 16, 16, 1), np.uint8)
    X[:, :3] = pixels(64, 3, 16, 1) // 2 + 128  # bright at the top, and there alone
    x = to_range(torch.from_numpy(X))
    enlarged = x[..., 1:9, 4:12].repeat_interleave(2, -1).repeat_interleave(2, -2)
    certainty = {}
    for crop in (1.0, 0.4):
        T, optimizers, config = muon_and_adam(turn_crop=crop)
        draws = torch.Generator().manual_seed(0)
        for step in range(60):
            turn_training.train(T, optimizers, [x], step / 60, draws, config)
        with torch.no_grad():
            seen = turns.seen(T.eval(), enlarged, mirror=False)
            certainty[crop] = float(turns.certainty(T, seen))
    assert certainty[0.4] > certainty[1.0] + 0.03, certainty


def test_without_muon_one_adam_moves_all_of_T():
    T, optimizers, _ = muon_and_adam(turn_muon_rate=0)
    assert list(optimizers) == ["turns"]
    (group,) = optimizers["turns"].param_groups
    assert {id(w) for w in group["params"]} == {id(w) for w in T.parameters()}


def test_with_two_sides_a_mirrored_image_looks_the_same_to_T():
    settings = {**TINY, "scores": ("turns", "views"), "image_size": 8, "autoencoder_width": 2}
    X = pixels(40, 8, 8, 3)
    for sides, alike in ((1, False), (2, True)):
        wanted = settings | {"turn_sides": sides, "symmetry": "mirror"}
        found = NoveltyDetector("default", settings=wanted, fpr=0.5).fit(X)
        one, other = found.novelty_scores(X), found.novelty_scores(X[:, :, ::-1])
        assert np.allclose(one, other, atol=1e-4) == alike


def test_T_looks_at_the_middle_of_images():
    x = torch.rand(3, 2, 12, 16, generator=torch.Generator().manual_seed(0))
    assert turns.middle(x, 1.0) is x
    middle = turns.middle(x, 0.5)
    enlarged = torch.nn.functional.interpolate(x[:, :, 3:9, 4:12], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(middle[:, :, 1:-1, 1:-1], enlarged[:, :, 1:-1, 1:-1])
    settings = {**TINY, "scores": ("turns", "views"), "image_size": 16, "autoencoder_width": 2}
    X, other = pixels(40, 16, 16, 1), pixels(40, 16, 16, 1)[::-1]
    X_framed = other.copy()
    X_framed[:, 3:13, 3:13] = X[:, 3:13, 3:13]  # alike in the middle
    for share, alike in ((1.0, False), (0.5, True)):
        wanted = settings | {"turn_middle": share}
        found = NoveltyDetector("default", settings=wanted, fpr=0.5).fit(X)
        scores = found.novelty_scores(X), found.novelty_scores(X_framed)
        assert np.allclose(*scores, atol=1e-4) == alike


def test_turn_learning_rate_rises_and_ends_at_zero():
    rates = [residual.learning_rate(done, 1.0) for done in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0)


def plane_distance(phi, normal):
    """Vincent and Bengio's distance, as ridge regression by scikit-learn: (B,)."""
    return completion_distance(phi, phi, normal, normal)


def completion_distance(part, rest, normal_part, normal_rest):
    """Distance of the rest to what a ridge regression of the part leads one to expect: (B,)."""
    found = []
    for p, r in zip(np.float64(part), np.float64(rest), strict=True):
        rows = np.linalg.norm(normal_part - p, axis=1).argsort()[: projection.NEIGHBOURS]
        near, far = normal_part[rows], normal_rest[rows]
        directions, away = near - near.mean(0), far - far.mean(0)
        ridge = Ridge(projection.RIDGE * np.square(directions).sum(1).mean(), fit_intercept=False)
        w = ridge.fit(directions.T, p - near.mean(0)).coef_
        found.append(np.linalg.norm(r - far.mean(0) - w @ away))
    return np.array(found)


def test_distance_to_the_neighbours_plane_is_ridge_regression():
    rng = np.random.default_rng(0)
    phi, normal = rng.normal(size=(6, 50)), rng.normal(size=(90, 50))
    ours = projection.distance(torch.from_numpy(phi), torch.from_numpy(normal))
    np.testing.assert_allclose(ours, plane_distance(phi, normal), rtol=1e-9)


def test_what_is_unexpected_of_the_rest_is_left_by_the_mixture_that_makes_the_part():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, size)) for n, size in ((6, 9), (6, 30), (90, 9), (90, 30))]
    left = projection.unexpected(*(torch.from_numpy(part) for part in parts))
    assert left.shape == (6, 30)
    np.testing.assert_allclose(left.norm(dim=1), completion_distance(*parts), rtol=1e-9)


def test_moving_along_the_plane_counts_less_than_moving_off_it():
    rng = np.random.default_rng(1)
    flat = torch.zeros(40, 5, dtype=torch.float64)
    flat[:, :2] = torch.from_numpy(rng.uniform(-1, 1, (40, 2)))
    between, off = torch.zeros(2, 1, 5, dtype=torch.float64)
    between[0, 0], off[0, 4] = 0.3, 0.3
    along, away = (projection.distance(p, flat).item() for p in (between, off))
    assert along < 0.5 * away
    assert away >= 0.3


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("away", [1e-5, 1e-2, 1.0])
def test_rounding_hardly_changes_the_distance_to_images_that_are_nearly_one(spread, away):
    rng = np.random.default_rng(0)
    normal = rng.normal(size=50) + spread * rng.normal(size=(90, 50))
    phi = normal[:6] + away * rng.normal(size=(6, 50))
    normal, phi = (torch.from_numpy(np.float32(features)) for features in (normal, phi))
    torch.testing.assert_close(
        projection.distance(phi, normal).double(),
        projection.distance(phi.double(), normal.double()),
        rtol=2e-6,
        atol=0,
    )


def test_the_distance_is_the_length_of_the_residual():
    rng = np.random.default_rng(0)
    phi, normal = (torch.from_numpy(rng.normal(size=(n, 50))) for n in (6, 90))
    lengths = projection.residual(phi, normal).norm(dim=1)
    torch.testing.assert_close(projection.distance(phi, normal), lengths)


@pytest.mark.parametrize("n", [1, 3, 25])
def test_few_or_equal_neighbours_leave_the_plain_distance(n):
    normal, phi = torch.ones(n, 4).half(), torch.zeros(2, 4)
    torch.testing.assert_close(projection.distance(phi, normal), torch.full((2,), 2.0))
    assert projection.distance(torch.ones(1, 4), normal).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("h", "w"), [(14, 14), (16, 14), (4, 5), (1, 2)])
def test_four_windows_lie_in_the_corners_and_cover_all(h, w):
    maps = torch.arange(2 * 3 * h * w).view(2, 3, h, w)
    parts = novelty.corners(maps)
    assert [part.shape for part in parts] == [(2, 3, max(1, h * 3 // 4), max(1, w * 3 // 4))] * 4
    assert {int(v) for part in parts for v in part.flatten()} == set(range(maps.numel()))
    assert torch.equal(parts[3][:, :, -1, -1], maps[:, :, -1, -1])


@pytest.mark.parametrize("h", [4, 5, 13, 14, 16])
def test_four_bands_cover_all_rows_and_leave_each_to_two_others_at_least(h):
    bands = [set(range(h)[band]) for band in novelty.bands(h)]
    assert [len(band) for band in bands] == [-(-h // 4)] * 4
    assert set.union(*bands) == set(range(h))
    assert all(sum(row not in band for band in bands) >= 2 for row in range(h))


def small_patches(X):
    """Gradients and a share of the intensities of 2×2 cells: (N, 3, 3, 20) of 8×8 images."""
    x = X[..., 0] / 127.5 - 1
    across, down = np.zeros_like(x), np.zeros_like(x)
    across[:, :, :-1], down[:, :-1] = np.diff(x, axis=2), np.diff(x, axis=1)
    maps = [gradients.INTENSITY * x]
    maps += [half for d in (across, down) for half in (d.clip(0), (-d).clip(0))]
    blurred = gaussian_filter(np.stack(maps, 3), sigma=(0, 1, 1, 0))
    cells = blurred.reshape(len(X), 4, 2, 4, 2, 5).mean((2, 4))
    corners = [cells[:, a : a + 3, b : b + 3] for a in (0, 1) for b in (0, 1)]
    return np.concatenate(corners, axis=3)


def test_each_score_against_an_independent_computation(summed, eights):
    X = eights[:7, :, :, None]
    scores = dict(zip(ALL, each_score(summed, X).T.numpy(), strict=True))
    train = summed._prepare(eights).train
    phi = baselines.oriented_gradients
    nets = summed.networks_
    with torch.no_grad():
        x_hat = nets.De(scoring.encode(nets, scoring.on_device(X, nets), summed.config_))
    x_hat = (x_hat.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5
    errors = np.square((X - x_hat) / 127.5).mean((1, 2, 3))
    np.testing.assert_allclose(scores["error"], errors, rtol=1e-4)
    np.testing.assert_allclose(scores["gradients"], 1 - (phi(X) * phi(x_hat)).sum(1), rtol=1e-3)
    seen, normal = phi(X), phi(train)
    np.testing.assert_allclose(scores["neighbours"], plane_distance(seen, normal), atol=2e-3)
    # The baseline lists rows, columns, then directions.
    seen, normal = (f.reshape(-1, 4, 4, 4) for f in (seen, normal))
    corners = [(a, b) for a in (slice(3), slice(1, 4)) for b in (slice(3), slice(1, 4))]
    parts = [
        plane_distance(seen[:, a, b].reshape(7, -1), normal[:, a, b].reshape(len(train), -1))
        for a, b in corners
    ]
    np.testing.assert_allclose(scores["windows"], np.mean(parts, axis=0), atol=2e-3)
    completed = [
        completion_distance(
            seen[:, row].reshape(7, -1),
            np.delete(seen, row, 1).reshape(7, -1),
            normal[:, row].reshape(len(train), -1),
            np.delete(normal, row, 1).reshape(len(train), -1),
        )
        for row in range(4)
    ]
    np.testing.assert_allclose(scores["completion"], np.mean(completed, axis=0), atol=2e-3)
    codes = [
        scoring.encode(summed.networks_, to_range(torch.from_numpy(pixels)), summed.config_)
        for pixels in (X, train)
    ]
    np.testing.assert_allclose(
        scores["codes"], plane_distance(*(z.detach().numpy() for z in codes)), atol=2e-3
    )
    known = small_patches(train).reshape(-1, 20)
    far, usual = (
        np.linalg.norm(small_patches(some)[..., None, :] - known, axis=-1).min(-1)
        for some in (X, summed._prepare(eights).validation)
    )
    oddest = (far / usual.mean(0)).max((1, 2))
    np.testing.assert_allclose(scores["patches"], oddest, rtol=1e-2, atol=1e-2)  # float16
    with torch.no_grad():  # the images are no larger than one cell
        flawed = torch.sigmoid(summed.evidence_.P(to_range(torch.from_numpy(X))).double())
    np.testing.assert_allclose(scores["flaws"], -np.log(1 - flawed[:, 0, 0].numpy()), rtol=1e-4)
    T = summed.evidence_.T
    with torch.no_grad():
        turned = turns.turned(to_range(torch.from_numpy(X)))
        surprise = sum(-T(view).log_softmax(1)[:, k] for k, view in enumerate(turned))
        np.testing.assert_allclose(scores["turns"], surprise + turns.OFFSET, rtol=1e-4)
        views = [
            turns.side_by_side(turns.seen(T, to_range(torch.from_numpy(p)), mirror=False)).numpy()
            for p in (X, train)
        ]
    np.testing.assert_allclose(scores["views"], plane_distance(*views), atol=2e-3)


def test_an_image_is_as_odd_as_its_hundredth_of_farthest_patches():
    distances = torch.rand(4, 31, 31, generator=torch.Generator().manual_seed(0))
    expected = np.sort(distances.flatten(1).numpy(), 1)[:, -10:].mean(1)
    np.testing.assert_allclose(novelty.oddest(distances), expected, rtol=1e-6)
    largest = distances[:, :3, :3].amax((1, 2))
    torch.testing.assert_close(novelty.oddest(distances[:, :3, :3]), largest)


def test_what_T_sees_has_unit_norm_in_each_position_and_turns_with_the_image():
    T = turns.TurnClassifier(1, (8, 8), 8).eval()
    x = to_range(torch.from_numpy(pixels(5, 8, 8, 1)))
    with torch.no_grad():
        both = (x, x.rot90(1, (2, 3)))
        looks = (turns.seen(T, y, mirror=False) for y in both)
        seen, quarter = (turns.side_by_side(look).view(5, 4, 32) for look in looks)
    torch.testing.assert_close(seen.norm(dim=2), torch.ones(5, 4))
    torch.testing.assert_close(quarter, seen.roll(-1, 1))


@pytest.mark.parametrize(
    ("score", "total"),
    [
        ("error", lambda heat: heat.mean((1, 2))),
        ("gradients", lambda heat: heat.sum((1, 2))),
        ("neighbours", lambda heat: np.sqrt(heat.sum((1, 2)))),
    ],
)
def test_a_heat_map_adds_up_to_its_score(eights, score, total):
    settings = {**TINY, "scores": (score,), "image_size": "19x16"}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    heat = found.heatmap(eights[:5])
    assert heat.shape == (5, 19, 16)
    np.testing.assert_allclose(total(heat), found.novelty_scores(eights[:5]), rtol=1e-4)


def test_the_map_of_windows_averages_those_that_cover_a_cell(eights):
    settings = {**TINY, "scores": ("windows",)}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    X = eights[:3, :, :, None]
    (batch,) = evidence._batches(found.evidence_, found.networks_, X)
    normal = dict(found.evidence_.normal.named_buffers())
    cells = np.zeros((3, 4, 4))
    for a in (0, 1):
        for b in (0, 1):
            phi, known = (
                maps[:, :, a : a + 3, b : b + 3].flatten(1).double()
                for maps in (batch.gradients, normal["gradients"])
            )
            left = projection.residual(phi, known).view(3, 4, 3, 3).square().sum(1)
            cells[:, a : a + 3, b : b + 3] += left.numpy()
    cover = np.outer([1, 2, 2, 1], [1, 2, 2, 1])
    heat = found.heatmap(X)
    np.testing.assert_allclose(heat.sum((1, 2)), (cells / cover).sum((1, 2)), rtol=1e-3)


def test_the_map_of_completion_averages_the_bands_that_lie_elsewhere(eights):
    settings = {**TINY, "scores": ("completion",)}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    X = eights[:3, :, :, None]
    (batch,) = evidence._batches(found.evidence_, found.networks_, X)
    maps, known = (f.double() for f in (batch.gradients, found.evidence_.known["gradients"]))
    cells = torch.zeros(3, 4, 4)
    for row in range(4):
        rest = [other for other in range(4) if other != row]
        both = [(f[:, :, [row]].flatten(1), f[:, :, rest].flatten(1)) for f in (maps, known)]
        left = projection.unexpected(*both[0], *both[1]).view(3, 4, 3, 4)
        cells[:, rest] += left.square().sum(1).float() / 3
    heat = found.heatmap(X)
    np.testing.assert_allclose(heat.sum((1, 2)), cells.sum((1, 2)), rtol=1e-3)


def test_parts_that_do_not_go_together_are_unexpected():
    """Stripes that lean one way or the other, each way normal; novel ones change it midway."""
    rng = np.random.default_rng(0)

    def stripes(n, *, change):
        across, down = np.meshgrid(np.arange(16), np.arange(16))
        way = rng.choice([-1, 1], (n, 1, 1)) * np.where(change & (down >= 8), -1, 1)
        wave = np.sin(rng.uniform(0.7, 0.8, (n, 1, 1)) * (across + way * down))
        return np.uint8(127 + 80 * wave + rng.normal(0, 20, (n, 16, 16)))

    settings = {**TINY, "scores": ("completion",), "epochs": 1}
    found = NoveltyDetector("default", settings=settings, fpr=0.1)
    found.fit(stripes(150, change=False))
    X = np.concatenate([stripes(50, change=False), stripes(50, change=True)])
    assert roc_auc_score(np.repeat([0, 1], 50), found.novelty_scores(X)) > 0.95


@pytest.mark.parametrize(
    ("scores", "drawn"),
    [
        (ALL, novelty.flaws_map),
        (("windows", "patches", "turns"), novelty.patches_map),
        (("gradients", "windows", "completion", "turns", "views"), novelty.windows_map),
        (("gradients", "completion", "neighbours"), novelty.completion_map),
        (("error", "gradients", "neighbours"), novelty.neighbours_map),
        (("error", "gradients", "codes"), novelty.gradients_map),
        (("codes", "views"), novelty.error_map),
    ],
)
def test_a_heat_map_is_by_the_score_that_says_best_where(
    summed, eights, monkeypatch, scores, drawn
):
    X = eights[:3, :, :, None]
    (batch,) = evidence._batches(summed.evidence_, summed.networks_, X)
    monkeypatch.setattr(summed.evidence_, "scores", scores)
    with torch.no_grad():
        np.testing.assert_allclose(summed.heatmap(X), drawn(batch), rtol=1e-5)


def test_a_single_score_is_as_it_is(eights):
    detector = NoveltyDetector("paper", settings=TINY_PAPER, fpr=0.1).fit(eights)
    X = eights[..., None]
    errors = scoring.reconstruction_errors(detector.networks_, X, detector.config_)
    np.testing.assert_array_equal(detector.novelty_scores(X), errors)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_trained_error_in_gradients_is_exact_in_every_precision(eights, precision):
    x = to_range(torch.from_numpy(eights[:8, :, :, None]))
    x_hat = (0.99 * x).to(precision)
    exact = gradients.gradient_error(x, x_hat.float(), DEFAULT)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients.gradient_error(x, x_hat, DEFAULT)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=0)


# Chance is 1, all of it there 16; the network of the last one has hardly been trained.
@pytest.mark.parametrize(
    ("score", "factor"), [("windows", 4), ("completion", 4), ("neighbours", 4), ("gradients", 2)]
)
@pytest.mark.parametrize("corner", [(slice(0, 8), slice(0, 8)), (slice(-8, None), slice(-8, None))])
def test_a_heat_map_is_hot_where_the_image_is_novel(score, factor, corner):
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    rng = np.random.default_rng(0)
    slopes = rng.uniform(0.2, 0.4, (60, 1, 1))
    X = np.uint8(127 + 100 * np.sin(slopes * (across + down)))  # diagonal stripes
    found = NoveltyDetector("default", settings={**TINY, "scores": (score,), "epochs": 8}, fpr=0.1)
    odd = X[:1].copy()
    odd[0][corner] = rng.integers(0, 256, (8, 8))
    heat, usual = found.fit(X).heatmap(np.concatenate([odd, X[:1]]))
    assert heat[corner].mean() > factor * heat.mean()
    assert heat[corner].mean() > 2 * usual[corner].mean()


def test_a_small_defect_is_found_wherever_it_is():
    rng = np.random.default_rng(0)
    settings = {**TINY, "scores": ("patches",), "epochs": 1}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(weave(60, rng))
    normal, spotted = weave(20, rng), weave(20, rng)
    places = rng.integers(8, 52, (20, 2))
    draw_spots(spotted, places, 4, 230)
    scores = found.novelty_scores(np.concatenate([normal, spotted]))
    assert roc_auc_score(np.repeat([0, 1], 20), scores) > 0.98
    assert np.abs(hottest(found.heatmap(spotted)) - places - 2).max() <= 6


def test_an_edge_that_moves_does_not_outshine_a_defect_elsewhere():
    rng = np.random.default_rng(2)

    def parts(n):
        """A bright part whose left edge is never the same, on an even ground."""
        X = np.full((n, 64, 64), 90.0)
        for image in X:
            image[:, rng.integers(20, 24) :] += rng.uniform(80, 120)
        return np.uint8(X + rng.normal(0, 2, X.shape))

    settings = {**TINY, "scores": ("patches",), "epochs": 1}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(parts(80))
    spotted = parts(6)
    spotted[:, 40:44, 50:54] += 30
    assert np.abs(hottest(found.heatmap(spotted)) - (42, 52)).max() <= 6


def test_of_many_images_few_patches_are_kept(monkeypatch):
    monkeypatch.setattr(evidence, "PATCHES_AMONG", 100)
    settings = {**TINY, "scores": ("patches",), "epochs": 1}
    X = weave(45, np.random.default_rng(1))
    one, same = (NoveltyDetector("default", settings=settings, fpr=0.1).fit(X) for _ in range(2))
    kept = one.evidence_.normal.get_buffer("patches")
    assert len(kept) == one.split_.train * (100 // one.split_.train)
    assert torch.equal(kept, same.evidence_.normal.get_buffer("patches"))


def test_large_images_are_searched_for_small_defects():
    for channels in (1, 3):
        small = resolve("default", {}, channels=channels, size=(28, 32))
        large = resolve("default", {}, channels=channels, size=(28, 33))
        assert large.scores == (*small.scores, "patches", "flaws")
        assert large.score_weights == (*small.score_weights, 0.5, 2.0)
        assert (small.score_scale, large.score_scale) == ("linear", "surplus")
        assert (small.search_margin, large.search_margin) == (0, 3)
    assert resolve("paper", {}, size=(64, 64)).scores == ("error",)
    chosen = resolve("default", {"scores": "error"}, size=(64, 64))
    assert (chosen.scores, chosen.score_scale, chosen.search_margin) == (("error",), "linear", 0)


def test_images_are_encoded_once_and_only_where_a_score_asks_for_it(summed, eights, monkeypatch):
    encoded, encode = [], scoring.encode

    def spy(nets, x, config):
        encoded.append(len(x))
        return encode(nets, x, config)

    monkeypatch.setattr(scoring, "encode", spy)
    summed.novelty_scores(eights[:9])
    assert encoded == [9]
    encoded.clear()
    settings = {**TINY, "scores": ("windows", "turns"), "epochs": 1}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    assert encoded == [found.split_.validation], "to choose the checkpoint"
    found.novelty_scores(eights[:9])
    assert len(encoded) == 1


def test_nothing_that_moves_to_a_device_has_double_precision(summed):
    state = [*summed.networks_.state_dict().values(), *summed.evidence_.state_dict().values()]
    assert torch.float64 not in {tensor.dtype for tensor in state}, "mps has none"


@pytest.fixture(scope="module")
def large():
    """Detectors of images of 80×96 pixels, and of the same averaged down; and those images."""
    rng = np.random.default_rng(0)
    X = np.stack([gaussian_filter(rng.normal(110, 300, (80, 96)), 2) for _ in range(30)])
    X = X.clip(0, 255).astype(np.uint8)[..., None]
    settings = {**TINY, "scores": ALL, "score_weights": WEIGHTS, "epochs": 1}
    both = (X, averaged_down(X, 64))
    return *(NoveltyDetector("default", settings=settings, fpr=0.2).fit(seen) for seen in both), X


def test_of_large_images_only_patches_and_flaws_see_more_than_the_networks(large):
    whole, small, X = large
    assert small.rule_.image_size == (53, 64)
    expected = small.score_parts(averaged_down(X, 64))
    parts = whole.score_parts(X)
    for name in ALL:
        sees_more = name in ("patches", "flaws")
        assert np.array_equal(parts[name], expected[name]) != sees_more, name
    np.testing.assert_array_equal(whole.reconstruct(X), small.reconstruct(averaged_down(X, 64)))
    assert whole.generate(2).shape == (2, 53, 64, 1)


def test_a_model_of_large_images_stays_what_it_is_on_disk(large, tmp_path):
    whole, _, X = large
    whole.save(tmp_path / "model")
    loaded = NoveltyDetector.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.novelty_scores(X), whole.novelty_scores(X))


def test_a_model_of_before_network_side_stays_what_it_is(large, tmp_path):
    X = large[2]
    settings = {**TINY, "scores": ("error", "patches"), "epochs": 1, "network_side": 128}
    whole = NoveltyDetector("default", settings=settings, fpr=0.2).fit(X)
    whole.save(tmp_path / "model")
    description = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    del description["config"]["network_side"]
    (tmp_path / "model" / "model.json").write_text(json.dumps(description), encoding="utf-8")
    loaded = NoveltyDetector.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.novelty_scores(X), whole.novelty_scores(X))
    assert loaded.reconstruct(X[:1]).shape == (1, 80, 96, 1)


@pytest.mark.parametrize("score", ["patches", "windows", "completion", "gradients", "error"])
def test_heat_maps_of_large_images_are_as_large(large, monkeypatch, score):
    whole, small, X = large
    spoiled = X[:1].copy()
    spoiled[:, 60:72, 10:22] = 255 - spoiled[:, 60:72, 10:22]
    for detector in (whole, small):
        monkeypatch.setattr(detector.evidence_, "scores", (score,))
    heat, heat_before = whole.heatmap(np.concatenate([spoiled, X[:1]]))
    assert heat.shape == (80, 96)
    more = heat - heat_before
    middle = np.average(np.indices(more.shape), (1, 2), np.broadcast_to(more.clip(0), (2, 80, 96)))
    assert np.abs(middle - (65.5, 15.5)).max() < 12
    if score != "patches":  # whose map is that of the distances themselves
        seen = small.heatmap(averaged_down(spoiled, 64))[0]
        total = np.mean if score == "error" else np.sum
        assert total(heat) == pytest.approx(total(seen), rel=0.02)


def test_T_looks_at_large_images_averaged_down():
    T = turns.TurnClassifier(3, (64, 48), 4).eval()
    x = to_range(torch.from_numpy(pixels(2, 64, 48, 3)))
    smaller = x.view(2, 3, 32, 2, 24, 2).mean((3, 5))
    torch.testing.assert_close(T(x), T(smaller))


def test_T_counts_nothing_where_positions_cannot_be_told_apart(eights):
    settings = {**TINY, "scores": ("windows", "turns", "views"), "score_weights": (2, 1, 0.5)}
    symmetric = np.mean([np.rot90(eights, k, (1, 2)) for k in range(4)], axis=0).astype(np.uint8)
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(symmetric)
    assert found.evidence_.weights.tolist() == pytest.approx([2, 0, 0], abs=0.2)
    assert found.novelty_scores(symmetric).std() > 0


@pytest.mark.parametrize(("certainty", "share"), [(1.0, 1.0), (0.25, 1.0), (0.125, 0.5)])
def test_T_counts_as_far_as_it_is_certain(eights, monkeypatch, certainty, share):
    monkeypatch.setattr(turns, "certainty", lambda T, h: torch.tensor(certainty))
    settings = {**TINY, "scores": ("windows", "turns", "views"), "score_weights": (2, 1, 0.5)}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    assert found.evidence_.weights.tolist() == pytest.approx([2, share, 0.5 * share])


def test_T_looks_at_held_out_images_once(eights, monkeypatch):
    looks, seen = [], turns.seen

    def look(T, x, *, mirror):
        looks.append(len(x))
        return seen(T, x, mirror=mirror)

    monkeypatch.setattr(turns, "seen", look)
    settings = {**TINY, "scores": ("windows", "turns")}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    assert looks == [found.split_.validation, found.split_.calibration]


def test_scores_of_T_alone_keep_their_weights(eights, monkeypatch):
    monkeypatch.setattr(turns, "certainty", lambda T, h: torch.tensor(0.0))
    settings = {**TINY, "scores": ("turns", "views")}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    assert found.evidence_.weights.tolist() == [1, 1]


def test_held_out_images_that_are_alike_do_not_make_a_score_count_more(eights):
    settings = {**TINY, "scores": ("gradients", "windows")}
    found = NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    alike = np.concatenate([eights[:1]] * 4)
    evidence.gather(found.evidence_, found.networks_, eights[..., None], alike[..., None])
    assert found.evidence_.std.tolist() == pytest.approx([evidence.SMALLEST_STD] * 2)
    assert np.isfinite(found.novelty_scores(eights)).all()


def test_weights_fit_the_scores_of_the_images_that_come():
    X = pixels(40, 8, 8, 3)
    settings = {**TINY, "score_weights": (1, 2, 3, 4), "autoencoder_width": 2, "latent_size": 2}
    found = NoveltyDetector("default", settings=settings, fpr=0.5).fit(X)
    assert found.config_.score_weights == (1, 2, 3, 4)
    with pytest.raises(UsageError, match="score_weights"):
        NoveltyDetector("default", settings=settings, fpr=0.5).fit(X[..., 0])


def test_certainty_is_what_T_knows_beyond_guessing():
    T = turns.TurnClassifier(1, (8, 8), 3)
    torch.nn.init.zeros_(T.logits.weight)
    torch.nn.init.zeros_(T.logits.bias)
    assert turns.certainty(T, torch.rand(1, 4, 6, 12)).item() == pytest.approx(0, abs=1e-6)
    T.logits.weight.data[:, :4] = 50 * torch.eye(4)
    knows = torch.eye(4)[:, None].expand(4, 6, 4)
    sure = torch.cat([knows, torch.zeros(4, 6, 8)], 2)[None]
    assert turns.certainty(T, sure).item() == pytest.approx(1, abs=1e-6)
    assert turns.certainty(T, sure.flip(1)).item() == 0, "certain, and wrong"


def test_the_sum_is_standardised_on_held_out_normal_images(summed, eights):
    prepared = summed._prepare(eights)
    logs = each_score(summed, prepared.validation).log()
    torch.testing.assert_close(summed.evidence_.mean, logs.mean(0).float())
    std = logs.std(0, correction=0).clamp(min=evidence.SMALLEST_STD)
    torch.testing.assert_close(summed.evidence_.std, std.float())
    deviations = ((logs - logs.mean(0)) / std).numpy()
    weights = summed.evidence_.weights.tolist()
    assert weights[:-2] == pytest.approx(WEIGHTS[:-2])
    expected = sum(weight * one for weight, one in zip(weights, deviations.T, strict=True))
    order = summed._scores(prepared.validation)
    np.testing.assert_allclose(order, expected, rtol=1e-6, atol=1e-5)


def test_deviations_above_the_usual_count_alone_where_so_wanted(eights):
    settings = {**TINY, "scores": ("windows", "error"), "score_weights": (3, 0.5), "epochs": 1}
    strange = np.concatenate([eights[:5], pixels(5, 8, 8)])
    linear, curved = (
        NoveltyDetector("default", settings=settings | {"score_scale": scale}, fpr=0.1)
        .fit(eights)
        .score_parts(strange)
        for scale in ("linear", "surplus")
    )
    for name, weight in (("windows", 3), ("error", 0.5)):
        expected = weight * np.log1p(np.log1p(np.exp(linear[name] / weight)))
        np.testing.assert_allclose(curved[name], expected, rtol=1e-9)
        assert (curved[name] > 0).all()
        assert (linear[name] < -1).any()


def test_what_a_search_finds_counts_beyond_a_margin(eights):
    settings = {**TINY, "scores": ("windows", "patches"), "epochs": 1, "score_scale": "surplus"}
    strange = np.concatenate([eights[:5], pixels(5, 8, 8)])
    without, beyond = (
        NoveltyDetector("default", settings=settings | {"search_margin": margin}, fpr=0.1)
        .fit(eights)
        .score_parts(strange)
        for margin in (0, 3)
    )
    np.testing.assert_array_equal(beyond["windows"], without["windows"])
    z = np.log(np.expm1(np.expm1(without["patches"])))
    expected = np.log1p(np.log1p(np.exp(z - 3)))
    np.testing.assert_allclose(beyond["patches"], expected, rtol=1e-6)
    assert beyond["patches"].min() < 0.1 < 0.5 < without["patches"].max()


def test_parts_add_up_to_the_score(summed, detector, eights):
    parts = summed.score_parts(eights)
    assert tuple(parts) == ALL
    np.testing.assert_allclose(sum(parts.values()), summed.novelty_scores(eights), rtol=1e-9)
    np.testing.assert_array_equal(
        detector.score_parts(eights)["error"], detector.novelty_scores(eights)
    )


def test_normal_features_are_of_training_images_alone(summed, eights):
    prepared = summed._prepare(eights)
    normal = dict(summed.evidence_.normal.named_buffers())
    assert normal.pop(novelty.USUAL).shape == (3, 3)
    assert normal.keys() == {"gradients", "codes", "views", "patches"}
    patches = normal.pop("patches")
    assert len(patches) == 9 * summed.split_.train, "all, where there are few"
    assert {len(features) for features in normal.values()} == {summed.split_.train}
    distances = each_score(summed, prepared.train)[:, ALL.index("neighbours")]
    held_out = each_score(summed, prepared.calibration)[:, ALL.index("neighbours")]
    assert distances.mean() < held_out.mean()


def test_a_score_does_not_depend_on_its_batch(summed, eights):
    scores = summed.novelty_scores(eights)
    alone = [summed.novelty_scores(eights[i : i + 1])[0] for i in range(0, len(eights), 9)]
    np.testing.assert_allclose(alone, scores[::9], rtol=1e-3, atol=1e-3)


def test_saved_and_loaded_scores_are_the_same(summed, eights, tmp_path):
    summed.save(tmp_path / "model")
    again = NoveltyDetector.load(tmp_path / "model")
    np.testing.assert_array_equal(again.novelty_scores(eights), summed.novelty_scores(eights))
    np.testing.assert_array_equal(again.p_values(eights), summed.p_values(eights))


def test_a_resumed_training_is_the_uninterrupted_one(eights, tmp_path):
    chosen = {"settings": {**TINY, "scores": ALL, "epochs": 3}, "fpr": 0.1}
    whole = NoveltyDetector("default", **chosen).fit(eights)
    checkpoint = tmp_path / "checkpoint.safetensors"
    stopped = NoveltyDetector("default", **chosen).iter_fit(eights, checkpoint=checkpoint)
    for _ in range(9):  # in the second epoch
        next(stopped)
    stopped.close()
    resumed = NoveltyDetector("default", **chosen)
    for _ in resumed.iter_fit(eights, checkpoint=checkpoint):
        pass
    np.testing.assert_array_equal(resumed.novelty_scores(eights), whole.novelty_scores(eights))
    assert [r.losses for r in resumed.history_] == [r.losses for r in whole.history_]
    assert "turns" in whole.history_[0].losses


def test_the_paper_scores_by_the_reconstruction_error_alone(eights):
    detector = NoveltyDetector("paper", settings={**TINY, "stage": "ae"}, fpr=0.1).fit(eights)
    assert detector.evidence_.T is None
    assert not list(detector.evidence_.normal.buffers())
    errors = np.square((eights - detector.reconstruct(eights)[..., 0].astype(float)) / 127.5)
    np.testing.assert_allclose(detector.novelty_scores(eights), errors.mean((1, 2)), rtol=0.05)


def test_it_finds_other_digits(eights, others):
    chosen = {**TINY, "epochs": 5, "scores": ("gradients", "neighbours", "windows")}
    found = NoveltyDetector("default", settings=chosen, fpr=0.1).fit(eights[:90])
    X = np.concatenate([eights[90:], others])
    truth = np.r_[np.zeros(30), np.ones(len(others))]
    assert roc_auc_score(truth, found.novelty_scores(X)) > 0.9


@pytest.mark.parametrize("scores", [(), ("error", "error"), ("colour",), "colour", "error,error"])
def test_scores_that_do_not_exist_or_repeat(scores):
    with pytest.raises(UsageError, match=r"scores = .* must"):
        resolve("paper", {"scores": scores})


def test_scores_can_be_spelled_as_text():
    assert resolve("paper", {"scores": "gradients, neighbours"}).scores == (
        "gradients",
        "neighbours",
    )


@pytest.mark.parametrize(
    "weights", [(1.0,), (1.0, 0.0), "1,2,3", (1.0, -2.0), (1.0, np.nan), (np.inf, 1.0)]
)
def test_weights_that_do_not_fit_the_scores(weights):
    with pytest.raises(UsageError, match=r"score_weights = .* for each of the scores error, turns"):
        resolve("paper", {"scores": "error,turns", "score_weights": weights})


def test_weights_that_are_no_numbers():
    with pytest.raises(UsageError, match=r"score_weights = 'much' must be numbers such as 0.3,1"):
        resolve("paper", {"score_weights": "much"})


def test_other_scores_than_the_presets_have_no_weights_of_its():
    assert len(resolve("default", {}).score_weights) == len(resolve("default", {}).scores)
    assert resolve("default", {"scores": "error,turns"}).score_weights == ()
    chosen = {"scores": "error,turns", "score_weights": "1,0.5"}
    assert resolve("default", chosen, channels=3).score_weights == (1.0, 0.5)


def test_mirrored_images_are_of_the_class_in_colour_alone():
    assert resolve("default", {}).symmetry == "none"
    assert resolve("default", {}, channels=3).symmetry == "mirror"
    assert resolve("default", {"scores": "views"}).uses_turns
    assert resolve("paper", {}, channels=3).scores == ("error",)
    assert resolve("default", {"scores": "error"}, channels=3).scores == ("error",)


def test_fewer_large_images_are_scored_at_once():
    for side, expected in ((28, [256, 44]), (64, [256, 44]), (128, [64] * 4 + [44]), (2000, [1])):
        X = np.zeros((sum(expected), side, side, 1), np.uint8)
        assert [len(batch) for batch in scoring.batches(X, torch.device("cpu"))] == expected


def test_more_images_are_scored_at_once_on_a_gpu():
    cuda = torch.device("cuda")  # nothing is sent there
    assert [scoring.at_once((side, side), cuda) for side in (28, 64, 128)] == [2048, 2048, 512]


def test_scores_asked_for_in_inference_mode_leave_training_possible(eights):
    """The first to ask for a size's matrices may be one who takes no gradients."""
    x = torch.zeros(2, 1, 11, 13)
    config = resolve("default", {"gradient_smoothing": 0.123})
    with torch.inference_mode():
        gradients.gradient_maps(x, config)
    x = torch.rand(2, 1, 11, 13, requires_grad=True)
    gradients.gradient_error(x, torch.zeros_like(x), config).sum().backward()
    assert x.grad.abs().sum() > 0


def test_what_is_added_for_rounding_grows_with_what_the_scores_are_multiplied_by():
    def raised(*weights):
        config = resolve("paper", {"scores": ["error", "codes"], "score_weights": weights})
        found = evidence.Evidence(config, 1, (8, 8))
        return evidence.above_rounding(found, scores) - scores

    scores = np.array([-3.0, 0.0, 2.0])
    little, much = raised(1.0, 2.0), raised(3e4, 1e4)
    assert (little > 0).all()
    assert (much > 100 * little).all()
    alone = evidence.Evidence(resolve("paper", {}), 1, (8, 8))
    assert 0.05 < evidence.above_rounding(alone, np.array([0.05]))[0] < 0.0501
