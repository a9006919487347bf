"""The scores beside the paper's: gradients, neighbours, turns, and their sum."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from pyocgan import NoveltyDetector, baselines, evidence, scoring, turns
from pyocgan.config import resolve
from pyocgan.errors import UsageError
from pyocgan.gradients import oriented_gradients
from pyocgan.images import to_range

ALL = ("error", "gradients", "neighbours", "turns")
PAPER = resolve("paper", {})
TINY = {
    **{"autoencoder_width": 4, "visual_width": 4, "classifier_width": 4, "turn_width": 4},
    **{"locality": 0.0, "contrast_floor": 0.0},
    **{"epochs": 2, "batch_size": 16, "least_iterations": 1},
}


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def summed(eights):
    return NoveltyDetector("default", settings={**TINY, "scores": ALL}, fpr=0.1).fit(eights)


@pytest.fixture(scope="module")
def local(eights):
    settings = {**TINY, "scores": ALL, "locality": 0.4}
    return NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)


def each_score(summed, X):
    X = X if X.ndim == 4 else X[..., None]
    with torch.no_grad():
        logs = evidence._all_logs(summed.evidence_, summed.networks_, X, summed.config_)
    return logs.exp()


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (3, 32, 32, 3), (2, 11, 17, 3), (2, 8, 8, 1)])
def test_gradients_are_those_of_the_baseline(shape):
    X = pixels(*shape)
    n, h, w, k = shape
    expected = baselines.oriented_gradients(X).reshape(n, h // 2, w // 2, 4, k)
    ours = oriented_gradients(to_range(torch.from_numpy(X)), PAPER).view(n, 4, k, h // 2, w // 2)
    # The baseline lists right, left, down, up within its last axis, as maps of K channels each.
    np.testing.assert_allclose(ours.permute(0, 3, 4, 1, 2).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("changed", [{}, {"gradient_smoothing": 0.35}, {"contrast_floor": 0.2}])
def test_gradients_of_large_images_stay_small_and_forget_contrast(changed):
    config = resolve("paper", changed)
    x = to_range(torch.from_numpy(pixels(2, 128, 100, 3)))
    features = oriented_gradients(x, config)
    assert features.shape == (2, 4 * 3 * 16 * 14)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(oriented_gradients(0.3 * x + 0.2, config), features)


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_gradients_of_an_even_image_are_zero_and_so_are_their_derivatives(floor):
    x = torch.ones(1, 1, 9, 9, requires_grad=True)
    phi = oriented_gradients(x, resolve("paper", {"contrast_floor": floor}))
    phi.sum().backward()
    assert phi.abs().max() == 0
    assert x.grad.isfinite().all()


def test_smoothing_blurs_the_image_by_a_share_of_a_cell():
    X = pixels(2, 16, 12, 3)
    blurred = gaussian_filter(X / 255.0, sigma=(0, 0.7, 0.7, 0))
    expected = oriented_gradients(torch.from_numpy(blurred).permute(0, 3, 1, 2), PAPER)
    x = torch.from_numpy(X / 255.0).permute(0, 3, 1, 2)
    ours = oriented_gradients(x, resolve("paper", {"gradient_smoothing": 0.35}))
    torch.testing.assert_close(ours, expected)


def test_a_contrast_floor_makes_a_faint_edge_count_as_a_strong_one():
    x = torch.zeros(1, 1, 28, 28)
    x[..., 4:, :14], x[..., 18:, 14:] = 1.0, 0.1  # an edge, and far from it one ten times as faint
    faint = []
    for floor in (0.0, 0.2, 0.02):
        phi = oriented_gradients(x, resolve("paper", {"contrast_floor": floor})).view(4, 14, 14)
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
    class Ignorant(torch.nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 4)

    loss = turns.l_turns(Ignorant(), torch.rand(5, 1, 8, 8))
    torch.testing.assert_close(loss, torch.full((5,), 4 * np.log(4), dtype=torch.float32))


def test_moved_images_are_shifted_by_whole_pixels_and_mirrored_at_random():
    x = torch.rand(64, 3, 20, 10)
    one, same = (turns.moved(x, torch.Generator().manual_seed(3)) for _ in range(2))
    other = turns.moved(x, torch.Generator().manual_seed(4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    seen = set()
    for before, after in zip(x, one, strict=True):
        for flip in (False, True):
            plain = after.flip(2) if flip else after
            inner = plain[:, 2:-2, 1:-1]
            for down in range(5):
                for right in range(3):
                    if torch.equal(inner, before[:, down : down + 16, right : right + 8]):
                        seen.add((down, right, flip))
                        break
    places = {place[:2] for place in seen}
    assert len(places) > 10, "not everywhere"
    assert {place[2] for place in seen} == {False, True}


def test_turn_learning_rate_rises_and_ends_at_zero():
    rates = [turns.learning_rate(done, 1.0) for done in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(0)


def test_each_score_against_an_independent_computation(summed, eights):
    X = eights[:7, :, :, None]
    scores = each_score(summed, X).numpy()
    phi = baselines.oriented_gradients
    knn = summed.evidence_.neighbours.float().numpy()
    ((_, x_hat),) = scoring.reconstructions(summed.networks_, X, summed.config_)
    x_hat = (x_hat.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5
    errors = np.square((X - x_hat) / 127.5).mean((1, 2, 3))
    np.testing.assert_allclose(scores[:, 0], errors, rtol=1e-4)
    np.testing.assert_allclose(scores[:, 1], 1 - (phi(X) * phi(x_hat)).sum(1), rtol=1e-3)
    ours = oriented_gradients(to_range(torch.from_numpy(X)), PAPER).numpy()
    distances = np.linalg.norm(ours[:, None] - knn, axis=2)
    np.testing.assert_allclose(scores[:, 2], np.sort(distances)[:, :5].mean(1), atol=2e-3)
    assert (scores[:, 3] >= turns.SMALLEST).all()


def test_scores_are_divided_by_those_of_the_nearest_normal_images(summed, local, eights):
    np.testing.assert_array_equal(local.evidence_.neighbours, summed.evidence_.neighbours)
    normal = summed.evidence_.neighbours.float()
    X = eights[-9:]
    phi = oriented_gradients(to_range(torch.from_numpy(X[..., None])), local.config_)
    logs = each_score(summed, X).log()
    own = each_score(summed, local._prepare(eights).train).log()
    own[:, 2] = torch.stack(
        [(p - normal).norm(dim=1).sort().values[1:6].mean() for p in normal]
    ).log()
    own = own.maximum(own.median(0).values - np.log(10))
    for i, p in enumerate(phi):
        nearest = (p - normal).norm(dim=1).argsort()[:5]
        logs[i] -= 0.4 * own[nearest].mean(0)
    torch.testing.assert_close(each_score(local, X).log(), logs, atol=2e-3, rtol=1e-3)


def test_copies_of_an_image_do_not_make_their_surroundings_novel(eights):
    chosen = {**TINY, "scores": ("neighbours",), "locality": 0.5}
    X = np.concatenate([eights] + [eights[:1]] * 12)
    found = NoveltyDetector("default", settings=chosen, fpr=0.1).fit(X)
    local = found.evidence_.local
    assert local.min() >= local.median() - np.log(10) - 1e-9
    assert local.min() < local.median() - 2  # they are there
    assert found.novelty_scores(eights[:1]) < found.novelty_scores(eights).min() + 1e-9


def test_without_neighbours_there_is_no_locality(eights):
    chosen = {**TINY, "scores": ("error", "gradients"), "locality": 0.5}
    found = NoveltyDetector("default", settings=chosen, fpr=0.1).fit(eights)
    plain = NoveltyDetector("default", settings={**chosen, "locality": 0.0}, fpr=0.1).fit(eights)
    np.testing.assert_array_equal(found.novelty_scores(eights), plain.novelty_scores(eights))


def test_the_sum_is_standardised_on_held_out_normal_images(summed, eights):
    prepared = summed._prepare(eights)
    logs = each_score(summed, prepared.validation).log()
    torch.testing.assert_close(summed.evidence_.mean, logs.mean(0))
    torch.testing.assert_close(summed.evidence_.std, logs.std(0, correction=0))
    expected = ((logs - logs.mean(0)) / logs.std(0, correction=0)).sum(1).numpy()
    order = summed._scores(prepared.validation)
    np.testing.assert_allclose(order, expected, rtol=1e-9)


def test_neighbours_are_training_images_alone(summed, eights):
    prepared = summed._prepare(eights)
    assert len(summed.evidence_.neighbours) == summed.split_.train
    distances = each_score(summed, prepared.train)[:, 2]
    assert distances.min() < each_score(summed, prepared.calibration)[:, 2].min()


def test_a_score_does_not_depend_on_its_batch(summed, eights):
    scores = summed.novelty_scores(eights)
    alone = [summed.novelty_scores(eights[i : i + 1])[0] for i in range(0, len(eights), 9)]
    np.testing.assert_allclose(alone, scores[::9], rtol=1e-3, atol=1e-3)


def test_saved_and_loaded_scores_are_the_same(local, eights, tmp_path):
    local.save(tmp_path / "model")
    again = NoveltyDetector.load(tmp_path / "model")
    np.testing.assert_array_equal(again.novelty_scores(eights), local.novelty_scores(eights))
    np.testing.assert_array_equal(again.p_values(eights), local.p_values(eights))


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
    assert detector.evidence_.neighbours.numel() == 0
    errors = np.square((eights - detector.reconstruct(eights)[..., 0].astype(float)) / 127.5)
    np.testing.assert_allclose(detector.novelty_scores(eights), errors.mean((1, 2)), rtol=0.05)


def test_it_finds_other_digits(eights, others):
    chosen = {**TINY, "epochs": 5, "scores": ("gradients", "neighbours")}
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


def test_default_asks_which_way_up_of_colour_images_alone():
    assert "turns" not in resolve("default", {}).scores
    assert "turns" in resolve("default", {}, channels=3).scores
    assert resolve("paper", {}, channels=3).scores == ("error",)
    assert resolve("default", {"scores": "error"}, channels=3).scores == ("error",)
