"""Many models as one program: each is what it would have become alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY, tiny
from pyocgan import algorithm, flaw_training, scoring, training
from pyocgan.config import STAGES, resolve
from pyocgan.detector import fit_together
from pyocgan.errors import OcganError
from pyocgan.folding import fold
from pyocgan.frozen import frozen_statistics, frozen_weights
from pyocgan.networks import build
from pyocgan.stacked import StackedTraining
from pyocgan.training import Training

SIZES = (50, 67, 50)  # images a model: 3, 4 and 3 iterations an epoch
SEEDS = (0, 1, 1)
CONFIG = replace(
    resolve("fast", TINY | {"epochs": 4, "batch_size": 16, "mining_warmup": 0.5}),
    image_size=8,
    channels=1,
)


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


def models(config=CONFIG, sizes=SIZES, seeds=SEEDS, **options):
    """Trainings on images of their own."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (n + 9, 8, 8, 1), np.uint8) for n in sizes]
    options = {"device": "cpu"} | options
    return [
        Training(config, pixels[9:], pixels[:9], seed=seed, **options)
        for pixels, seed in zip(images, seeds, strict=True)
    ]


def finish(stack):
    for _ in stack.run():
        pass
    assert stack.errors == {}


def alone(trainings):
    for one in trainings:
        for _ in one.run():
            pass
    return trainings


def assert_alike(one, other, tolerance=1e-9):
    """Two trainings have come to the same, but for rounding."""
    close = {"rtol": tolerance, "atol": tolerance}
    for mine, theirs in zip(one._state.records, other._state.records, strict=True):
        assert (mine.epoch, mine.best, mine.mining) == (theirs.epoch, theirs.best, theirs.mining)
        assert mine.losses == pytest.approx(theirs.losses, rel=tolerance)
        assert mine.validation_error == pytest.approx(theirs.validation_error, rel=tolerance)
    assert (one.best_epoch, one.steps) == (other.best_epoch, other.steps)
    for mine, theirs in ((one.nets.state_dict(), other.nets.state_dict()), (one.best, other.best)):
        assert mine.keys() == theirs.keys()
        for key in mine:  # weights, running statistics, counts
            torch.testing.assert_close(mine[key], theirs[key], **close, msg=key)
    mine, theirs = one._optimizer_tensors(), other._optimizer_tensors()
    assert mine.keys() == theirs.keys()
    for key in mine:
        torch.testing.assert_close(mine[key], theirs[key], **close, msg=key)
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize(
    ("stage", "norm"),
    [*((stage, "batch") for stage in STAGES), ("+mining", "none"), ("+mining", "spectral")],
)
def test_a_stack_equals_training_one_by_one(double, stage, norm):
    """Sizes and seeds differ; mining starts at other iterations, and ends at others."""
    config = replace(CONFIG, stage=stage, discriminator_norm=norm)
    stack = StackedTraining(models(config))
    finish(stack)
    for one, other in zip(stack.trainings, alone(models(config)), strict=True):
        assert one.finished
        assert_alike(one, other)


def test_a_stack_with_the_gradient_loss_turns_and_flaws_equals_training_one_by_one(double):
    config = replace(
        CONFIG,
        gradient_weight=10.0,
        scores=("gradients", "turns", "flaws"),
        **{"turn_width": 2, "turn_images": 4, "flaw_width": 2, "flaw_steps": 15},
    )
    together, separately = models(config), alone(models(config))
    finish(StackedTraining(together))
    for one, other in zip(together, separately, strict=True):
        assert_alike(one, other)
        assert one.evidence.T is not None
        torch.testing.assert_close(one.evidence.state_dict(), other.evidence.state_dict())
        assert {"gradients", "turns", "flaws"} <= set(one.progress().history[0].losses)


def test_the_comparison_can_fail(double):
    one, other = alone(models(seeds=(0, 1, 2), sizes=(50, 50, 50)))[:2]
    with pytest.raises(AssertionError):
        assert_alike(one, other)


def test_in_float32_only_rounding_differs():
    """A few iterations: rounding grows with every one."""
    config = replace(CONFIG, epochs=1, mining_warmup=0.0)
    stack = StackedTraining(models(config))
    finish(stack)
    for one, other in zip(stack.trainings, alone(models(config)), strict=True):
        assert one._state.records[0].losses == pytest.approx(other._state.records[0].losses, 1e-4)
        assert_same_scores(one, other, 1e-4)


def test_bfloat16_trains_too():
    config = replace(CONFIG, epochs=1)
    stack = StackedTraining(models(config, precision="bf16-mixed"))
    finish(stack)
    others = alone(models(config, precision="bf16-mixed"))
    for one, other in zip(stack.trainings, others, strict=True):
        assert_same_scores(one, other, 0.05)


def assert_same_scores(one, other, tolerance):
    mine, theirs = (
        scoring.reconstruction_errors(t.restore_best(), t.validation, t.config)
        for t in (one, other)
    )
    np.testing.assert_allclose(mine, theirs, rtol=tolerance)


def test_models_see_the_images_and_draws_that_they_would_see_alone(monkeypatch):
    seen = []
    iterate, draw = algorithm.iterate, algorithm.draw
    monkeypatch.setattr(
        algorithm,
        "draw",
        lambda *a: seen.append((draw(*a), a[2])) or seen[-1][0],
    )

    def spy(nets, optimizers, x, config, **options):
        seen.append((x, options["generator"]))
        return iterate(nets, optimizers, x, config, **options)

    monkeypatch.setattr(algorithm, "iterate", spy)
    apart = models()
    alone(apart)
    expected = {
        n: [t for t, generator in seen if generator is one.generator] for n, one in enumerate(apart)
    }
    seen.clear()
    stack = StackedTraining(models())
    finish(stack)
    for n, one in enumerate(stack.trainings):
        mine = [
            tensor[[*map(id, generators)].index(id(one.generator))]
            for tensor, generators in seen
            if isinstance(generators, list) and one.generator in generators
        ]
        assert len(mine) == len(expected[n]) > 0
        assert all(map(torch.equal, mine, expected[n]))


def test_the_stack_shrinks_as_models_finish_and_forms_do_not_mix():
    other = replace(CONFIG, epochs=1)
    trainings = [*models(), *models(other, sizes=(50,), seeds=(5,))]
    steps = [sorted(progress) for progress in StackedTraining(trainings).run()]
    assert steps == [[0, 1, 2]] * 12 + [[1]] * 4 + [[3]] * 3


@pytest.mark.parametrize("after", [1, 5, 7, 13])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, after):
    """In the first epoch, before mining, while some mine, after the first have finished."""
    whole = StackedTraining(models())
    finish(whole)
    paths, names = [tmp_path / f"{n}.safetensors" for n in range(3)], ["a", "b", "c"]
    steps = StackedTraining(models()).run_with_checkpoints(paths, names, 1000)
    for _ in range(after):
        next(steps)
    steps.close()
    resumed = models()
    for one, path, name in zip(resumed, paths, names, strict=True):
        one.load(path, name)
    stack = StackedTraining(resumed)
    assert sum(1 for _ in stack.run()) == 16 - after
    for one, other in zip(resumed, whole.trainings, strict=True):
        assert_alike(one, other, 0)


def test_a_model_goes_on_alone_or_in_another_stack(double, tmp_path):
    """As when a process dies between the checkpoints of two models."""
    paths, names = [tmp_path / f"{n}.safetensors" for n in range(3)], ["a", "b", "c"]
    steps = StackedTraining(models()).run_with_checkpoints(paths, names, 0)
    next(steps), next(steps), next(steps), next(steps)
    old = paths[1].read_bytes()
    next(steps), next(steps)
    steps.close()
    paths[1].write_bytes(old)
    resumed = models()
    for one, path, name in zip(resumed, paths, names, strict=True):
        one.load(path, name)
    assert [one.steps for one in resumed] == [6, 3, 6]
    alone(resumed[2:])
    steps = [sorted(progress) for progress in StackedTraining(resumed).run()]
    assert steps == [[1]] * 3 + [[0, 1]] * 6 + [[1]] * 4
    for one, other in zip(resumed, alone(models()), strict=True):
        assert_alike(one, other)


def test_a_model_that_diverges_leaves_the_others_alone(double):
    trainings = models()
    with torch.no_grad():
        trainings[1].nets.En.code.weight.fill_(torch.nan)
    stack = StackedTraining(trainings)
    for _ in stack.run():
        pass
    assert stack.errors.keys() == {1}
    assert isinstance(stack.errors[1], OcganError)
    for number in (0, 2):
        assert_alike(trainings[number], alone(models()[number : number + 1])[0])


# ---- folded networks -----------------------------------------------------------------------------


@pytest.fixture
def apart(double):
    config = replace(CONFIG, stage="+mining")
    return [build(config, 3, (9, 12), torch.Generator().manual_seed(n)).train() for n in range(3)]


def inputs(name):
    shape = (3, 5, 4) if name in ("De", "D_l") else (3, 5, 3, 9, 12)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["En", "De", "D_l", "D_v", "C"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_folded_network_gives_what_its_models_give(apart, name, k):
    x = inputs(name)[:k]
    folded = fold(apart[:k])
    result = getattr(folded, name)(x)
    expected = torch.stack([getattr(a, name)(part) for a, part in zip(apart, x, strict=False)])
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("name", ["De", "D_l", "C"])
def test_frozen_statistics_and_weights_hold_for_folded_networks(apart, name):
    folded = fold(apart)
    network = getattr(folded, name)
    before = {key: tensor.clone() for key, tensor in folded.state_dict().items()}
    x = inputs(name).requires_grad_()
    with frozen_statistics(network), frozen_weights(network):
        network(x).sum().backward()
    assert all(torch.equal(tensor, before[key]) for key, tensor in folded.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())
    assert x.grad is not None
    network(x)
    assert not all(torch.equal(t, before[key]) for key, t in folded.state_dict().items())


def test_a_layer_that_is_not_known_is_refused(apart):
    for one in apart:
        one.En.code = torch.nn.PReLU()
    with pytest.raises(TypeError, match=r"En\.code is a PReLU"):
        fold(apart)


# ---- detectors -----------------------------------------------------------------------------------


def test_detectors_fitted_together_are_those_fitted_alone(double, digits, tmp_path):
    images, labels = digits
    classes = [images[labels == name] for name in (1, 5, 8)]
    paths = [tmp_path / f"{n}.checkpoint" for n in range(3)]

    def detectors():
        return [tiny(settings={"epochs": 3}, random_state=seed) for seed in (0, 1, 1)]

    together = detectors()
    begun = together[1].iter_fit(classes[1], checkpoint=paths[1])
    next(begun), next(begun)
    begun.close()  # this one comes from its own checkpoint
    together = detectors()
    assert fit_together(together, classes, checkpoints=paths) == [None, None, None]
    for one, other, X in zip(together, detectors(), classes, strict=True):
        other.fit(X)
        assert (one.best_epoch_, one.split_) == (other.best_epoch_, other.split_)
        assert one.fingerprint_ == other.fingerprint_
        assert one.threshold_ == pytest.approx(other.threshold_, rel=1e-6)
        np.testing.assert_allclose(one.novelty_scores(X), other.novelty_scores(X), rtol=1e-6)
    trained = [one.history_[-1].seconds for one in together]
    assert all(one.seconds_ > sum(trained) / 3 for one in together), "a share, and what follows"


def test_a_detector_that_cannot_be_fitted_does_not_stop_the_others(eights, tmp_path):
    paths = [tmp_path / "0", tmp_path / "1"]
    both = [tiny(settings={"epochs": 1}), tiny(settings={"epochs": 1})]
    errors = fit_together(both, [eights[:3], eights], checkpoints=paths)
    assert isinstance(errors[0], OcganError)
    assert errors[1] is None
    assert np.isfinite(both[1].novelty_scores(eights)).all()
