"""NoveltyDetector: scikit-learn's contract, scores that mean what they say, models on disk."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from conftest import TINY, tiny, tiny_flags
from pyocgan import evidence, model_folder
from pyocgan.baselines import BASELINES
from pyocgan.config import Config
from pyocgan.data import ImageRule, open_source
from pyocgan.detector import NoveltyDetector
from pyocgan.devices import whole_float32
from pyocgan.errors import ImageWarning, InputError, ModelError, OcganError, UsageError

ASKING = (
    "novelty_scores",
    "p_values",
    "is_novel",
    "predict",
    "score_samples",
    "decision_function",
    "heatmap",
    "reconstruct",
)


# ---- scikit-learn's contract ---------------------------------------------------------------------


def test_clone_has_the_parameters_and_nothing_learned(detector):
    copy = clone(detector)
    assert copy is not detector
    assert copy.get_params() == detector.get_params()
    assert set(detector.get_params()) == {
        "preset",
        "settings",
        "fpr",
        "random_state",
        "device",
        "precision",
        "skip_unreadable",
    }
    assert [name for name in vars(copy) if name.endswith("_")] == []
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 8, 8), np.uint8))


def test_single_settings_are_parameters_of_a_search(eights, others):
    detector = tiny(fpr=0.2, settings={"latent_size": 3})
    assert detector.set_params(settings__epochs=2, fpr=0.3).settings["epochs"] == 2
    assert (detector.settings["latent_size"], detector.fpr) == (3, 0.3)
    assert NoveltyDetector().set_params(settings__epochs=2).settings == {"epochs": 2}
    before = detector.settings
    clone(detector).set_params(settings__epochs=9)
    assert before["epochs"] == 2
    X, y = np.concatenate([eights, others]), np.repeat([1, -1], [len(eights), len(others)])
    cuts = [(np.arange(80), np.arange(60, len(X)))]
    grid = {"settings__epochs": [1, 2]}
    search = GridSearchCV(detector, grid, cv=cuts, scoring="roc_auc", refit=False).fit(X, y)
    assert [len(found) for found in (search.cv_results_["params"], set(grid))] == [2, 1]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        detector.set_params(settings__epoch=2).fit(eights)


def test_mirrored_images_are_looked_at_only_where_they_were_learned(eights):
    settings = {"turn_sides": 2, "epochs": 1}
    with pytest.raises(UsageError, match="turn_sides = 2 needs symmetry = mirror"):
        NoveltyDetector("default", settings=settings, fpr=0.1).fit(eights)
    assert tiny(settings=settings).fit(eights).evidence_.T is None  # nobody looks


def test_instance_normalisation_needs_more_than_a_pixel(eights):
    settings = {"autoencoder_norm": "instance", "epochs": 1}
    with pytest.raises(UsageError, match=r"needs images of more than 8 pixels.*8×8.*take batch"):
        tiny(settings=settings).fit(eights)
    larger = eights.repeat(2, 1).repeat(2, 2)
    assert np.isfinite(tiny(settings=settings).fit(larger).novelty_scores(larger)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "tpu"}, "device = 'tpu' must be one of"),
        ({"precision": "16"}, "precision = '16' must be one of"),
        ({"settings": {"epochs": 0}}, "epochs = 0 must be"),
        ({"settings": {"scores": "error,codes", "score_weights": "1"}}, "score_weights = "),
    ],
)
def test_what_is_wrong_is_said_before_images_are_read_and_costs_no_model(
    eights, tmp_path, wrong, message
):
    detector = tiny(settings={"epochs": 1}).fit(eights)
    expected = detector.predict(eights)
    with pytest.raises(UsageError, match=message):
        detector.set_params(**wrong).fit(tmp_path / "there is nothing")
    np.testing.assert_array_equal(detector.predict(eights), expected)


def test_a_device_that_is_not_there_costs_no_model(eights, monkeypatch):
    def refused(**options):
        raise RuntimeError("no such device")

    detector = tiny(settings={"epochs": 1}).fit(eights)
    expected = detector.predict(eights)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="device = 'cuda' cannot be used here: PyTorch finds no"):
        detector.set_params(device="cuda").fit(eights)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("lightning_fabric.Fabric", refused)
    with pytest.raises(UsageError, match="device = 'mps' cannot be used here: no such device"):
        detector.set_params(device="mps").fit(eights)
    np.testing.assert_array_equal(detector.predict(eights), expected)


def test_a_fitted_model_keeps_no_gradients(eights):
    settings = {"epochs": 1, "scores": ("turns", "error"), "least_iterations": 1}
    detector = tiny(settings=settings).fit(eights)
    for network in (detector.networks_, detector.evidence_):
        assert {weight.grad for weight in network.parameters()} == {None}


def test_set_params_counts(eights):
    one = tiny().set_params(settings={**tiny().settings, "epochs": 1}, random_state=3).fit(eights)
    assert one.config_.epochs == 1
    assert len(one.history_) == 1
    with pytest.raises(ValueError, match="Invalid parameter"):
        one.set_params(epochs=3)


@pytest.mark.parametrize(
    "method", [*ASKING, "score_parts", "score_batches", "generate", "save", "decode"]
)
def test_what_is_not_fitted_says_so(method, tmp_path):
    argument = {"generate": 1, "save": tmp_path / "model", "decode": np.zeros((1, 4), "f4")}
    with pytest.raises(NotFittedError):
        getattr(tiny(), method)(argument.get(method, np.zeros((1, 8, 8), np.uint8)))
    assert not (tmp_path / "model").exists()


def test_fit_returns_self_and_changes_no_parameter(eights):
    detector = tiny(settings={"epochs": 1})
    before = detector.get_params(deep=False)
    assert detector.fit(eights, y=np.zeros(len(eights))) is detector
    assert all(detector.get_params(deep=False)[k] is before[k] for k in before)
    labels = tiny(settings={"epochs": 1}).fit_predict(eights)  # of OutlierMixin
    np.testing.assert_array_equal(labels, detector.predict(eights))


def test_a_failed_fit_leaves_no_fitted_detector(detector, eights):
    again = tiny(settings={"epochs": 1}).fit(eights)
    steps = again.iter_fit(eights)
    next(steps)
    steps.close()
    with pytest.raises(NotFittedError):
        again.predict(eights)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fpr": 0}, "fpr = 0 must be"),
        ({"fpr": 2}, "fpr = 2 must be"),
        ({"preset": "large"}, "unknown preset 'large'"),
        ({"preset": ["fast"]}, "unknown preset"),
        ({"settings": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"settings": {"image_size": 4}}, "image_size = 4 must be 8 to 256"),
        ({"random_state": "0"}, "random_state = '0' must be a whole number"),
        ({"random_state": -1}, "random_state = -1 must be"),
        ({"random_state": 1.5}, "random_state = 1.5 must be"),
    ],
)
def test_wrong_parameters_are_found_by_fit(eights, parameters, message):
    detector = tiny(**parameters)  # scikit-learn: the constructor checks nothing
    with pytest.raises(UsageError, match=message):
        detector.fit(eights)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_a_seed_that_is_drawn_is_kept_and_can_be_given(eights, random_state, tmp_path):
    detector = tiny(settings={"epochs": 1}, random_state=random_state).fit(eights)
    drawn = detector.parameters_["random_state"]
    again = tiny(settings={"epochs": 1}, random_state=drawn).fit(eights)
    np.testing.assert_array_equal(again.novelty_scores(eights), detector.novelty_scores(eights))
    detector.save(tmp_path)
    assert NoveltyDetector.load(tmp_path).random_state == drawn
    assert detector.fit(eights).parameters_["random_state"] != drawn


def test_a_drawn_seed_goes_on_from_no_checkpoint(eights, tmp_path):
    fitting = tiny(random_state=None).iter_fit(eights, checkpoint=tmp_path / "c")
    with pytest.raises(UsageError, match="random_state = None must be a whole number with a check"):
        next(fitting)


def test_a_checkpoint_is_a_file(eights, tmp_path):
    with pytest.raises(UsageError, match="is a folder: name a file"):
        next(tiny().iter_fit(eights, checkpoint=tmp_path))


def test_nothing_is_left_of_an_earlier_fit_but_what_was_asked_for(detector, eights):
    again = copy.copy(detector).set_params(settings=TINY | {"latent_size": 9})
    steps = again.iter_fit(eights)
    next(steps)
    steps.close()
    learned = {name for name in vars(again) if name.endswith("_")}
    assert {"config_", "rule_", "split_", "notes_"} <= learned
    assert learned.isdisjoint({"networks_", "threshold_", "calibration_", "history_", "oddest_"})
    assert again.config_.latent_size == 9
    with pytest.raises(NotFittedError):
        again.predict(eights)


def test_torch_as_the_users_program_has_set_it(detector, model, eights):
    with torch.no_grad():
        fitted = tiny().fit(eights)
    expected = detector.novelty_scores(eights)
    np.testing.assert_array_equal(fitted.novelty_scores(eights), expected)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(detector.novelty_scores(eights), expected)
        for make in (lambda: tiny().fit(eights), lambda: NoveltyDetector.load(model)):
            with pytest.raises(UsageError, match=r"^torch makes torch\.float64 by default here"):
                make()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu:0"])
def test_devices_as_torch_names_them(detector, eights, device, tmp_path):
    fitted = tiny(device=device).fit(eights)
    np.testing.assert_array_equal(fitted.novelty_scores(eights), detector.novelty_scores(eights))
    fitted.save(tmp_path)
    assert NoveltyDetector.load(tmp_path).device == str(device)


def test_tags_say_what_is_taken(detector):
    tags = get_tags(detector).input_tags
    assert (tags.two_d_array, tags.three_d_array) == (False, True)


@pytest.mark.parametrize("settings", [["epochs"], "epochs", 3, Config()])
def test_settings_name_fields(eights, settings):
    with pytest.raises(UsageError, match=r"must name fields, such as \{'epochs': 20\}"):
        NoveltyDetector(settings=settings, fpr=0.1).fit(eights)


# ---- scores --------------------------------------------------------------------------------------


def test_all_answers_agree(detector, eights, others):
    X = np.concatenate([eights, others])
    scores = detector.novelty_scores(X)
    assert scores.shape == (len(X),)
    assert scores.dtype == np.float64
    novel = scores > detector.threshold_
    assert 0 < novel.sum() < len(X), "a test of one kind only proves nothing"
    np.testing.assert_array_equal(detector.is_novel(X), novel)
    np.testing.assert_array_equal(detector.predict(X), np.where(novel, -1, 1))
    np.testing.assert_array_equal(detector.score_samples(X), -scores)
    np.testing.assert_array_equal(detector.decision_function(X) < 0, novel)
    np.testing.assert_allclose(
        detector.decision_function(X), detector.score_samples(X) - detector.offset_
    )
    np.testing.assert_array_equal(detector.p_values(X) <= detector.fpr, novel)
    np.testing.assert_array_equal(detector.is_novel(X, fpr=0.5), detector.p_values(X) <= 0.5)
    assert detector.is_novel(X, fpr=0.5).sum() > novel.sum()
    with pytest.raises(UsageError, match="out of reach"):
        detector.is_novel(X, fpr=0.001)
    assert (np.diff(detector.p_values(X)[np.argsort(scores)]) <= 0).all()


def test_calibration_scores_are_those_of_the_calibration_images(detector, eights):
    held_out = tiny()._prepare(eights).calibration
    scores = np.sort(detector.novelty_scores(held_out))
    np.testing.assert_allclose(detector.calibration_.scores, scores, rtol=1.1e-5)
    assert (detector.calibration_.scores > scores).all()
    rows = [int(name) for name in detector.oddest_]  # of an array images are named by their numbers
    np.testing.assert_allclose(detector.novelty_scores(eights[rows]), scores[:-4:-1], rtol=1e-6)


@pytest.mark.parametrize("preset", ["fast", "default"])
def test_a_copy_of_a_calibration_image_is_judged_alone_as_among_others(preset):
    settings = {"epochs": 1, "least_iterations": 1, "autoencoder_width": 4, "batch_size": 16}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.repeat(rng.integers(0, 255, (1, 28, 28), dtype=np.uint8), 40, axis=0)
        X.reshape(40, -1)[range(40), range(40)] += 1  # so that none is a copy of another
        detector = NoveltyDetector(preset, settings=settings, fpr=0.1, device="cpu").fit(X)
        held_out = detector._prepare(X).calibration
        assert len(held_out) == 9
        for count in (1, 2, 3, 5, 9):
            assert not detector.is_novel(held_out[:count]).any()


def test_of_train_and_test_one_is_learned_and_the_other_scored(eights, tmp_path):
    for index, pixels in enumerate(eights[:60]):
        part = "train/good" if index < 40 else "test/bad"
        (tmp_path / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / part / f"{index:02}.png")
    fitted = tiny(fpr=0.2).fit(tmp_path)
    assert sum(vars(fitted.split_).values()) == 40
    scores = fitted.novelty_scores(tmp_path)
    np.testing.assert_array_equal(scores, fitted.novelty_scores(eights[40:60]))
    of_train = fitted.predict(eights[:40])
    np.testing.assert_array_equal(tiny(fpr=0.2).fit_predict(tmp_path), of_train)
    paths = (path for path in sorted((tmp_path / "train" / "good").iterdir()))
    np.testing.assert_array_equal(tiny(fpr=0.2).fit_predict(paths), of_train)


def test_images_that_are_nearly_black_are_told_of(eights):
    dark = (eights[:60] // 16).astype(np.uint8)
    note = "the brightest pixel is 15 of 255: are these images scaled to 0..255?"
    assert note in tiny(fpr=0.2).fit(dark).notes_
    assert note not in tiny(fpr=0.2).fit(eights[:60]).notes_


def test_copies_count_once(eights):
    """Each image four times is what each once is: no copy of a held-out image trains."""
    once = tiny(fpr=0.2).fit(eights[:60])
    X = np.concatenate([eights[:60]] * 4)
    fitted = tiny(fpr=0.2).fit(X)
    assert fitted.split_ == once.split_
    np.testing.assert_array_equal(fitted.calibration_.scores, once.calibration_.scores)
    assert fitted.notes_ == (
        *once.notes_,
        "180 of 240 images are copies of others: each counts once",
    )
    prepared = fitted._prepare(X)
    parts = (prepared.train, prepared.validation, prepared.calibration)
    kinds = [{pixels.tobytes() for pixels in part} for part in parts]
    assert [len(kind) for kind in kinds] == [len(part) for part in parts]
    assert len(set.union(*kinds)) == 60


def test_too_few_images_are_not_made_enough_by_copies(eights):
    X = np.concatenate([eights[:40]] * 20)
    message = r"^40 normal images cannot be calibrated .*; 760 of 800 images are copies of others"
    with pytest.raises(InputError, match=message):
        tiny(fpr=0.01).fit(X)


@pytest.mark.parametrize(
    ("seed", "channels", "weights"),
    [(0, 1, ()), (1, 1, ()), (0, 3, ()), (0, 1, (300, 100, 100, 200, 50))],
)
def test_images_of_a_fixed_camera_are_judged_alone_as_among_others(seed, channels, weights):
    """They are nearly one image, whose differences a product of matrices cannot tell apart."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(40, 200, (12, 12))
    shape = (240, 12, 12) if channels == 1 else (240, 12, 12, channels)
    scene = scene if channels == 1 else scene[..., None]
    X = (scene + rng.integers(-1, 2, shape)).astype(np.uint8)
    settings = {"epochs": 1, "least_iterations": 1, "batch_size": 16, "score_weights": weights}
    detector = NoveltyDetector(settings=settings, fpr=0.1, device="cpu").fit(X[:160])
    scores, chosen = detector.novelty_scores(X), slice(None, None, 3)
    alone = np.concatenate([detector.novelty_scores(x[None]) for x in X[chosen]])
    raised = evidence.above_rounding(detector.evidence_, scores[chosen]) - scores[chosen]
    assert (np.abs(alone - scores[chosen]) < raised).all()


def test_scores_depend_on_the_image_alone(detector, eights, others):
    X = np.concatenate([eights, others])
    scores = detector.novelty_scores(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(detector.novelty_scores(X[order]), scores[order], rtol=1e-5)
    alone = [detector.novelty_scores(X[i : i + 1])[0] for i in range(0, len(X), 9)]
    np.testing.assert_allclose(alone, scores[::9], rtol=1e-5)
    many = np.concatenate([X, X, X, X, X])  # more than are scored, or held in memory, at once
    np.testing.assert_allclose(detector.novelty_scores(many), np.tile(scores, 5), rtol=1e-5)
    np.testing.assert_array_equal(detector.novelty_scores(X), scores)  # asking changes nothing


def test_scoring_changes_no_weight_or_statistic(detector, eights):
    before = {k: v.clone() for k, v in detector.networks_.state_dict().items()}
    for method in ASKING:
        getattr(detector, method)(eights)
    detector.generate(3)
    after = detector.networks_.state_dict()
    assert [k for k in before if not torch.equal(before[k], after[k])] == []


def test_the_score_is_the_mean_of_the_heat_map_and_of_the_error(detector, eights):
    scores = detector.novelty_scores(eights)
    np.testing.assert_allclose(detector.heatmap(eights).mean((1, 2)), scores, rtol=1e-5)
    error = eights[..., None].astype(float) - detector.reconstruct(eights)
    np.testing.assert_allclose(np.square(error / 127.5).mean((1, 2, 3)), scores, rtol=0.02)


def test_noise_at_test_time_is_the_same_for_every_call(eights):
    learned = {"epochs": 10, "learning_rate": 0.01}  # enough for scores to depend on the image
    noisy = tiny(settings=learned | {"test_noise_variance": 0.2}).fit(eights)
    plain = tiny(settings=learned).fit(eights)
    scores = noisy.novelty_scores(eights)
    np.testing.assert_array_equal(noisy.novelty_scores(eights), scores)
    np.testing.assert_allclose(noisy.novelty_scores(eights[::-1]), scores[::-1], rtol=1e-5)
    assert not np.allclose(plain.novelty_scores(eights), scores, rtol=1e-3)


def test_images_with_shuffled_labels_are_told_apart_by_no_method(command, digits, tmp_path):
    """The twin that must fail: no path but the images leads from a label to a score."""
    images, labels = digits
    is_round = np.isin(labels, (0, 6, 8, 9))
    for name, normal in (
        ("true", is_round),
        ("shuffled", np.random.default_rng(0).permutation(is_round)),
    ):
        file, model = tmp_path / f"{name}.npz", tmp_path / name
        np.savez(file, images=images, labels=np.where(normal, "round", "other"))
        chosen = ("--class=round", "--protocol=1", "--fpr=0.1", "--out", model, "--quiet")
        settings = tiny_flags(scores="error,neighbours", epochs=5)
        assert command("train", file, *chosen, *settings)[0] == 0
        methods = json.loads(command("evaluate", model, "--json")[1])["methods"]
        assert len(methods) == 5
        for method, result in methods.items():  # 144 of each: a deviation of .035
            is_told = result["auroc"] > 0.65
            assert is_told if name == "true" else abs(result["auroc"] - 0.5) < 0.12, method


def test_normal_images_are_called_novel_as_often_as_was_said(digits):
    images, labels = digits
    eights, rates = images[labels == 8], []
    for seed in range(25):
        order = np.random.default_rng(seed).permutation(len(eights))
        settings = {"scores": ("neighbours",), "stage": "ae", "epochs": 1}
        detector = tiny(fpr=0.1, random_state=seed, settings=settings).fit(eights[order[:100]])
        rates.append(detector.is_novel(eights[order[100:]]).mean())
    assert 0.02 < np.mean(rates) < 0.1 + 3 * np.std(rates) / 5


@pytest.mark.parametrize("normal_class", [3, 8, 9])
def test_default_is_level_with_the_best_method_without_training(digits, normal_class):
    """On 8×8 pixels, where that method errs once in a thousand; docs/results.md has larger sets."""
    images, labels = digits
    own, others = images[labels == normal_class], images[labels != normal_class]
    X, is_novel = np.concatenate([own[130:], others]), np.arange(len(own) - 130 + len(others))
    is_novel = is_novel >= len(own) - 130
    _, neighbours = BASELINES["knn_gradients"]
    scores = NoveltyDetector(fpr=0.1).fit(own[:130]).novelty_scores(X)
    expected = neighbours().fit(own[:130, ..., None]).novelty_scores(X[..., None])
    assert roc_auc_score(is_novel, scores) > roc_auc_score(is_novel, expected) - 0.003


# ---- inputs --------------------------------------------------------------------------------------


def test_a_channel_axis_of_one_changes_nothing(detector, eights):
    expected = detector.novelty_scores(eights)
    np.testing.assert_array_equal(detector.novelty_scores(eights[..., None]), expected)
    again = tiny().fit(eights[..., None])
    assert again.fingerprint_ == detector.fingerprint_
    np.testing.assert_array_equal(again.novelty_scores(eights), expected)


def test_a_folder_equals_the_array_of_its_images(detector, eights, tmp_path):
    for index, pixels in enumerate(eights):
        Image.fromarray(pixels).save(tmp_path / f"{index:03}.png")
    paths = sorted(tmp_path.iterdir())
    expected = detector.novelty_scores(eights)
    for X in (tmp_path, str(tmp_path), paths, open_source(tmp_path)):
        np.testing.assert_array_equal(detector.novelty_scores(X), expected)
    fitted = tiny().fit(tmp_path)
    assert fitted.fingerprint_ == detector.fingerprint_
    np.testing.assert_array_equal(fitted.novelty_scores(eights), expected)


def test_rows_of_a_divided_folder_are_those_of_its_test_part(detector, eights, tmp_path):
    for index, pixels in enumerate(eights[:12]):
        folder = tmp_path / ("train" if index < 8 else "test") / "good"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    names = open_source(tmp_path, split="test").names
    assert [name[:10] for name in names] == ["test/good/"] * 4
    expected = detector.novelty_scores(eights[8:12])
    np.testing.assert_array_equal(detector.novelty_scores(tmp_path), expected)


def warned(call, *arguments):
    """The image warnings of a call; each must blame the line that made it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments)
    ours = [one for one in caught if one.category is ImageWarning]
    assert {one.filename for one in ours} <= {__file__}
    return [str(one.message) for one in ours]


def test_images_that_are_perhaps_not_what_they_are_taken_for_are_warned_of(eights, tmp_path):
    for index, pixels in enumerate(eights[:40]):
        folder = tmp_path / ("good" if index < 30 else "bad")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    detector = tiny(settings={"epochs": 1})
    (message,) = warned(detector.fit, tmp_path)
    assert message.startswith("all 2 classes (bad, good) are taken for normal")
    (message,) = warned(detector.fit, eights // 16)
    assert message.startswith("the brightest pixel is 15 of 255")
    assert warned(detector.fit, eights) == []
    wide = np.zeros((2, 8, 16), np.uint8)
    for ask in (detector.predict, detector.novelty_scores, detector.heatmap):
        (message,) = warned(ask, wide)
        assert message.startswith("images of another shape than those learned")
        assert warned(ask, eights[:2]) == []
    (message,) = warned(detector.predict, eights[:2].astype(np.uint16))
    assert message.startswith("of 16 bits 8 seem to be in use")
    (message,) = warned(detector.score_batches, wide)
    assert "another shape" in message


def test_what_is_unreadable_is_left_out_only_where_asked(eights, tmp_path):
    for index, pixels in enumerate(eights[:40]):
        Image.fromarray(pixels).save(tmp_path / f"{index:03}.png")
    (tmp_path / "999.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"999\.png"):
        tiny().fit(tmp_path)
    fitted = tiny(skip_unreadable=True, settings={"epochs": 1}).fit(tmp_path)
    assert [name for name, _ in fitted.skipped_] == ["999.png"]
    assert sum(vars(fitted.split_).values()) == 40
    ((images, scores),) = fitted.score_batches(tmp_path)
    assert len(images) == len(scores) == 40
    assert [name for name, _ in images.skipped] == ["999.png"]


@pytest.mark.parametrize("ask", ["novelty_scores", "is_novel", "heatmap", "reconstruct"])
def test_rows_stay_those_of_the_images_whatever_is_skipped(detector, tmp_path, ask):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    paths[1].write_bytes(b"no image")
    detector = copy.copy(detector)
    for skip in (False, True):
        detector.skip_unreadable = skip
        with pytest.raises(
            InputError, match=r"b\.png.* image; score_batches skips such images after set_params"
        ):
            getattr(detector, ask)(paths)
    detector.skip_unreadable = False
    with pytest.raises(InputError, match=r"b\.png.* image; --skip-unreadable"):
        next(detector.score_batches(paths))


@pytest.mark.parametrize(
    "shape",
    [(8, 8), (9, 8), (13, 21), (11, 16), (256, 9), (8, 100), (28, 28, 1), (8, 8, 3), (17, 10, 3)],
)
def test_sizes_and_channels(shape):
    X = np.random.default_rng(0).integers(0, 256, (24, *shape), dtype=np.uint8)
    model = tiny(settings={"epochs": 1, "batch_size": 8, "latent_size": 4}, fpr=0.2).fit(X)
    height, width, channels = (*shape, 1)[:3]
    assert model.rule_.image_size == (height, width)
    assert model.config_.image_size == (height, width)
    assert model.config_.channels == model.rule_.channels == channels
    heat, pictures = model.heatmap(X), model.reconstruct(X)
    assert heat.shape == (24, height, width)
    assert heat.dtype == np.float32
    assert 0 <= heat.min() <= heat.max() <= 4
    assert pictures.shape == (24, *model.rule_.within(64).image_size, channels)
    assert pictures.dtype == np.uint8
    assert np.isfinite(model.novelty_scores(X)).all()


def test_generated_images(detector):
    pictures = detector.generate(300)
    assert pictures.shape == (300, 8, 8, 1)
    assert pictures.dtype == np.uint8
    assert pictures.std(0).max() > 0
    np.testing.assert_array_equal(pictures, detector.generate(300))
    assert not np.array_equal(pictures, detector.generate(300, random_state=1))
    assert detector.generate(0).shape == (0, 8, 8, 1)
    s = np.random.default_rng(0).uniform(-1, 1, (300, 4)).astype(np.float32)
    np.testing.assert_array_equal(detector.decode(s), pictures)
    np.testing.assert_array_equal(detector.decode(s.astype(np.float64)), pictures)
    np.testing.assert_array_equal(detector.decode(s.tolist()), pictures)
    assert not np.array_equal(*(detector.generate(9, random_state=None) for _ in range(2)))
    with pytest.raises(UsageError, match="random_state = -3 must be a whole number"):
        detector.generate(2, random_state=-3)
    for n in (-1, 2.5, None):
        with pytest.raises(UsageError, match=f"n = {n} must be a whole number"):
            detector.generate(n)
    for points in (np.zeros(4), np.zeros((2, 5)), np.full((1, 4), np.nan), np.full((1, 4), 1.5)):
        with pytest.raises(UsageError, match=r"must be \(n, 4\), each number in \[-1, 1\]"):
            detector.decode(points)


@pytest.mark.parametrize(
    ("X", "advice"),
    [
        (np.zeros((9, 8, 8, 4), np.uint8), "drop the transparency"),
        (np.zeros((9, 8, 8, 2), np.uint8), r"must be \(N, H, W\)"),
        (np.zeros((9, 3, 8, 8), np.uint8), "channels last"),
        (np.zeros((9, 64), np.uint8), "reshape"),
        (np.zeros((9, 8, 8)), "convert its 0..0 to uint8"),
        (np.full((9, 8, 8), np.nan), "NaN"),
        (np.zeros((9, 8, 8), np.int64), "uint8"),
        (np.zeros((0, 8, 8), np.uint8), "no images"),
        (None, "NoneType"),
        ([], "empty"),
        (["nowhere.png"], r"nowhere\.png cannot be read: it does not exist"),
        ("nowhere", "no file, no folder and no data set"),
    ],
)
def test_wrong_inputs_are_refused_with_advice(detector, X, advice):
    for ask in (tiny().fit, detector.novelty_scores):
        with pytest.raises(InputError, match=advice) as caught:
            ask(X)
        assert "\n" not in str(caught.value)


def test_too_few_images_say_how_many_are_needed(eights):
    with pytest.raises(InputError, match=r"19 normal images.*needs 198 or more") as caught:
        tiny(fpr=0.01).fit(eights[:19])
    assert "in reach" in str(caught.value)


def test_the_smallest_number_of_images_works():
    X = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    model = tiny(fpr=0.5, settings={"epochs": 1}).fit(X)
    assert vars(model.split_) == {"train": 2, "validation": 1, "calibration": 1}
    assert np.isfinite(model.novelty_scores(X)).all()


# ---- models on disk ------------------------------------------------------------------------------


def test_a_loaded_model_is_the_saved_one(detector, model, eights, others):
    loaded = NoveltyDetector.load(model)
    assert loaded.get_params() == detector.get_params()
    for name in ("config_", "rule_", "split_", "history_", "best_epoch_", "fingerprint_"):
        assert getattr(loaded, name) == getattr(detector, name), name
    assert (loaded.notes_, loaded.skipped_) == (detector.notes_, detector.skipped_)
    for X in (eights, others):
        for method in ASKING:
            expected = getattr(detector, method)(X)
            np.testing.assert_array_equal(getattr(loaded, method)(X), expected, err_msg=method)
    np.testing.assert_array_equal(loaded.generate(5), detector.generate(5))


def test_saving_twice_gives_the_same_files(detector, tmp_path, model):
    detector.save(tmp_path / "one")
    NoveltyDetector.load(tmp_path / "one").save(tmp_path / "two")
    for file in model.iterdir():
        assert (tmp_path / "one" / file.name).read_bytes() == file.read_bytes()
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes()


def test_numbers_of_numpy_can_be_parameters(eights, tmp_path):
    settings = {"epochs": np.int64(1), "learning_rate": np.float32(0.001)}
    fitted = tiny(settings=settings, random_state=np.int64(3), fpr=np.float64(0.1)).fit(eights)
    fitted.save(tmp_path)
    loaded = NoveltyDetector.load(tmp_path)
    assert loaded.random_state == 3
    assert loaded.config_ == fitted.config_
    plain = tiny(settings={"epochs": 1, "learning_rate": float(np.float32(0.001))}, random_state=3)
    np.testing.assert_array_equal(
        plain.fit(eights).novelty_scores(eights), loaded.novelty_scores(eights)
    )


def test_what_a_model_is_told_about_itself_stays(detector, tmp_path):
    about = {"task": {"source": "digits"}, "ä": ["é", 1.5, None]}
    detector.save(tmp_path, about=about)
    loaded = NoveltyDetector.load(tmp_path)
    assert loaded.about_ == about
    loaded.save(tmp_path)
    assert NoveltyDetector.load(tmp_path).about_ == about
    loaded.save(tmp_path, about={})
    assert NoveltyDetector.load(tmp_path).about_ == {}


@pytest.mark.parametrize("fpr", [0.5, 1e-4])  # the second is out of its calibration images' reach
def test_a_model_keeps_what_it_was_fitted_with(eights, others, tmp_path, fpr):
    detector = tiny(settings={"epochs": 1}).fit(eights)
    verdicts = detector.is_novel(others)
    detector.set_params(fpr=fpr, settings=MappingProxyType({"epochs": 2}))
    detector.save(tmp_path)
    loaded = NoveltyDetector.load(tmp_path)
    assert (loaded.fpr, loaded.threshold_) == (0.1, detector.threshold_)
    assert loaded.settings["epochs"] == 1
    np.testing.assert_array_equal(loaded.is_novel(others), verdicts)


def test_any_mapping_can_be_settings(eights, tmp_path):
    settings = MappingProxyType(tiny().settings | {"epochs": 1})
    tiny().set_params(settings=settings).fit(eights).save(tmp_path)
    assert NoveltyDetector.load(tmp_path).config_.epochs == 1


def test_saving_removes_earlier_weights_and_nothing_of_the_users(detector, tmp_path):
    mine = tmp_path / "weights-resnet50.safetensors"
    mine.write_text("mine")
    earlier = tmp_path / f"weights-{'0' * 12}.safetensors"
    earlier.write_text("of an earlier model")
    detector.save(tmp_path)
    assert mine.read_text() == "mine"
    assert not earlier.exists()


def test_a_rate_of_numpys_is_kept_by_a_model(eights, tmp_path):
    detector = tiny(fpr=np.float32(0.1)).fit(eights)
    detector.save(tmp_path)
    loaded = NoveltyDetector.load(tmp_path)
    assert (loaded.fpr, loaded.threshold_) == (0.1, detector.threshold_)
    assert tiny(fpr=0.1).fit(eights).threshold_ == detector.threshold_


def test_two_saves_at_once_leave_one_model(detector, tmp_path, eights, monkeypatch):
    other, write_json = tiny(settings={"epochs": 1}).fit(eights), model_folder.write_json

    def overtaken(path, value):
        write_json(path, value)
        monkeypatch.undo()
        other.save(tmp_path)

    monkeypatch.setattr(model_folder, "write_json", overtaken)
    detector.save(tmp_path)
    np.testing.assert_array_equal(
        NoveltyDetector.load(tmp_path).novelty_scores(eights), other.novelty_scores(eights)
    )
    assert len([*tmp_path.iterdir()]) == 2


def test_begun_anew_it_is_saved_before_the_first_iteration(eights, tmp_path):
    """A run folder already says what is trained now: killed, it must not go on with the old."""
    path = tmp_path / "checkpoint"
    for _ in tiny(random_state=1).iter_fit(eights, checkpoint=path):
        pass
    steps = tiny(random_state=2).iter_fit(eights, checkpoint=path, resume=False)
    next(steps), next(steps)
    assert next(tiny(random_state=2).iter_fit(eights, checkpoint=path)).iteration == 0


def test_loading_draws_no_random_numbers(model):
    before = torch.get_rng_state()
    NoveltyDetector.load(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_fits_in_threads_are_those_alone(eights):
    def scores(_):
        settings = {"epochs": 1, "scores": ("turns",), "turn_width": 4, "least_iterations": 1}
        return tiny(settings=settings).fit(eights).novelty_scores(eights)

    expected, filters = scores(0), list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(scores, range(8)):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert list(warnings.filters) == filters  # nobody else's warnings are silenced


def test_a_model_that_is_replaced_while_it_is_read(copied, eights, monkeypatch):
    other = tiny(settings={"epochs": 1}).fit(eights)
    read_weights, calls = model_folder.read_weights, []

    def slow(folder, description):
        calls.append(description["weights"])
        if len(calls) == 1:
            other.save(folder)
        return read_weights(folder, description)

    monkeypatch.setattr(model_folder, "read_weights", slow)
    loaded = NoveltyDetector.load(copied)
    assert len(calls) == 2
    np.testing.assert_array_equal(loaded.novelty_scores(eights), other.novelty_scores(eights))


def test_a_save_that_is_interrupted_at_its_end_leaves_the_new_model(copied, eights, monkeypatch):
    def interrupted(path, value):
        write_json(path, value)
        raise KeyboardInterrupt

    other, write_json = tiny(settings={"epochs": 1}).fit(eights), model_folder.write_json
    monkeypatch.setattr(model_folder, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        other.save(copied)
    np.testing.assert_array_equal(
        NoveltyDetector.load(copied).novelty_scores(eights), other.novelty_scores(eights)
    )


def test_a_home_folder_is_meant_by_a_tilde(detector, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    detector.save("~/model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert NoveltyDetector.load("~/model").fingerprint_ == detector.fingerprint_


def test_a_file_name_that_is_no_text_can_be_kept(detector, tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    detector.save(tmp_path, about={"name": name})
    assert NoveltyDetector.load(tmp_path).about_ == {"name": name}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def copied(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.mark.parametrize("content", ['{"format": "layers-model"}', "[1]"])
def test_another_programs_description_is_not_replaced(detector, tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(OcganError, match=r"model\.json' is another program's: save to another"):
        detector.save(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == [content]


@pytest.mark.parametrize("value", [Path("x"), float("nan"), object()])
def test_what_is_kept_beside_a_model_is_json(detector, tmp_path, value):
    with pytest.raises(UsageError, match=r"^about = .* must be of JSON's types: "):
        detector.save(tmp_path / "m", about={"k": value})
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_save_leaves_the_old_model(copied, eights, monkeypatch, failing):
    """The disk is full when the first file (weights) or the second one (model.json) is placed."""
    before = contents(copied)
    other = tiny(settings={"epochs": 1}).fit(eights)
    replace, calls = Path.replace, []

    def full(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OcganError, match=r"cannot write .*: No space left on device"):
        other.save(copied)
    monkeypatch.undo()
    assert len(calls) == failing
    assert contents(copied) == before, "the old model is not whole, or something was left behind"
    other.save(copied)
    assert len(contents(copied)) == len(before)  # the old weights are gone now
    np.testing.assert_array_equal(
        NoveltyDetector.load(copied).novelty_scores(eights), other.novelty_scores(eights)
    )


def test_a_save_that_cannot_be_described_writes_nothing(detector, tmp_path):
    with pytest.raises((TypeError, ValueError)):
        detector.save(tmp_path, about={"task": object()})
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_file_is_refused(detector, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OcganError, match="is no folder"):
        detector.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def edit(folder, **changes):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (content | changes).items() if v is not ...}))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def weights_of(folder):
    return next(folder.glob("weights-*.safetensors"))


def rewrite_weights(folder, change):
    """Other tensors, with the right checksum."""
    tensors = load_file(weights_of(folder))
    change(tensors)
    description = json.loads((folder / "model.json").read_text())
    for key in ("format", "format_version", "pyocgan", "weights", "weights_sha256"):
        description.pop(key)
    model_folder.write(folder, save(tensors), description)


DAMAGES = {
    "newer format": lambda m: edit(m, format_version=9, pyocgan="9.1"),
    "no format version": lambda m: edit(m, format_version=...),
    "another program's": lambda m: edit(m, format="else"),
    "missing weights": lambda m: weights_of(m).unlink(),
    "flipped byte in the middle": lambda m: flip(weights_of(m), 5000),
    "flipped byte in the header": lambda m: flip(weights_of(m), 20),
    "flipped last byte": lambda m: flip(weights_of(m), -1),
    "empty weights": lambda m: weights_of(m).write_bytes(b""),
    "weights in another folder": lambda m: edit(m, weights="../gone.safetensors"),
    "cut JSON": lambda m: (m / "model.json").write_text((m / "model.json").read_text()[:300]),
    "empty JSON": lambda m: (m / "model.json").write_text(""),
    "a list": lambda m: (m / "model.json").write_text("[]"),
    "not UTF-8": lambda m: (m / "model.json").write_bytes(b'{"\xff": 1}'),
    "no JSON": lambda m: (m / "model.json").unlink(),
    "unknown parameter": lambda m: edit(m, parameters={"fprr": 0.1}),
    "unknown setting": lambda m: edit(m, config=Config().to_dict() | {"epoch": 3}),
    "other networks": lambda m: edit(m, config=Config().to_dict()),
    "rule out of range": lambda m: edit(m, image_rule={"image_size": [8, 8], "channels": 2}),
    "no rule": lambda m: edit(m, image_rule=...),
    "history": lambda m: edit(m, history=[{"epoch": 1}]),
    "fpr out of reach": lambda m: edit(m, parameters={"fpr": 1e-6}),
    "missing tensor": lambda m: rewrite_weights(m, lambda t: t.pop("En.code.bias")),
    "no calibration": lambda m: rewrite_weights(m, lambda t: t.pop("calibration/scores")),
    "calibration of NaN": lambda m: rewrite_weights(
        m, lambda t: t.update({"calibration/scores": np.array([np.nan])})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_an_error_of_one_line(copied, damage):
    NoveltyDetector.load(copied)
    damage(copied)
    with pytest.raises(ModelError) as caught:
        NoveltyDetector.load(copied)
    assert str(copied) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_newer_model_names_the_version_that_reads_it(copied):
    edit(copied, format_version=9, pyocgan="9.1")
    with pytest.raises(ModelError, match=r"use pyocgan 9\.1"):
        NoveltyDetector.load(copied)


@pytest.mark.parametrize("device", ["tpu", "cpu:x", None])
def test_a_model_is_loaded_onto_known_devices_only(model, device):
    with pytest.raises(UsageError, match=f"device = '{device}'"):
        NoveltyDetector.load(model, device=device)
    assert NoveltyDetector.load(model, device=torch.device("cpu")).about_ == {}


def test_what_is_left_out_decides_nothing(tmp_path, digits):
    images, labels = digits
    for number, pixels in enumerate(images[labels == 8][:40]):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "broken.png")
    content = (tmp_path / "broken.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(content[:100])  # its header says 300×400, in colour
    detector = tiny(fpr=0.2, skip_unreadable=True).fit(tmp_path)
    assert [name for name, _ in detector.skipped_] == ["broken.png"]
    assert detector.rule_ == ImageRule((8, 8), 1)
    assert detector.notes_ == ()
    assert sum(vars(detector.split_).values()) == 40
    (tmp_path / "broken.png").unlink()
    same = tiny(fpr=0.2).fit(tmp_path)
    np.testing.assert_array_equal(same.novelty_scores(images), detector.novelty_scores(images))


def test_a_folder_of_no_user_is_one_line(detector, eights):
    folder = "~nobody-of-that-name/model"
    for act in (
        lambda: detector.save(folder),
        lambda: NoveltyDetector.load(folder),
        lambda: next(tiny().iter_fit(eights, checkpoint=folder)),
    ):
        with pytest.raises(UsageError, match="'~nobody-of-that-name/model' names no user's folder"):
            act()


# ---- what the caller has switched on, or changes meanwhile ---------------------------------------


def test_scores_and_fits_are_the_same_within_an_autocast(detector, eights):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, maps = detector.novelty_scores(eights), detector.heatmap(eights)
        again = tiny().fit(eights)
    np.testing.assert_array_equal(scores, detector.novelty_scores(eights))
    np.testing.assert_array_equal(maps, detector.heatmap(eights))
    np.testing.assert_array_equal(
        again.novelty_scores(eights), tiny().fit(eights).novelty_scores(eights)
    )


@pytest.fixture
def short_float32():
    """What users of tensor cores switch on, here and on a GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_scores_are_of_whole_float32(short_float32, detector, eights):
    scores = detector.novelty_scores(eights)
    assert torch.get_float32_matmul_precision() == "medium"  # the caller's, and it stays
    torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(scores, detector.novelty_scores(eights))


def test_float32_is_whole_until_the_last_that_scores_is_done(short_float32):
    kind = torch.backends.cuda.matmul
    first, second = ExitStack(), ExitStack()
    first.enter_context(whole_float32)
    second.enter_context(whole_float32)
    first.close()
    assert kind.fp32_precision == "ieee"
    second.close()
    assert kind.fp32_precision == "tf32"


@pytest.mark.parametrize("rate", [0.5, 1e-9])
def test_a_rate_that_is_set_during_a_fit_counts_from_the_next_one_on(eights, tmp_path, rate):
    detector = tiny()
    steps = detector.iter_fit(eights)
    next(steps)
    began_with = detector.fpr
    detector.set_params(fpr=rate)
    for _ in steps:
        pass
    assert detector.threshold_ == detector.calibration_.threshold(began_with)
    detector.save(tmp_path / "m")
    assert NoveltyDetector.load(tmp_path / "m").threshold_ == detector.threshold_


def test_iter_fit_warns_as_fit_does(digits, tmp_path):
    images, labels = digits
    for number, (pixels, label) in enumerate(zip(images[:200], labels[:200], strict=True)):
        folder = tmp_path / f"{label % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    with pytest.warns(ImageWarning, match="all 2 classes"):
        next(tiny().iter_fit(tmp_path))
