"""Training: reproducible, resumable to the bit, honest about what it learns from."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import started, tiny, tiny_flags
from pyocgan import algorithm, evidence, images, scoring, turn_training
from pyocgan.cli import run
from pyocgan.config import STAGES, Config, resolve
from pyocgan.detector import NoveltyDetector
from pyocgan.devices import open_fabric
from pyocgan.errors import ModelError, OcganError, UsageError
from pyocgan.training import Training, add_losses

LONG = {"epochs": 4, "mining_warmup": 0.5, "batch_size": 48}  # mining starts in epoch 3


def history_of(detector):
    return [(r.epoch, r.losses, r.validation_error, r.best, r.mining) for r in detector.history_]


def assert_same(one, other, X):
    """Two detectors are the same model, to the bit."""
    assert history_of(one) == history_of(other)
    assert one.best_epoch_ == other.best_epoch_
    mine, theirs = one.networks_.state_dict(), other.networks_.state_dict()
    assert mine.keys() == theirs.keys()
    assert [k for k in mine if not torch.equal(mine[k], theirs[k])] == []
    assert one.threshold_ == other.threshold_
    np.testing.assert_array_equal(one.calibration_.scores, other.calibration_.scores)
    np.testing.assert_array_equal(one.novelty_scores(X), other.novelty_scores(X))


@pytest.fixture(scope="module")
def uninterrupted(eights):
    return tiny(settings=LONG).fit(eights)


def test_the_same_seed_gives_the_same_model(uninterrupted, eights):
    torch.manual_seed(5)  # no global generator matters
    np.random.seed(5)  # noqa: NPY002
    assert_same(tiny(settings=LONG).fit(eights), uninterrupted, eights)


def test_another_seed_gives_another_model(uninterrupted, eights):
    other = tiny(settings=LONG, random_state=1).fit(eights)
    assert history_of(other) != history_of(uninterrupted)
    for name, weights in other.networks_.state_dict().items():
        if weights.is_floating_point() and len(weights.unique()) > 1:
            assert not torch.equal(weights, uninterrupted.networks_.state_dict()[name]), name


def test_the_global_generators_are_untouched(eights):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    tiny(settings={"epochs": 1}).fit(eights)
    assert torch.equal(before[0], torch.get_rng_state())
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(before[1][1], after[1])
    assert before[1][2:] == after[2:]


def test_one_progress_before_the_first_and_after_every_iteration(eights):
    detector = tiny(settings=LONG)
    steps = list(detector.iter_fit(eights))
    split = detector.split_
    per_epoch = split.train // 48
    assert per_epoch == 2, "the tests below count on two iterations an epoch"
    expected = [(1, 0), *((epoch, i) for epoch in range(1, 5) for i in range(1, per_epoch + 1))]
    assert [(p.epoch, p.iteration) for p in steps] == expected
    assert [p.record is not None for p in steps] == [False, *[False, True] * 4]
    assert [r.mining for r in detector.history_] == [False, False, True, True]
    assert steps[-1].history == detector.history_
    assert steps[4].history == detector.history_[:2]
    assert 0 < detector.history_[0].seconds < detector.history_[-1].seconds


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 7, 8])
def test_interrupted_and_resumed_equals_uninterrupted(uninterrupted, eights, tmp_path, after):
    """Closed mid-epoch (1, 3, 5, 7), at its end, before mining (to 4) and after, and finished."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    steps = tiny(settings=LONG).iter_fit(eights, checkpoint=checkpoint)
    for _ in range(1 + after):
        stopped = next(steps)
    steps.close()
    assert checkpoint.exists() == (after > 0)
    resumed = tiny(settings=LONG)
    steps = resumed.iter_fit(eights, checkpoint=checkpoint)
    first = next(steps)
    assert first.history == stopped.history
    assert len([*steps]) == 8 - after, "iterations were done twice, or left out"
    assert_same(resumed, uninterrupted, eights)


@pytest.mark.parametrize("after", [1, 3])
def test_all_that_colour_images_train_goes_on_as_well(tmp_path, after):
    X = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    small = {"batch_size": 16, "epochs": 2, "least_iterations": 1, "image_size": 8}
    small |= {"autoencoder_width": 2, "latent_size": 2, "turn_width": 3, "turn_passes": 2}
    small |= {"turn_hidden": 4, "turn_muon_rate": 0.06, "turn_crop": 0.7, "symmetry": "mirror"}
    small["turn_sides"] = 2

    def detector():
        return NoveltyDetector("default", settings=small, fpr=0.5, device="cpu")

    checkpoint = tmp_path / "checkpoint.safetensors"
    steps = detector().iter_fit(X, checkpoint=checkpoint)
    for _ in range(1 + after):
        next(steps)
    steps.close()
    assert any("turns_muon" in name for name in load_file(checkpoint)), "nothing to go on with"
    resumed = detector()
    for _ in resumed.iter_fit(X, checkpoint=checkpoint):
        pass
    assert_same(resumed, detector().fit(X), X)


def test_interrupted_at_every_iteration(uninterrupted, eights, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    for _ in range(8):
        steps = tiny(settings=LONG).iter_fit(eights, checkpoint=checkpoint)
        next(steps), next(steps)
        steps.close()
    resumed = tiny(settings=LONG)
    assert len([*resumed.iter_fit(eights, checkpoint=checkpoint)]) == 1
    assert_same(resumed, uninterrupted, eights)


def test_periodic_checkpoints_lose_nothing_either(uninterrupted, eights, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    steps = tiny(settings=LONG).iter_fit(eights, checkpoint=checkpoint, checkpoint_seconds=0)
    for _ in range(5):
        next(steps)
    left = checkpoint.read_bytes()  # as after a power cut: nobody closed the generator
    steps.close()
    checkpoint.write_bytes(left)
    resumed = tiny(settings=LONG)
    assert len([*resumed.iter_fit(eights, checkpoint=checkpoint)]) == 1 + 5
    assert_same(resumed, uninterrupted, eights)


@pytest.fixture
def checkpoint(eights, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    steps = tiny().iter_fit(eights, checkpoint=path)
    next(steps), next(steps)
    steps.close()
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"random_state": 1},
        {"settings": {"epochs": 3}},
        {"settings": {"noise_variance": 0.1}},
        {"fpr": 0.05},  # another split
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(checkpoint, eights, change):
    before = checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"other images or settings.*--restart"):
        next(tiny(**change).iter_fit(eights, checkpoint=checkpoint))
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_images_is_refused(checkpoint, eights):
    changed = eights.copy()
    changed[-1, 0, 0] += 1
    with pytest.raises(UsageError, match="other images or settings"):
        next(tiny().iter_fit(changed, checkpoint=checkpoint))


def test_a_checkpoint_of_another_device_is_intact_and_says_where_it_goes_on(checkpoint, eights):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content.replace(b'"device":"cpu"', b'"device":"gpu"'))
    with pytest.raises(UsageError, match=r"made on gpu and cannot go on on cpu: train on gpu, or"):
        next(tiny().iter_fit(eights, checkpoint=checkpoint))


def test_interrupted_after_training_nothing_of_it_is_lost(
    uninterrupted, eights, tmp_path, monkeypatch
):
    checkpoint = tmp_path / "checkpoint.safetensors"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evidence, "gather", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(tiny(settings=LONG).iter_fit(eights, checkpoint=str(checkpoint)))
    resumed = tiny(settings=LONG)
    (progress,) = resumed.iter_fit(eights, checkpoint=str(checkpoint))
    assert (progress.epoch, progress.iteration) == (progress.epochs, progress.iterations)
    assert len(progress.history) == progress.epochs
    assert_same(resumed, uninterrupted, eights)


def test_losses_in_bfloat16_are_summed_in_float32():
    sums, loss = {}, torch.tensor(0.1, dtype=torch.bfloat16)
    for _ in range(450):
        add_losses(sums, {"mse": loss})
    assert float(sums["mse"]) / 450 == pytest.approx(float(loss), rel=1e-3)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "tensor gone", "state"])
def test_a_damaged_checkpoint_is_an_error_of_one_line(checkpoint, eights, damage):
    content = checkpoint.read_bytes()
    broken = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "text": b"{}",
        "tensor gone": content.replace(b'"nets/En.code.bias"', b'"nots/En.code.bias"'),
        "state": content.replace(b'\\"epoch\\"', b'\\"epoxh\\"', 1),
    }[damage]
    assert broken != content
    checkpoint.write_bytes(broken)
    with pytest.raises(ModelError) as caught:
        next(tiny().iter_fit(eights, checkpoint=checkpoint))
    assert "\n" not in str(caught.value)
    assert str(checkpoint) in str(caught.value)
    assert "--restart" in str(caught.value)


def test_the_best_checkpoint_is_the_epoch_of_the_lowest_validation_error(eights, monkeypatch):
    errors = iter([0.5, 0.2, 0.3, 0.2])  # the second 0.2 is no better
    kept = {}

    def scores(nets, pixels, config):
        error = next(errors)
        kept[len(kept) + 1] = {k: v.clone() for k, v in nets.state_dict().items()}
        return np.full(len(pixels), error)

    training = Training(
        tiny(settings=LONG)._prepare(eights).config,
        eights[..., None],
        eights[:9, ..., None],
        seed=0,
    )
    monkeypatch.setattr(scoring, "reconstruction_errors", scores)
    records = [p.record for p in training.run() if p.record]
    assert [r.best for r in records] == [True, True, False, False]
    assert training.best_epoch == 2
    best = training.restore_best().state_dict()
    assert all(torch.equal(best[k], kept[2][k]) for k in best)
    assert not all(torch.equal(best[k], kept[4][k]) for k in best)


def test_the_validation_error_is_the_mean_score_of_the_validation_images(uninterrupted, eights):
    prepared = tiny(settings=LONG)._prepare(eights)
    scores = scoring.reconstruction_errors(
        uninterrupted.networks_, prepared.validation, prepared.config
    )
    record = uninterrupted.history_[uninterrupted.best_epoch_ - 1]
    assert record.validation_error == pytest.approx(scores.mean(), rel=1e-6)
    assert record.validation_error == min(r.validation_error for r in uninterrupted.history_)


def test_training_that_diverges_says_so(eights, monkeypatch):
    monkeypatch.setattr(scoring, "reconstruction_errors", lambda *_: np.array([np.nan]))
    with pytest.raises(OcganError, match=r"diverged in epoch 1.*learning_rate"):
        tiny().fit(eights)


@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        *zip(
            STAGES,
            [{"En", "De"}, {"En", "De", "D_l"}, {"En", "De", "D_l", "D_v"}, None],
            strict=True,
        )
    ],
)
def test_each_stage_trains_its_own_networks(eights, stage, trained):
    trained = trained or {"En", "De", "D_l", "D_v", "C"}
    config = tiny(settings={"stage": stage})._prepare(eights).config
    training = Training(config, eights[..., None], eights[:9, ..., None], seed=0)
    before = {k: v.clone() for k, v in training.nets.named_parameters()}
    assert {name.partition(".")[0] for name in before} == trained
    losses = [p.record.losses for p in training.run() if p.record]
    assert all(np.isfinite(list(epoch.values())).all() for epoch in losses)
    same = [k for k, v in training.nets.named_parameters() if torch.equal(v, before[k])]
    assert same == []


def test_held_out_images_never_reach_training(eights, monkeypatch):
    """Every image has its own pixels; what `iterate` and validation see is written down."""
    pixels = np.unique(eights, axis=0)
    detector = tiny(settings=LONG)
    prepared = detector._prepare(pixels)
    seen = {"train": set(), "validation": set()}
    iterate, score = algorithm.iterate, scoring.reconstruction_errors

    def spy(nets, optimizers, x, config, **options):
        seen["train"].update(image.tobytes() for image in images.to_pixels(x))
        return iterate(nets, optimizers, x, config, **options)

    def spy_scores(nets, held_out, config):
        seen["validation"].update(image.tobytes() for image in held_out)
        return score(nets, held_out, config)

    monkeypatch.setattr(algorithm, "iterate", spy)
    monkeypatch.setattr(scoring, "reconstruction_errors", spy_scores)
    steps = detector.iter_fit(pixels)
    for progress in steps:
        if progress.epoch == progress.epochs and progress.record:
            break
    parts = {
        name: {image.tobytes() for image in getattr(prepared, name)}
        for name in ("train", "validation", "calibration")
    }
    assert sum(map(len, parts.values())) == len(pixels)  # disjoint
    assert seen["validation"] == parts["validation"]
    assert seen["train"] == parts["train"], "an image was left out, or one too many came in"


def test_the_order_of_an_epoch_depends_on_seed_and_epoch(eights):
    config = tiny()._prepare(eights).config
    orders = [
        Training(config, eights[..., None], eights[:9, ..., None], seed=seed)._order(epoch).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert all(sorted(order) == list(range(len(eights))) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("option", [{"device": "tpu"}, {"precision": "16"}])
def test_unknown_devices_and_precisions_are_refused(eights, option):
    (name, value), *_ = option.items()
    with pytest.raises(UsageError, match=f"{name} = '{value}' must be one of auto, "):
        tiny(**option).fit(eights)


@pytest.mark.parametrize(("cuda", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_or_the_cpu(monkeypatch, cuda, chosen):
    opened = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("lightning_fabric.Fabric", lambda **options: opened.append(options))
    open_fabric("auto", "auto")
    assert [options["accelerator"] for options in opened] == [chosen]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here_is_refused(eights):
    with pytest.raises(UsageError, match="device = 'cuda' cannot be used here"):
        tiny(device="cuda").fit(eights)


# ---- the command, killed and interrupted ---------------------------------------------------------

COMMAND = [
    *("train", "digits", "--class=8", "--fpr=0.1", "--device=cpu", "--quiet"),
    *tiny_flags(epochs=20, batch_size=16),  # a second or more: long enough to be hit
]
OFTEN = """
import functools, sys
from pyocgan.cli import main
from pyocgan.detector import NoveltyDetector
NoveltyDetector.iter_fit = functools.partialmethod(NoveltyDetector.iter_fit, checkpoint_seconds=0.1)
main(sys.argv[1:])
"""


def stop(out, number):
    """Start the command, send it a signal in the midst, and give what it left behind."""
    heard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    end = time.monotonic() + 240
    log, checkpoint = out / "log.jsonl", out / "checkpoint.safetensors"
    with started("-c", OFTEN, *COMMAND, f"--out={out}", **heard) as process:
        while not (checkpoint.exists() and log.exists() and log.read_text().count("\n") >= 3):
            assert process.poll() is None, f"it ended too early: {process.communicate()}"
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(number)
        output, errors = process.communicate(timeout=240)
    assert checkpoint.exists()
    assert not (out / "model.json").exists()
    return process.returncode, output, errors.splitlines()


def assert_same_run(out, expected):
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (out, expected)
    ]
    assert [row | {"seconds": 0} for row in logs[0]] == [row | {"seconds": 0} for row in logs[1]]
    mine, theirs = ([*folder.glob("weights-*.safetensors")] for folder in (out, expected))
    assert [file.name for file in mine] == [file.name for file in theirs]  # with the checksum
    tensors = load_file(mine[0]), load_file(theirs[0])
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[1])
    assert not (out / "checkpoint.safetensors").exists()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "model"
    assert run([*COMMAND, f"--out={out}"]) == 0
    return out


def test_killed_and_started_again_gives_the_same_model(whole_run, tmp_path, command):
    out = tmp_path / "model"
    code, *_ = stop(out, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, _, errors = command(*COMMAND, f"--out={out}")
    assert code == 0
    assert any("going on from the checkpoint, in epoch" in line for line in errors)
    assert_same_run(out, whole_run)


def test_interrupted_exits_130_with_a_checkpoint_and_goes_on(whole_run, tmp_path, command):
    out = tmp_path / "model"
    code, output, errors = stop(out, signal.SIGINT)
    assert code == 130
    assert output == ""
    assert errors[-1].startswith("ocgan: interrupted in epoch ")
    assert "the same command goes on from there" in errors[-1]
    assert not [line for line in errors if "Traceback" in line]
    assert command(*COMMAND, f"--out={out}")[0] == 0
    assert_same_run(out, whole_run)
    assert not list(out.glob(".*"))  # nothing temporary


@pytest.mark.parametrize("scores", [("turns", "windows"), ("flaws",)])
def test_in_bfloat16_no_update_of_T_or_P_meets_old_weights(eights, scores):
    """Autocast keeps what it has rounded, and they are stepped several times while it does."""
    given = {"image_size": 8, "channels": 1, "turn_images": 16, "flaw_steps": 300, "epochs": 10}
    config = resolve("default", given | {"scores": scores})

    def trained(*, keeps):
        training = Training(
            config, eights[:64, ..., None], eights[:2, ..., None], seed=0, precision="bf16-mixed"
        )
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=keeps):
            training.train_scores(training.next_batch())
        return training.evidence.state_dict()

    plain = trained(keeps=False)
    assert [
        name for name, w in trained(keeps=True).items() if not torch.equal(w, plain[name])
    ] == []


def test_T_may_see_every_image_several_times_an_epoch_in_other_orders(eights, monkeypatch):
    seen = []

    def update(T, optimizers, x, generator, config):
        seen.extend(image.numpy().tobytes() for image in x)
        return torch.zeros(())

    monkeypatch.setattr(turn_training, "update", update)
    pixels = np.unique(eights, axis=0)[:64, ..., None]
    settings = {"turn_passes": 3, "batch_size": 16, "turn_images": 5, "epochs": 1}
    settings |= {"image_size": 8, "channels": 1, "least_iterations": 1}
    for _ in Training(resolve("default", settings), pixels, pixels[:2], seed=0).run():
        pass
    counts = Counter(seen)
    # 16 images are 5, 5, 5 and one that batch normalisation cannot take.
    assert len(seen) == 3 * 4 * 15
    assert max(counts.values()) == 3
    assert not np.array_equal(seen[:15], seen[15:30])


def test_few_images_come_several_times_an_epoch_and_equally_often():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    config = Config(stage="ae", autoencoder_width=2, batch_size=4, least_iterations=6, epochs=1)
    training = Training(config, pixels, pixels, seed=0, device="cpu", precision="32-true")
    assert training.iterations == 6
    order = training._order(0)
    counts = np.bincount(order[:24], minlength=10)
    assert set(counts) == {2, 3}
    assert not np.array_equal(order[:10], order[10:20])
    assert next(training.run()).iterations == 6
