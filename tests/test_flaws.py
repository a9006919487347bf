"""P, which finds flaws: how they are made up, what it learns of them, what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from conftest import draw_spots, hottest, weave
from pyocgan import NoveltyDetector, flaw_training, flaws
from pyocgan.config import resolve
from pyocgan.images import to_range
from pyocgan.residual import learning_rate
from pyocgan.training import Training

CONFIG = resolve("default", {"flaw_width": 4})
TINY = {
    **{"autoencoder_width": 2, "visual_width": 2, "classifier_width": 2, "flaw_width": 4},
    **{"epochs": 1, "batch_size": 16, "least_iterations": 1, "stage": "ae"},
}


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- making flaws up -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "piece"), [((72, 96), (48, 48)), ((40, 32), (40, 32)), ((16, 8), (16, 8))]
)
def test_pieces_are_cut_anywhere_and_are_whole_cells(size, piece):
    places = np.arange(size[0] * size[1]).reshape(size)
    X = np.stack([places % 251, places // 251, np.zeros(size)], -1).astype(np.uint8)
    images = torch.from_numpy(np.stack([X, X + np.uint8([0, 0, 9])]))
    cut = [flaw_training.pieces(images, draws(seed), mirror=False) for seed in range(9)]
    pixels = ((torch.cat(cut) + 1) * 127.5).round().int()
    assert pixels.shape == (9 * flaw_training.PIECES, 3, *piece)
    assert pixels[:, 2].unique().tolist() == [0, 9], "of both images"
    found = (pixels[:, 0] + 251 * pixels[:, 1]).numpy()
    corners = found[:, 0, 0]
    expected = places[: piece[0], : piece[1]]
    assert (found == corners[:, None, None] + expected).all(), "not as it stands in the image"
    rooms = [side - length for side, length in zip(size, piece, strict=True)]
    for ways, room in zip(np.divmod(corners, size[1]), rooms, strict=True):
        assert set(ways) >= {0, room}
        assert set(ways) <= set(range(room + 1))


def test_pieces_are_mirrored_where_the_class_is():
    images = torch.from_numpy(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1))
    for mirror, slopes in ((False, [True]), (True, [False, True])):
        x = flaw_training.pieces(images, draws(), mirror=mirror)
        assert sorted(set((x[:, 0, 0, 0] < x[:, 0, 0, 7]).tolist())) == slopes


def test_a_flaw_is_where_the_image_has_changed_and_nowhere_else():
    x = to_range(torch.from_numpy(weave(200, np.random.default_rng(0))[..., None]))
    spoiled, flawed = flaw_training.spoil(x, draws())
    assert flawed.shape == (200, 8, 8)
    assert set(flawed.unique().tolist()) == {0, 1}
    assert spoiled.abs().max() <= 1
    change = (spoiled - x).abs()[:, 0].view(200, 8, 8, 8, 8)
    most = change.amax((2, 4))
    assert most[flawed == 1].min() > flaw_training.SEEN
    share = (change > flaw_training.SEEN).float().mean((2, 4))
    assert share[flawed == 0].max() < 0.12, "much has changed that is called flawless"
    assert 0.01 < flawed.mean() < 0.2
    flawless = flawed.flatten(1).amax(1) == 0
    assert 0.05 < flawless.float().mean() < 0.5
    again, _ = flaw_training.spoil(x, draws())
    other, _ = flaw_training.spoil(x, draws(1))
    assert torch.equal(spoiled, again)
    assert not torch.equal(spoiled, other)


def spoiled_by(monkeypatch, x, **shares):
    """Pieces with flaws of some kinds alone, changed as plainly as can be."""
    plain = {"WHOLE": 0, "FAINTEST": 1, "ELSEWHERE": 0, "BLURRED": 0, "LIT": 0}
    for name, share in (plain | shares).items():
        monkeypatch.setattr(flaw_training, name, share)
    return flaw_training.spoil(x, draws())


def test_without_a_change_there_is_no_flaw(monkeypatch):
    x = to_range(torch.from_numpy(weave(40, np.random.default_rng(0))[..., None]))
    spoiled, flawed = spoiled_by(monkeypatch, x)
    assert torch.equal(spoiled, x)
    assert flawed.max() == 0
    for kind in ("ELSEWHERE", "BLURRED", "LIT"):
        assert spoiled_by(monkeypatch, x, **{kind: 1})[1].mean() > 0.01, kind


def test_what_stands_elsewhere_is_of_the_class(monkeypatch):
    """Of images of a few grey levels, another piece has no other levels but between them."""
    x = torch.where(torch.rand(60, 1, 64, 64, generator=draws()) < 0.5, -0.5, 0.5)
    elsewhere, _ = spoiled_by(monkeypatch, x, ELSEWHERE=1)
    assert elsewhere.abs().max() <= 0.5 + 1e-6
    lit, _ = spoiled_by(monkeypatch, x, LIT=1)
    assert lit.abs().max() > 0.7


def test_a_blurred_flaw_has_less_detail(monkeypatch):
    x = torch.rand(80, 1, 64, 64, generator=draws()) - 0.5
    for axis in ("ALONG", "ACROSS"):
        monkeypatch.setattr(flaw_training, axis, (12.0, 18.0))
    blurred, flawed = spoiled_by(monkeypatch, x, BLURRED=1)
    inside = flawed.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :, 1:] == 1
    before, after = (y.diff(dim=3)[:, 0][inside].abs().mean() for y in (x, blurred))
    assert after < 0.7 * before
    colour = torch.rand(64, 20, 24, 3, generator=draws()).mul(255).byte()
    piece = flaw_training.pieces(colour, draws(), mirror=False)
    blurred = flaw_training._blurred(piece, draws())
    torch.testing.assert_close(blurred.mean(), piece.mean(), atol=0.02, rtol=0)


def test_colour_is_added_to_colour_images(monkeypatch):
    x = 0.5 * torch.rand(60, 3, 64, 64, generator=draws()) - 0.25
    spoiled, _ = spoiled_by(monkeypatch, x, LIT=1, COLOURED=1, CONTRAST=0)
    change = (spoiled - x).amax((2, 3)) + (spoiled - x).amin((2, 3))
    assert change.std(1).mean() > 0.05, "all colours alike"
    spoiled, _ = spoiled_by(monkeypatch, x, LIT=1, COLOURED=0, CONTRAST=0)
    change = (spoiled - x).amax((2, 3)) + (spoiled - x).amin((2, 3))
    assert change.std(1).max() < 1e-3


def test_regions_lie_everywhere_and_are_lines_or_blobs():
    found = flaw_training._regions(torch.zeros(2000, 1, 48, 64), draws())
    assert found.shape == (2000, 1, 48, 64)
    assert found.min() == 0
    assert found.max() == 1
    often = found.mean((0, 1))
    assert often.min() > 0.15 * often.max(), "hardly ever at an edge"
    area = found.sum((1, 2, 3))
    assert area.quantile(0.1) < 20
    assert area.quantile(0.9) > 150
    wide = found.amax((1, 3)).sum(1)  # rows that a region has
    assert ((area < 4 * wide) & (wide > 16)).float().mean() > 0.03, "no lines"


# ---- P -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cells"), [((64, 48), (8, 6)), ((33, 50), (5, 7)), ((8, 9), (1, 2))]
)
def test_P_says_something_of_every_cell(size, cells):
    P = flaws.build(CONFIG, 3, draws()).eval()
    x = torch.rand(2, 3, *size, generator=draws())
    with torch.no_grad():
        logits = P(x)
        assert logits.shape == (2, *cells)
        torch.testing.assert_close(P(x[1:]), logits[1:])
    heat = flaws.spread(logits, size)
    assert heat.shape == (2, *size)
    assert (heat > 0).all()


def test_P_begins_as_its_generator_says():
    one, same, other = (flaws.build(CONFIG, 1, draws(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["features.0.weight"], other["features.0.weight"])


def test_an_image_is_as_odd_as_its_three_surest_cells():
    logits = torch.randn(4, 5, 6, generator=draws())
    p = 1 / (1 + np.exp(-logits.flatten(1).double().numpy()))
    expected = np.sort(-np.log(1 - p), 1)[:, -3:].mean(1)
    np.testing.assert_allclose(flaws.surest(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(flaws.surest(logits[:, :1, :1]), -np.log(1 - p[:, 0]), rtol=1e-5)


def test_the_map_of_flaws_puts_each_cell_where_it_lies():
    for row, column in ((0, 0), (2, 3), (4, 6)):
        logits = torch.full((1, 5, 7), -20.0)
        logits[0, row, column] = 3
        heat = flaws.spread(logits, (40, 56))[0]
        assert heat.shape == (40, 56)
        assert flaws.spread(logits, (39, 50)).shape == (1, 39, 50)
        top, left = (heat > 0.9 * heat.max()).nonzero().amin(0)
        bottom, right = (heat > 0.9 * heat.max()).nonzero().amax(0)
        assert 8 * row <= top <= bottom <= 8 * row + 8
        assert 8 * column <= left <= right <= 8 * column + 8


def test_P_learns_to_find_flaws_of_unseen_images_whose_like_it_never_saw(monkeypatch):
    monkeypatch.setattr(flaw_training, "PIECES", 16)
    rng = np.random.default_rng(0)
    config = replace(CONFIG, flaw_width=8)
    P, images = flaws.build(config, 1, draws()), torch.from_numpy(weave(40, rng)[..., None])
    optimizer, generator = flaw_training.build_optimizer(P), draws()
    normal, spotted = weave(30, rng), weave(30, rng)
    places = rng.integers(8, 50, (30, 2))
    draw_spots(spotted, places, 6, 220)
    x = to_range(torch.from_numpy(np.concatenate([normal, spotted])[..., None]))

    def ask():
        P.eval()
        with torch.no_grad():
            logits = P(x)
        cells = logits[30:].flatten(1).argmax(1)
        found = torch.stack([cells // 8, cells % 8], 1).numpy() * 8 + 4
        near = (np.abs(found - places - 3).max(1) <= 8).mean()
        return roc_auc_score(np.repeat([0, 1], 30), flaws.surest(logits)), near

    before, losses = ask(), []
    for step in range(120):
        losses.append(
            flaw_training.train(P, optimizer, images, [step / 120], generator, config).item()
        )
    after = ask()
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:10])
    assert before[0] < 0.9
    assert after[0] > 0.95
    assert before[1] < 0.8
    assert after[1] > 0.9


# ---- in a detector -------------------------------------------------------------------------------


def training(config, n=20, size=(40, 48), seed=0, **options):
    X = np.random.default_rng(0).integers(0, 256, (n + 4, *size, 1), np.uint8)
    settled = replace(config, image_size=size, channels=1)
    return Training(settled, X[4:], X[:4], seed=seed, device="cpu", **options)


@pytest.mark.parametrize(("wanted", "steps"), [(1, 1), (12, 1), (13, 2), (30, 3)])
def test_steps_of_P_are_shared_out_to_all_iterations(monkeypatch, wanted, steps):
    taken, update = [], flaw_training._update

    def count(*arguments):
        taken.append(1)
        return update(*arguments)

    monkeypatch.setattr(flaw_training, "_update", count)
    settings = {**TINY, "scores": "flaws", "epochs": 3, "batch_size": 5, "flaw_steps": wanted}
    for _ in training(resolve("default", settings)).run():
        pass
    assert len(taken) == 12 * steps


def test_the_learning_rate_of_P_follows_training_step_by_step(monkeypatch):
    rates, update = [], flaw_training._update

    def note(P, optimizer, *arguments):
        rates.append(optimizer.param_groups[0]["lr"])
        return update(P, optimizer, *arguments)

    monkeypatch.setattr(flaw_training, "_update", note)
    settings = {**TINY, "scores": "flaws", "epochs": 2, "batch_size": 10, "flaw_steps": 40}
    for _ in training(resolve("default", settings)).run():
        pass
    expected = [learning_rate(step / 40, flaw_training.RATE) for step in range(40)]
    assert rates == pytest.approx(expected)


def test_P_sees_all_pixels_and_the_networks_fewer():
    settings = {**TINY, "scores": ("flaws", "gradients"), "network_side": 20, "flaw_steps": 1}
    one = training(resolve("default", settings))
    assert one.images.shape == (20, 17, 20, 1)
    assert one.validation.shape == (4, 17, 20, 1)
    assert one.score_training.whole.shape == (20, 40, 48, 1)
    without = training(resolve("default", settings | {"scores": "gradients"}))
    assert without.score_training.whole is None, "large images are kept for nobody"
    uneven = training(resolve("default", settings), size=(33, 47))
    assert uneven.score_training.whole.shape == (20, 40, 48, 1)
    same = training(resolve("default", settings | {"network_side": 64}))
    assert same.score_training.whole is same.images, "kept twice"


def test_training_of_P_goes_on_exactly_after_an_interruption(tmp_path):
    config = resolve("default", {**TINY, "scores": "flaws", "epochs": 2, "batch_size": 5})
    config = replace(config, flaw_steps=16)
    straight, broken = training(config), training(config)
    for _ in straight.run():
        pass
    for _, _ in zip(range(3), broken.run(), strict=False):
        pass
    broken.save(tmp_path / "checkpoint", "mine")
    resumed = training(config, seed=9)
    resumed.load(tmp_path / "checkpoint", "mine")
    for _ in resumed.run():
        pass
    expected, found = (one.evidence.P.state_dict() for one in (straight, resumed))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("size", [(64, 64), (59, 62)])
def test_a_detector_with_flaws_finds_small_defects_and_says_where(size, tmp_path, monkeypatch):
    monkeypatch.setattr(flaw_training, "PIECES", 16)
    rng = np.random.default_rng(1)
    settings = {**TINY, "scores": "flaws", "flaw_width": 8, "flaw_steps": 250}
    train, normal, spotted = (weave(n, rng)[:, : size[0], : size[1]] for n in (50, 20, 20))
    found = NoveltyDetector("default", settings=settings, fpr=0.2).fit(train)
    places = rng.integers(4, 50, (20, 2))
    draw_spots(spotted, places, 5, 20)
    scores = found.novelty_scores(np.concatenate([normal, spotted]))
    assert roc_auc_score(np.repeat([0, 1], 20), scores) > 0.95
    away = np.abs(hottest(found.heatmap(spotted)) - places - 2.5).max(1)
    assert (away <= 8).mean() > 0.9
    found.save(tmp_path / "model")
    loaded = NoveltyDetector.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.novelty_scores(spotted), scores[20:])
