"""On a GPU: iterations replayed from a recording are those that Python would have asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import tiny
from pyocgan import flaw_training, scoring, training
from pyocgan.config import STAGES
from pyocgan.detector import NoveltyDetector
from pyocgan.replay import WARM_UP, Replay
from pyocgan.stacked import StackedTraining
from pyocgan.training import Training
from test_stacked import CONFIG, Asked, alone, assert_alike, finish, models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# Epochs of 8 and more iterations on both sides of mining's start: most of each are replayed.
MANY = replace(CONFIG, epochs=4, batch_size=8)
SIZES = (70, 90, 70)


@pytest.fixture
def double(monkeypatch):
    """Everything in float64, so that rounding cannot hide a mistake."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    for module in (training, scoring, flaw_training):
        to_range = module.to_range
        monkeypatch.setattr(module, "to_range", lambda pixels, f=to_range: f(pixels).double())
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def asked(monkeypatch):
    """Give what trains models alone without recordings."""

    def train(trainings):
        with monkeypatch.context() as patch:
            patch.setattr(training, "Replay", Asked)
            return alone(trainings)

    return train


def on_gpu(config=MANY, **options):
    return models(config, **{"sizes": SIZES, "device": "cuda"} | options)


@pytest.mark.parametrize(
    ("stage", "norm"), [*((stage, "batch") for stage in STAGES), ("+mining", "spectral")]
)
def test_replayed_iterations_equal_those_asked_for(double, asked, stage, norm):
    config = replace(MANY, stage=stage, discriminator_norm=norm)
    for one, other in zip(alone(on_gpu(config)), asked(on_gpu(config)), strict=True):
        assert one.iterations > 2 * WARM_UP
        assert_alike(one, other, 1e-6)


def test_models_side_by_side_equal_training_one_by_one(double, asked):
    stack = StackedTraining(on_gpu())
    finish(stack)
    for one, other in zip(stack.trainings, asked(on_gpu()), strict=True):
        assert_alike(one, other, 1e-6)


def test_with_the_gradient_loss_turns_and_flaws(double, asked):
    config = replace(
        MANY,
        gradient_weight=10.0,
        gradient_smoothing=0.35,
        scores=("gradients", "turns", "flaws"),
        **{"turn_width": 2, "turn_images": 4, "flaw_width": 2, "flaw_steps": 15},
    )
    together = on_gpu(config)
    finish(StackedTraining(together))
    for one, other in zip(together, asked(on_gpu(config)), strict=True):
        assert_alike(one, other, 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("after", [2, 6, 15, 29])
def test_interrupted_and_resumed_equals_uninterrupted(
    double,
    tmp_path,
    after,
    channels,
):
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8, channels), np.uint8)
    config = replace(MANY, channels=channels)
    whole, first, second = (
        Training(config, images[9:], images[:9], seed=0, device="cuda") for _ in range(3)
    )
    alone([whole])
    for _, _ in zip(range(after), first.run(), strict=False):
        pass
    first.save(tmp_path / "checkpoint", "same")
    second.load(tmp_path / "checkpoint", "same")
    alone([second])
    assert_alike(second, whole, 1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 0.2), ("bf16-mixed", 0.5)])
def test_side_by_side_in_other_precisions(asked, precision, tolerance):
    """How far apart the weights are, in parts of the way that they have come."""
    config = replace(MANY, epochs=1, mining_warmup=0.0)
    first = [weights(one) for one in on_gpu(config, precision=precision)]
    stack = StackedTraining(on_gpu(config, precision=precision))
    finish(stack)
    others = asked(on_gpu(config, precision=precision))
    for one, other, start in zip(stack.trainings, others, first, strict=True):
        way = (weights(other) - start).norm()
        assert way > 0
        assert (weights(one) - weights(other)).norm() < tolerance * way


def weights(one):
    return torch.cat([weight.detach().flatten() for weight in one.nets.parameters()])


def test_what_differs_from_call_to_call_is_seen():
    """Batches, draws and a new key; the generator goes on as if nothing were recorded."""
    generator = torch.Generator("cuda").manual_seed(0)
    scale, log = [1.0], []

    def iteration(x):
        log.append(scale[0])
        return {"sum": scale[0] * x.sum() + torch.rand((), device="cuda", generator=generator)}

    replay, twin = (
        Replay(torch.device("cuda", 0), [iteration], [generator]),
        torch.Generator("cuda").manual_seed(0),
    )
    for number in range(2 * (WARM_UP + 3)):
        scale[0] = 1.0 if number < WARM_UP + 3 else 2.0
        x = torch.full((3,), float(number), device="cuda")
        (losses,) = replay([x], key=scale[0])
        expected = scale[0] * x.sum() + torch.rand((), device="cuda", generator=twin)
        assert losses["sum"].item() == pytest.approx(expected.item())
    assert log == (WARM_UP + 1) * [1.0] + (WARM_UP + 1) * [2.0]
    assert torch.equal(generator.get_state(), twin.get_state())


def test_a_replay_waits_for_what_recording_has_asked_for(monkeypatch):
    """Recording sets the generator's place to 0, on its stream; late, that undid a replay's."""
    generator, twin = (torch.Generator("cuda").manual_seed(0) for _ in range(2))

    def draw(x):
        return {"drawn": x + torch.rand((), device="cuda", generator=generator)}

    replay = Replay(torch.device("cuda", 0), [draw], [generator])
    empty_cache = torch.cuda.empty_cache

    def then_busy():
        empty_cache()
        with torch.cuda.stream(replay._recorder):
            torch.cuda._sleep(10**9)  # clock cycles: half a second

    # The last thing before a recording begins that waits for the whole GPU.
    monkeypatch.setattr(torch.cuda, "empty_cache", then_busy)
    for _ in range(WARM_UP + 3):
        (losses,) = replay([torch.zeros((), device="cuda")], key=0)
        expected = torch.rand((), device="cuda", generator=twin)
        assert losses["drawn"].item() == expected.item()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_default_detector_scores_on_a_gpu_as_on_the_cpu(digits, tmp_path, channels):
    """All of it, colour and large images too: trained there, saved, and scored on either."""
    images, labels = digits
    pixels = np.repeat(images[..., None], channels, -1)
    if channels == 3:
        pixels = pixels.repeat(5, 1).repeat(5, 2)  # 40 pixels: patches and flaws as well
    eights, others = pixels[labels == 8][:60], pixels[labels != 8][:30]
    detector = NoveltyDetector(settings={"epochs": 2, "flaw_steps": 20}, fpr=0.2, device="cuda")
    detector.fit(eights).save(tmp_path / "model")
    scores = [
        NoveltyDetector.load(tmp_path / "model", device=device).novelty_scores(others)
        for device in ("cuda", "cpu")
    ]
    np.testing.assert_allclose(scores[0], detector.novelty_scores(others), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(*scores, rtol=0.02, atol=0.1)
    assert np.corrcoef(*scores)[0, 1] > 0.999


def test_a_gpu_is_taken_where_there_is_one(eights):
    assert tiny(device="auto").fit(eights).networks_.En.code.weight.is_cuda
