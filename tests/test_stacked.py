"""Many models trained together: each is what it would have become alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import TINY, tiny
from pyocgan import stacked
from pyocgan.config import STAGES, resolve
from pyocgan.errors import OcganError
from pyocgan.stacked import StackedTraining, fit_together
from pyocgan.training import Training, saving

SIZES = (50, 67, 50)  # images a model: 3, 4 and 3 iterations an epoch
SEEDS = (0, 1, 1)
CONFIG = replace(
    resolve("fast", TINY | {"epochs": 4, "batch_size": 16, "mining_warmup": 0.5}),
    image_size=8,
    channels=1,
)


def models(config=CONFIG, sizes=SIZES, seeds=SEEDS, **options):
    """Trainings on images of their own."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (n + 9, 8, 8, 1), np.uint8) for n in sizes]
    options = {"device": "cpu"} | options
    return [
        Training(config, pixels[9:], pixels[:9], seed=seed, **options)
        for pixels, seed in zip(images, seeds, strict=True)
    ]


class Asked:
    """In the place of `Replay`: Python asks for every operation."""

    def __init__(self, device, iterations, generators):
        self.iterations = iterations

    def __call__(self, batches, key):
        return [iteration(x) for iteration, x in zip(self.iterations, batches, strict=True)]


def finish(stack):
    for _ in stack.run():
        pass
    assert stack.errors == {}


def alone(trainings):
    for one in trainings:
        for _ in one.run():
            pass
    return trainings


def assert_alike(one, other, tolerance=0.0):
    """Two trainings have come to the same, on a GPU but for rounding."""
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
def test_a_stack_equals_training_one_by_one(stage, norm):
    """Sizes and seeds differ; mining starts at other iterations, and ends at others."""
    config = replace(CONFIG, stage=stage, discriminator_norm=norm)
    stack = StackedTraining(models(config))
    finish(stack)
    for one, other in zip(stack.trainings, alone(models(config)), strict=True):
        assert one.finished
        assert_alike(one, other)


def test_a_stack_with_the_gradient_loss_turns_and_flaws_equals_training_one_by_one():
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


def test_the_comparison_can_fail():
    one, other = alone(models(seeds=(0, 1, 2), sizes=(50, 50, 50)))[:2]
    with pytest.raises(AssertionError):
        assert_alike(one, other)


def test_the_stack_shrinks_as_models_finish_whatever_their_settings():
    other = replace(CONFIG, epochs=1, stage="ae")
    trainings = [*models(), *models(other, sizes=(50,), seeds=(5,))]
    steps = [sorted(progress) for progress in StackedTraining(trainings).run()]
    assert steps == [[0, 1, 2, 3]] * 3 + [[0, 1, 2]] * 9 + [[1]] * 4


@pytest.mark.parametrize("after", [1, 5, 7, 13])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, after):
    """In the first epoch, before mining, while some mine, after the first have finished."""
    whole = StackedTraining(models())
    finish(whole)
    paths, names = [tmp_path / f"{n}.safetensors" for n in range(3)], ["a", "b", "c"]
    stack = StackedTraining(models())
    steps = saving(stack.run(), partial(stack.save, paths, names), 1000)
    for _ in range(after):
        next(steps)
    steps.close()
    resumed = models()
    for one, path, name in zip(resumed, paths, names, strict=True):
        one.load(path, name)
    stack = StackedTraining(resumed)
    assert sum(1 for _ in stack.run()) == 16 - after
    for one, other in zip(resumed, whole.trainings, strict=True):
        assert_alike(one, other)


def test_a_model_goes_on_alone_or_in_another_stack(tmp_path):
    """As when a process dies between the checkpoints of two models."""
    paths, names = [tmp_path / f"{n}.safetensors" for n in range(3)], ["a", "b", "c"]
    stack = StackedTraining(models())
    steps = saving(stack.run(), partial(stack.save, paths, names), 0)
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
    assert steps == [[0, 1]] * 6 + [[1]] * 7
    for one, other in zip(resumed, alone(models()), strict=True):
        assert_alike(one, other)


def test_on_a_gpu_a_stack_is_recorded_whenever_one_has_left(monkeypatch):
    """With what asks for every operation in the place of recordings, and no GPU."""
    recorded = []

    class Counted(Asked):
        def __init__(self, device, iterations, generators):
            recorded.append(len(generators))
            super().__init__(device, iterations, generators)

        def __call__(self, batches, key):
            assert len(key) == len(batches)
            return super().__call__(batches, key)

    class OnGPU:
        device = SimpleNamespace(type="cuda")

        def __init__(self, training):
            self.training = training

        def __getattr__(self, name):
            return getattr(self.training, name)

    monkeypatch.setattr(stacked, "Replay", Counted)
    trainings = models()
    finish(StackedTraining([OnGPU(one) for one in trainings]))
    assert recorded == [3, 1]
    for one, other in zip(trainings, alone(models()), strict=True):
        assert_alike(one, other)


def test_a_model_that_diverges_leaves_the_others_alone():
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


# ---- detectors -----------------------------------------------------------------------------------


def test_detectors_fitted_together_are_those_fitted_alone(digits, tmp_path):
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
