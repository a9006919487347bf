"""The commands: data on standard output, words about it on standard error, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from conftest import TINY, ocgan, tiny_flags
from data_fixtures import write_idx, zip_tree
from pyocgan import evidence, preparation
from pyocgan.claims import claimed
from pyocgan.cli import app
from pyocgan.config import FIELDS, resolve
from pyocgan.data.named import NAMED
from pyocgan.detector import NoveltyDetector
from pyocgan.errors import OcganError

TRAIN = ("train", "digits", "--class=8", "--fpr=0.1", "--device=cpu", *tiny_flags())


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run folders of models of the digit 8: without a protocol, and by protocols 1 and 2."""
    from pyocgan.cli import run

    folder = tmp_path_factory.mktemp("trained")
    for name, flags in {"plain": [], "one": ["--protocol=1"], "two": ["--protocol=2"]}.items():
        assert run([*TRAIN, f"--out={folder / name}", "--quiet", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(digits, tmp_path_factory):
    """PNGs of 8s and 1s, in a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = digits
    for label in (1, 8):
        (folder / str(label)).mkdir()
        for index, pixels in enumerate(images[labels == label][:30]):
            Image.fromarray(pixels).save(folder / str(label) / f"{index:02}.png")
    return folder


# ---- train ---------------------------------------------------------------------------------------


def test_train_prints_one_line_and_leaves_a_run_folder(command, tmp_path):
    code, out, errors = command(*TRAIN, "--out", tmp_path / "model")
    assert code == 0
    assert re.fullmatch(
        r".*model: trained in [\d.]+ s; networks of epoch \d of 2; an image is novel above "
        r"0\.\d+ \(false-alarm rate 0\.1\)\n",
        out,
    )
    assert errors[0].startswith("learning from 139 images of class 8 from digits")
    assert errors[1] == "111 images train, 14 choose the checkpoint, 14 calibrate; 0 unreadable"
    assert errors[-2].startswith("epoch 2/2 ")
    oddest = NoveltyDetector.load(tmp_path / "model").oddest_
    assert len(set(oddest)) == 3
    assert errors[-1].startswith(
        f"the most unusual images that calibrate are {', '.join(oddest)}: "
    )
    assert {path.name.partition("-")[0] for path in (tmp_path / "model").iterdir()} == {
        "command.txt",
        "config.yaml",
        "environment.json",
        "log.jsonl",
        "model.json",
        "weights",
    }
    log = [json.loads(line) for line in (tmp_path / "model" / "log.jsonl").open()]
    assert [row["epoch"] for row in log] == [1, 2]
    loaded = NoveltyDetector.load(tmp_path / "model")
    assert [vars(record) for record in loaded.history_] == log
    settings = yaml.safe_load((tmp_path / "model" / "config.yaml").read_text())
    assert settings == loaded.config_.to_dict()
    assert all(settings[name] == value for name, value in TINY.items() if name != "scores")


def test_a_run_folders_config_gives_the_same_model(command, trained, tmp_path):
    config = trained / "plain" / "config.yaml"
    flags = ("--class=8", "--fpr=0.1", "--device=cpu", "--quiet")
    code, *_ = command("train", "digits", *flags, "--config", config, "--out", tmp_path / "again")
    assert code == 0
    weights = [next((f).glob("weights-*")).name for f in (tmp_path / "again", trained / "plain")]
    assert weights[0] == weights[1]


def test_flags_over_environment_over_file(command, tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text("epochs: 1\nbatch_size: 40\nimage_size: 9x10\nmining_steps: 2")
    monkeypatch.setenv("OCGAN_BATCH_SIZE", "50")
    monkeypatch.setenv("OCGAN_LATENT_WIDTHS", "8,4")
    flags = ["--mining-steps=3", "--image-size=11x12", "--autoencoder-width=4", "--preset=fast"]
    flags += ["--config", tmp_path / "c.yaml", "--out", tmp_path / "m", "--fpr=0.1", "--quiet"]
    assert command("train", "digits", "--class=8", *flags)[0] == 0
    settings = yaml.safe_load((tmp_path / "m" / "config.yaml").read_text())
    expected = {
        "epochs": 1,
        "batch_size": 50,
        "image_size": [11, 12],
        "mining_steps": 3,
        "latent_widths": [8, 4],
        "autoencoder_width": 4,
        "classifier_width": resolve("fast", {}).classifier_width,
    }
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize("stage", ["ae", "+latent", "+visual", "+mining"])
def test_stages_and_json(command, tmp_path, stage):
    flags = ("--json", "--quiet", "--out", tmp_path / "m")
    code, out, _ = command(
        *(f"--stage={stage}" if "--stage" in str(f) else f for f in TRAIN), *flags
    )
    assert code == 0
    summary = json.loads(out)
    assert summary["stage"] == stage
    assert summary["n_train"] + summary["n_validation"] + summary["n_calibration"] == 139
    assert summary["threshold"] == NoveltyDetector.load(tmp_path / "m").threshold_


def test_quiet_shows_no_progress(command, tmp_path):
    _, _, errors = command(*TRAIN, "--quiet", "--out", tmp_path / "m")
    assert not [line for line in errors if "epoch" in line]


def test_a_folder_that_holds_a_model_is_kept_unless_told(command, trained, tmp_path):
    out = ("--out", tmp_path / "m", "--quiet")
    assert command(*TRAIN, *out)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    code, _, errors = command(*TRAIN, "--seed=1", *out)
    assert code == 2
    assert errors[-1].endswith("holds a model already: choose another --out, or --restart")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert command(*TRAIN, "--seed=1", "--restart", *out)[0] == 0
    assert {path.name for path in (tmp_path / "m").iterdir()} != set(before)  # other weights


def test_a_folder_that_is_trained_into_is_left_alone(command, tmp_path):
    out = tmp_path / "m"
    with claimed(out / "model.json"):
        code, _, errors = command(*TRAIN, "--out", out, "--quiet")
        assert code == 2
        assert errors[-1].endswith(
            "is in use by another ocgan train: choose another --out, or wait"
        )
        assert [path.name for path in out.iterdir()] == ["model.claim0"]
    assert command(*TRAIN, "--out", out, "--quiet")[0] == 0
    assert not [*out.glob("*claim*")]


@pytest.mark.parametrize("wrong", ["--device=gpu", "--image-size=999", "--fpr=0.0001"])
def test_a_restart_that_cannot_begin_leaves_the_checkpoint(command, tmp_path, monkeypatch, wrong):
    def interrupted(self, *args, **options):
        steps = iter_fit(self, *args, **options)
        yield next(steps)
        yield next(steps)
        steps.close()
        raise KeyboardInterrupt

    iter_fit, out = NoveltyDetector.iter_fit, ("--out", tmp_path / "m", "--quiet")
    monkeypatch.setattr(NoveltyDetector, "iter_fit", interrupted)
    command(*TRAIN, *out)
    monkeypatch.undo()
    checkpoint = tmp_path / "m" / "checkpoint.safetensors"
    before = checkpoint.read_bytes()
    assert command(*TRAIN, "--restart", wrong, *out)[0] in (2, 3)
    assert checkpoint.read_bytes() == before


def test_a_model_knows_its_class_by_name(command, tmp_path, pictures):
    """A class's number means another one among other images."""
    folder = tmp_path / "images"
    shutil.copytree(pictures / "8", folder / "good")
    shutil.copytree(pictures / "1", folder / "spoiled")
    flags = [*TRAIN[3:], "--quiet", "--out", tmp_path / "m"]
    code, _, errors = command("train", folder, "--class=0", *flags)
    assert code == 0, errors
    assert NoveltyDetector.load(tmp_path / "m").about_["task"]["normal_class"] == "good"
    shutil.move(folder / "spoiled", folder / "crack")
    code, out, errors = command("evaluate", tmp_path / "m", folder, "--no-baselines", "--json")
    assert code == 0, errors
    assert json.loads(out)["normal_class"] == "good"
    _, out, _ = command("evaluate", tmp_path / "m", folder, "--no-baselines")
    assert "Normal is class good." in out


def test_a_model_finds_its_named_data_from_anywhere(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert command(*TRAIN, "--data-root=data", "--out=m", "--quiet")[0] == 0
    root = NoveltyDetector.load(tmp_path / "m").about_["task"]["data_root"]
    assert Path(root) == tmp_path / "data"


@pytest.mark.parametrize("flag", ["--epochs=2.6", "--seed=1.7", "--batch-size=x"])
def test_whole_numbers_are_not_rounded(command, tmp_path, flag):
    code, _, errors = command("train", "digits", "--class=8", flag, "--out", tmp_path / "m")
    name, value = flag.split("=")
    wanted = f"ocgan: Invalid value for {name}: '{value}' is no whole number"
    assert (code, errors) == (2, [f"{wanted} (see ocgan train --help)"])


def test_what_is_interrupted_before_it_begins_says_so(monkeypatch, capsys):
    class Slow:
        @property
        def main(self):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "pyocgan.cli", Slow())
    with pytest.raises(SystemExit) as ended:
        import_module("pyocgan.__main__").main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "ocgan: interrupted\n"


def test_a_restart_that_was_interrupted_goes_on(command, tmp_path, monkeypatch):
    """The old model is there until the new one is; the checkpoint beside it is the newer work."""
    out = ("--out", tmp_path / "m", "--quiet")
    assert command(*TRAIN, *out)[0] == 0
    iter_fit = NoveltyDetector.iter_fit

    def interrupted(self, *args, **options):
        steps = iter_fit(self, *args, **options)
        for number, progress in enumerate(steps):
            yield progress
            if number == 3:
                steps.close()
                raise KeyboardInterrupt

    log = tmp_path / "m" / "log.jsonl"
    before = log.read_text().splitlines()
    monkeypatch.setattr(NoveltyDetector, "iter_fit", interrupted)
    code, _, errors = command(*TRAIN, "--seed=1", "--restart", *out)
    assert (code, errors[-1]) == (130, "ocgan: interrupted")
    assert len(log.read_text().splitlines()) < len(before), "of the old run"
    monkeypatch.undo()
    assert NoveltyDetector.load(tmp_path / "m").random_state == 0
    code, _, errors = command(*TRAIN, "--seed=1", *out)
    assert code == 0
    assert any(line.startswith("going on from the checkpoint") for line in errors)
    assert NoveltyDetector.load(tmp_path / "m").random_state == 1


# ---- predict -------------------------------------------------------------------------------------


def test_predict_says_what_the_library_says(command, model, detector, pictures):
    code, out, errors = command("predict", model, pictures)
    assert code == 0
    rows = rows_of(out)
    # Paths that can be passed on, not names inside the folder.
    assert [row["path"] for row in rows[:2]] == [str(pictures / f"1/0{i}.png") for i in (0, 1)]
    assert len(rows) == 60
    scores = detector.novelty_scores(pictures)
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores, rtol=1e-5)
    np.testing.assert_allclose(
        [float(row["p_value"]) for row in rows], detector.p_values(pictures), rtol=1e-5
    )
    novel = np.array([row["verdict"] == "novel" for row in rows])
    np.testing.assert_array_equal(novel, detector.is_novel(pictures))
    assert errors == [
        "scoring folder of 60 images in 2 classes (1, 8)",
        f"{(~novel).sum()} normal, {novel.sum()} novel, 0 unreadable",
    ]


def test_predict_says_how_many_images_are_among_those_that_trained(command, pictures, tmp_path):
    flags = ("--fpr=0.2", "--quiet", *tiny_flags(), "--out", tmp_path / "m")
    assert command("train", pictures / "8", *flags)[0] == 0
    said = command("predict", tmp_path / "m", pictures / "8" / "00.png", pictures / "1")[2]
    assert any(line.startswith("1 of these 31 images are, by their paths, among") for line in said)
    said = command("predict", tmp_path / "m", pictures / "1")[2]
    assert not any("by their paths" in line for line in said)
    flags = ("--class=8", "--no-baselines", "--json")
    result = json.loads(command("evaluate", tmp_path / "m", pictures, *flags)[1])
    assert result["n_trained_on"] == 30
    copies = shutil.copytree(pictures, tmp_path / "copies")
    _, out, said = command("evaluate", tmp_path / "m", copies, *flags)
    assert said[-1].startswith("not looked up: whether the model has learned from some")
    assert json.loads(out)["n_trained_on"] is None


def test_predict_names_one_image_by_the_path_it_was_given(command, model, pictures):
    path = str(pictures / "8" / "03.png")
    assert [row["path"] for row in rows_of(command("predict", model, path)[1])] == [path]


def test_there_is_nothing_to_fetch_of_digits(command):
    code, out, errors = command("data", "fetch", "digits")
    assert (code, out) == (0, "")
    assert errors == ["digits comes with scikit-learn: there is nothing to fetch"]


def test_fetching_says_what_to_cite_and_the_licence(command, monkeypatch, tmp_path):
    module = import_module("pyocgan.cli.data")
    monkeypatch.setattr(module, "fetch_named", lambda name, root, **_: tmp_path)
    code, out, errors = command("data", "fetch", "coil100")
    assert (code, out) == (0, f"{tmp_path}\n")
    assert errors == [NAMED["coil100"].note]
    assert "non-commercial" in errors[0]


def test_csv_and_json_lines_agree(command, model, pictures):
    rows = rows_of(command("predict", model, pictures)[1])
    code, out, _ = command("predict", model, pictures, "--json")
    assert code == 0
    objects = [json.loads(line) for line in out.splitlines()]
    assert [list(entry) for entry in objects] == [list(row) for row in rows]
    for entry, row in zip(objects, rows, strict=True):
        assert (entry["path"], entry["verdict"]) == (row["path"], row["verdict"])
        assert f"{entry['score']:.6g}" == row["score"]
        assert f"{entry['p_value']:.6g}" == row["p_value"]


def test_paths_from_the_command_line_and_from_standard_input(command, model, pictures, monkeypatch):
    paths = [str(pictures / "8" / f"{index:02}.png") for index in (3, 1)]
    expected = command("predict", model, *paths)[1]
    assert [row["path"] for row in rows_of(expected)] == paths
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*paths, "", ""])))
    assert command("predict", model, "-")[:2] == (0, expected)
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeff" + "\r\n".join(paths)))
    assert command("predict", model, "-")[:2] == (0, expected)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(paths)))
    assert command("predict", model, "-", "--json")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    code, out, errors = command("predict", model, "-")
    assert (code, errors) == (3, ["ocgan: no paths came on standard input"])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pictures}\n"))
    code, _, errors = command("predict", model, "-")
    assert code == 3
    assert errors[-1].endswith("find -type f names files alone")
    assert out == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{path}\0" for path in paths)))
    assert command("predict", model, "-")[:2] == (0, expected)
    with Path(paths[0]).open(encoding="utf-8", errors="surrogateescape") as image:
        monkeypatch.setattr("sys.stdin", image)
        code, _, errors = command("predict", model, "-")
    assert code == 3
    assert errors == ["ocgan: an image came on standard input, where paths of images are expected"]


def test_what_predict_wrote_can_be_predicted_again(command, model, pictures, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    assert command("predict", model, pictures, "--out", one)[0] == 0
    assert command("predict", model, one, "--out", two)[0] == 0
    assert one.read_text() == two.read_text()


def test_a_named_set_is_scored_on_its_test_part(command, model):
    assert len(rows_of(command("predict", model, "digits")[1])) == 1797 - 1438


def test_novel_images_are_drawn_with_where_they_are_so(command, tmp_path):
    flawless, spoiled = tmp_path / "good", tmp_path / "new"
    flawless.mkdir()
    spoiled.mkdir()
    draws = np.random.default_rng(0)
    for number in range(43):
        pixels = draws.normal(120, 8, (60, 80, 3)).clip(0, 255).astype(np.uint8)
        if number >= 41:
            pixels[40:48, 60:70] = 250
        folder = flawless if number < 40 else spoiled
        Image.fromarray(pixels).save(folder / f"{number}.png")
    settings = tiny_flags(scores="patches", epochs=1, stage="ae", image_size="60x80")
    chosen = ("--fpr=0.05", "--out", tmp_path / "m", "--quiet", *settings)
    assert command("train", flawless, *chosen)[0] == 0
    maps = tmp_path / "maps"
    _, out, _ = command("predict", tmp_path / "m", spoiled, "--heatmaps", maps)
    verdicts = [row["verdict"] for row in rows_of(out)]
    assert verdicts[1:] == ["novel"] * 2
    drawn = sorted(path.name for path in maps.iterdir())
    assert drawn == [f"{i + 1:04}-{i + 40}.png" for i in range(3) if verdicts[i] == "novel"]
    with Image.open(maps / "0002-41.png") as picture:
        assert picture.size == (80, 60)
        coloured = np.ptp(np.float32(picture), axis=2)  # the rest is grey
    row, column = np.unravel_index(coloured.argmax(), coloured.shape)
    assert 36 <= row <= 52
    assert 56 <= column <= 74
    assert np.median(coloured) < 20 < coloured.max() / 3


def test_heat_maps_lie_among_no_other_files(command, model, pictures, tmp_path):
    """Those of an earlier run would pass for this one's, and images lie among their own maps."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "0001-old.png").write_bytes(b"")
    for folder in (tmp_path / "maps", pictures / "8"):
        before = sorted(folder.iterdir())
        code, out, errors = command("predict", model, pictures / "8", "--heatmaps", folder)
        assert (code, out) == (2, "")
        assert errors[-1].startswith(f"ocgan: --heatmaps {str(folder)!r} holds files already")
        assert sorted(folder.iterdir()) == before


def test_heat_maps_are_not_drawn_where_the_next_run_would_score_them(command, model, pictures):
    for images in ([pictures], [pictures / "8" / "00.png", pictures]):
        code, out, errors = command("predict", model, *images, "--heatmaps", pictures / "maps")
        assert (code, out) == (2, "")
        assert f"{str(pictures / 'maps')!r} is in {str(pictures)!r}, whose images" in errors[-1]
    assert not (pictures / "maps").exists()


@pytest.mark.parametrize("target", ["image", "zip", "list", "idx", "model.json", "weights"])
def test_predict_writes_over_nothing_that_it_reads(command, model, pictures, tmp_path, target):
    own = shutil.copytree(model, tmp_path / "model")
    shutil.copytree(pictures / "8", tmp_path / "8")
    archive = zip_tree(tmp_path / "8", tmp_path / "8.zip")
    listing = tmp_path / "list.txt"
    listing.write_text("8/00.png\n")
    write_idx(tmp_path / "idx", "t10k")
    images, out = {
        "image": (tmp_path / "8", tmp_path / "8" / "00.png"),
        "zip": (archive, archive),
        "list": (listing, listing),
        "idx": (tmp_path / "idx", tmp_path / "idx" / "t10k-labels-idx1-ubyte.gz"),
        "model.json": (archive, own / "model.json"),
        "weights": (archive, next(own.glob("weights-*"))),
    }[target]
    before = out.read_bytes()
    code, _, errors = command("predict", own, images, "--out", out)
    assert code == 2
    assert errors[-1] == f"ocgan: --out {str(out)!r} is read here: choose another file"
    assert out.read_bytes() == before
    assert command("predict", own, images, "--out", own / "scores.csv")[0] == 0
    assert command("predict", own, images, "--out", own / "scores.csv")[0] == 0


@pytest.mark.parametrize("kind", ["list", "array"])
def test_evaluate_writes_over_no_list_or_array_that_it_learned_from(
    command, digits, pictures, tmp_path, kind
):
    images, labels = digits
    chosen = np.flatnonzero((labels == 8) | (labels == 1))[:300]
    source = tmp_path / ("list.csv" if kind == "list" else "all.npz")
    if kind == "list":
        rows = [f"{path},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]
        source.write_text("\n".join(rows))
    else:
        np.savez(source, X=images[chosen], y=labels[chosen])
    flags = (*tiny_flags(epochs=1), "--fpr=0.1", "--device=cpu", "--class=8", "--protocol=1")
    assert command("train", source, *flags, "--out", tmp_path / "m", "--quiet")[0] == 0
    before = source.read_bytes()
    code, _, errors = command("evaluate", tmp_path / "m", "--no-baselines", "--scores", source)
    assert (code, source.read_bytes()) == (2, before)
    assert errors[-1] == f"ocgan: --scores {str(source)!r} is read here: choose another file"


def test_what_was_learned_as_normal_is_not_evaluated_as_novel(command, pictures, tmp_path):
    for part in ("train", "test"):
        shutil.copytree(pictures, tmp_path / "both" / part)
    flags = (*tiny_flags(epochs=1), "--fpr=0.1", "--device=cpu", "--quiet")
    assert command("train", tmp_path / "both", *flags, "--out", tmp_path / "m")[0] == 0
    code, _, errors = command("evaluate", tmp_path / "m", "--class=8")
    assert code == 2
    assert "the model learned 2 classes as normal (1, 8), so none of them is novel" in errors[-1]


def test_predict_and_evaluate_name_images_alike(command, model, pictures, tmp_path):
    out = tmp_path / "scores.csv"
    flags = ("--class=8", "--no-baselines", "--scores", out)
    assert command("evaluate", model, pictures, *flags)[0] == 0
    named = [row["path"] for row in rows_of(out.read_text())]
    _, predicted, _ = command("predict", model, pictures)
    assert named == [row["path"] for row in rows_of(predicted)]
    assert all(Path(name).is_file() for name in named)


def test_a_long_name_has_a_heat_map_too(command, model, pictures, tmp_path):
    name = "ü" * 120 + "x"
    shutil.copy(pictures / "1" / "00.png", tmp_path / f"{name}.png")
    maps = tmp_path / "maps"
    flags = ("--heatmaps", maps, "--fpr", "0.9")
    code, out, errors = command("predict", model, tmp_path / f"{name}.png", *flags)
    assert code == 0, errors
    assert rows_of(out)[0]["verdict"] == "novel"
    assert [path.name for path in maps.iterdir()] == [f"0001-{name[:100]}.png"]


def test_one_image_beside_the_classes_is_named(command, pictures, tmp_path):
    own = shutil.copytree(pictures, tmp_path / "own")
    shutil.copy(pictures / "1" / "00.png", own / "stray.png")
    code, _, errors = command("train", own, "--class=8", "--out", tmp_path / "m")
    assert code == 2
    assert "put each class into a folder of its own ('stray.png' lies in none)" in errors[-1]


def test_evaluate_writes_over_nothing_that_it_reads(command, model, pictures, tmp_path):
    own = shutil.copytree(pictures, tmp_path / "own")
    image = own / "1" / "00.png"
    before = image.read_bytes()
    flags = ("--class=8", "--no-baselines", "--scores", image)
    code, _, errors = command("evaluate", model, own, *flags)
    assert (code, image.read_bytes()) == (2, before)
    assert errors[-1] == f"ocgan: --scores {str(image)!r} is read here: choose another file"


def test_images_unlike_those_of_the_model_are_not_fitted_in_silence(command, model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    code, _, errors = command("predict", model, tmp_path / "0.png")
    assert code == 0
    assert errors[1:4] == [
        "images of 12×20: resized to 8×8 (height×width)",
        "images of another shape than those learned (width / height 1.67, learned 1.00) are "
        "squeezed otherwise, and may be called novel for that alone: crop or pad them",
        "images stored in colour reduced to grey",
    ]
    Image.fromarray(pixels[:, :12]).save(tmp_path / "square.png")
    _, _, errors = command("predict", model, tmp_path / "square.png")
    assert not any("shape" in line for line in errors)


def test_images_of_16_bits_that_use_fewer_are_told_of(command, model, tmp_path):
    """A model of other images takes 65535 for white."""
    pixels = np.random.default_rng(0).integers(0, 4096, (8, 8)).astype(np.uint16)
    for name, scaled in (("dark", pixels), ("bright", pixels * 16)):
        Image.fromarray(scaled).save(tmp_path / f"{name}.png")
        errors = command("predict", model, tmp_path / f"{name}.png")[2]
        said = [line for line in errors if "12 seem to be in use" in line]
        assert bool(said) == (name == "dark")
        assert all(line.endswith("multiply by 16") for line in said)


def test_images_folders_and_lists_are_scored_together(command, model, pictures, tmp_path):
    (tmp_path / "list.txt").write_text(f"{pictures / '8' / '03.png'}\n")
    given = (pictures / "8" / "07.png", tmp_path / "list.txt", pictures / "1")
    code, out, errors = command("predict", model, *given)
    assert code == 0
    assert errors[:3] == [
        f"{tmp_path / 'list.txt'}: list list.txt of 1 image",
        f"{pictures / '1'}: folder of 30 images",
        "scoring list of 32 images",
    ]
    rows = rows_of(out)
    assert [row["path"] for row in rows[:3]] == [
        str(pictures / place) for place in ("8/07.png", "8/03.png", "1/00.png")
    ]
    assert rows[2:] == rows_of(command("predict", model, pictures / "1")[1])
    code, again, errors = command("predict", model, *given, pictures / "1" / "05.png")
    assert again == out
    assert "1 of the images is named again: each is scored once" in errors
    (tmp_path / "link.png").symlink_to(pictures / "1" / "05.png")
    linked = command("predict", model, *given, tmp_path / "link.png")[1]
    assert rows_of(linked)[-1]["path"] == str(tmp_path / "link.png")


def test_what_holds_images_that_are_no_files_stands_alone(command, model, pictures, tmp_path):
    for many in (str(zip_tree(pictures, tmp_path / "x.zip")), "digits"):
        code, out, errors = command("predict", model, pictures / "8" / "00.png", many)
        assert (code, out) == (2, "")
        assert errors == [f"ocgan: the images of {many!r} are no files: name it alone"]
    code, _, errors = command("predict", model, pictures / "8" / "00.png", "nowhere.zip")
    assert code == 3
    assert errors[-1].startswith("ocgan: 'nowhere.zip' is no file, no folder and no data set")


@pytest.mark.parametrize("quoted", ["~/m", "--out=~/m"])
def test_a_tilde_that_the_shell_left_is_the_users_home(command, tmp_path, monkeypatch, quoted):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    out = [quoted] if "=" in quoted else ["--out", quoted]
    assert command(*TRAIN, *out, "--quiet")[0] == 0
    assert {"model.json", "config.yaml", "log.jsonl"} <= {
        path.name for path in (tmp_path / "home" / "m").iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert command("info", "~/m")[0] == 0
    assert command(*TRAIN, *out)[2][-1].endswith("choose another --out, or --restart")


def test_a_model_is_not_written_where_its_images_are_looked_for(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ("digits", tmp_path / "digits", "./digits"):
        code, _, errors = command(*TRAIN, "--out", out)
        assert code == 2
        assert errors[-1].endswith("is where the images are looked for: choose another folder")
    code, _, errors = command("benchmark", "--dataset", "digits", "--protocol=1", "--out=digits")
    assert code == 2
    assert "is where the images are looked for" in errors[-1]
    assert not any(tmp_path.iterdir())


def test_a_model_that_another_process_has_just_finished_stays(command, tmp_path, monkeypatch):
    out, finished = tmp_path / "m", b"{}"

    def claim_late(path, held):  # the other one gave the folder back in between
        out.mkdir()
        (out / "model.json").write_bytes(finished)

    monkeypatch.setattr(import_module("pyocgan.cli.train"), "_claim", claim_late)
    code, _, errors = command(*TRAIN, "--out", out, "--quiet")
    assert code == 2
    assert errors[-1].endswith("holds a model already: choose another --out, or --restart")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"model.json": finished}


def test_an_interruption_while_images_are_read_ends_that_at_once(command, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_, **__):
        assert signal.getsignal(signal.SIGINT) is before, "kept for after the reading"
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "read_inferred", interrupt)
    code, _, errors = command(*TRAIN, "--out", tmp_path / "m", "--quiet")
    assert code == 130
    assert errors[-1] == "ocgan: interrupted"
    assert not (tmp_path / "m").exists()


def test_an_interruption_while_the_model_is_finished_leaves_it(command, tmp_path, monkeypatch):
    gather = evidence.gather

    def interrupted(*given, **named):
        signal.raise_signal(signal.SIGINT)
        gather(*given, **named)

    monkeypatch.setattr(evidence, "gather", interrupted)
    code, _, errors = command(*TRAIN, "--out", tmp_path / "m", "--quiet")
    assert code == 0
    assert errors[-3:-1] == [
        "interrupted: saving how far it is; once more stops at once …",
        "the training was done already: writing the model",
    ]
    assert NoveltyDetector.load(tmp_path / "m")


def test_where_nothing_can_be_written_no_image_is_read(command, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(preparation, "read_inferred", None)
    code, _, errors = command(*TRAIN, "--out", tmp_path / "file")
    assert code == 1
    assert errors[-1].startswith(f"ocgan: cannot write {str(tmp_path / 'file')!r}: ")
    assert errors[-1].endswith("is no folder")


def test_fail_on_novel(command, model, pictures, detector, eights):
    is_novel = detector.is_novel(eights[:30])
    normal, novel = ([pictures / "8" / f"{i:02}.png" for i in np.flatnonzero(m)]
                     for m in (~is_novel, is_novel))  # fmt: skip
    assert normal
    assert novel
    assert command("predict", model, *normal, "--fail-on-novel")[0] == 0
    code, out, errors = command("predict", model, *normal, novel[0], "--fail-on-novel")
    assert code == 4
    assert len(rows_of(out)) == len(normal) + 1  # the scores are there all the same
    assert not [line for line in errors if line.startswith("ocgan:")]
    assert command("predict", model, novel[0])[0] == 0


def test_an_image_that_nobody_looked_at_does_not_pass_a_gate(command, model, pictures, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    images = (pictures / "8" / "00.png", tmp_path / "cut.png", "--skip-unreadable", "--fpr=0.08")
    assert command("predict", model, *images)[0] == 0
    code, out, _ = command("predict", model, *images, "--fail-on-novel")
    assert [row["verdict"] for row in rows_of(out)] == ["normal", "unreadable"]
    assert code == 3


def test_another_false_alarm_rate(command, model, detector, pictures):
    p_values = detector.p_values(pictures)
    for fpr in (1 / 13, 0.5, 0.9):
        rows = rows_of(command("predict", model, pictures, "--fpr", fpr)[1])
        np.testing.assert_array_equal([r["verdict"] == "novel" for r in rows], p_values <= fpr)
    code, _, errors = command("predict", model, pictures, "--fpr=0.01")
    assert code == 2
    assert errors == [
        "ocgan: fpr = 0.01 is out of reach of 12 calibration images (the smallest rate is "
        "1/13 = 0.0769): it needs 99"
    ]


def test_unreadable_images_are_named_and_the_others_scored(command, model, pictures, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"text")
    good = pictures / "8" / "00.png"
    code, out, errors = command("predict", model, good, tmp_path / "bad.png", "--skip-unreadable")
    assert code == 0
    rows = rows_of(out)
    assert [row["verdict"] == "unreadable" for row in rows] == [False, True]
    assert (rows[1]["score"], rows[1]["p_value"]) == ("", "")
    assert errors[1].startswith(f"left out: {tmp_path / 'bad.png'} (is not a PNG")
    assert errors[-1].endswith("1 unreadable")
    code, out, _ = command(
        "predict", model, good, tmp_path / "bad.png", "--skip-unreadable", "--json"
    )
    entry = json.loads(out.splitlines()[1])
    assert (entry["score"], entry["p_value"], entry["verdict"]) == (None, None, "unreadable")


def test_out_is_written_whole_or_not_at_all(command, model, pictures, tmp_path):
    target = tmp_path / "new" / "scores.csv"
    expected = command("predict", model, pictures)[1]
    code, out, _ = command("predict", model, pictures, "--out", target)
    assert (code, out) == (0, "")
    assert target.read_text() == expected
    (tmp_path / "bad.png").write_bytes(b"text")
    code, *_ = command("predict", model, pictures / "8/00.png", tmp_path / "bad.png", "-o", target)
    assert code == 3
    assert target.read_text() == expected
    assert [path.name for path in target.parent.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "MODEL", "PICTURES", "--class=8", "--no-baselines", "--scores"),
        ("report", "--docs"),
        ("data", "describe"),
        ("train",),
        ("predict", "MODEL", "one.png"),
    ],
)
@pytest.mark.parametrize("word", ["-", "/dev/stdin"])
def test_standard_input_is_never_written_to_nor_taken_for_a_file(
    model, pictures, tmp_path, arguments, word
):
    places = {"MODEL": str(model), "PICTURES": str(pictures)}
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    with mine.open() as file:
        done = ocgan(*(places.get(one, one) for one in arguments), word, stdin=file)
    assert done.returncode in (1, 2, 3)
    assert len(done.stderr.splitlines()[-1:]) == 1
    assert "Traceback" not in done.stderr
    assert mine.read_text() == "mine"


def test_scores_that_cannot_be_written_are_found_first(command, model, pictures):
    flags = ("--class=8", "--no-baselines", "--scores=/dev/null/scores.csv")
    code, out, errors = command("evaluate", model, pictures, *flags)
    assert (code, out) == (1, "")
    assert [line.startswith("ocgan: cannot write") for line in errors] == [True]


def test_paths_may_end_as_windows_ends_lines(model, pictures):
    paths = f"{pictures / '8/00.png'}\r\n{pictures / '8/01.png'}\r\n"
    done = ocgan("predict", model, "-", input=paths)
    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in rows_of(done.stdout)] == paths.split()


@pytest.mark.skipif(os.name == "nt", reason="of a POSIX shell")
@pytest.mark.parametrize(("closed", "code"), [("2>&-", 0), (">&-", 1), ("<&-", 0)])
def test_closed_streams(model, pictures, closed, code):
    line = f'"{sys.executable}" -m pyocgan predict "{model}" "{pictures / "8"}" --json {closed}'
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert len(rows) == (0 if closed == ">&-" else 30)
    if closed == ">&-":
        reason = "ocgan: standard output is closed: name a file, or redirect it to /dev/null"
        assert done.stderr.splitlines()[-1] == reason


def test_names_that_are_no_text_stand_in_json_as_escapes(model, pictures, tmp_path):
    name = os.fsdecode(b"8\xff")
    shutil.copytree(pictures / "8", tmp_path / name)
    shutil.copytree(pictures / "1", tmp_path / "1")
    done = ocgan("evaluate", model, tmp_path, "--class=8", "--no-baselines", "--json")
    assert done.returncode == 2, "no class of that name"
    done = ocgan("evaluate", model, tmp_path, "--class=1", "--no-baselines", "--json", text=False)
    assert done.returncode == 0, done.stderr
    assert [*json.loads(done.stdout)["methods"]["OCGAN (default, +mining)"]["auroc_by_class"]] == [
        name
    ]


def test_devices_and_folders_are_never_replaced_by_a_file(command, model, pictures, tmp_path):
    code, _, errors = command("predict", model, pictures, "--out", tmp_path)
    assert code == 1
    assert errors[-1].startswith("ocgan: cannot write ")
    assert tmp_path.is_dir()
    assert command("predict", model, pictures, "--out", "/dev/null")[:2] == (0, "")
    assert Path("/dev/null").is_char_device()
    assert rows_of(command("predict", model, pictures, "--out", "/dev/stdout")[1])
    (tmp_path / "link").symlink_to(tmp_path / "real.csv")
    assert command("predict", model, pictures, "--out", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.csv").is_file()


def test_out_may_be_standard_output_and_never_the_list_of_paths(model, pictures, tmp_path):
    paths = tmp_path / "list.txt"
    paths.write_text(f"{pictures / '8' / '00.png'}\n")
    before = paths.read_text()
    with paths.open() as stdin:
        done = ocgan("predict", model, "-", "-o", "-", stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(done.stdout)) == 1
    assert paths.read_text() == before


def test_rows_stand_in_the_order_of_the_images(command, model, pictures, tmp_path):
    good = [str(pictures / "8" / f"{i:02}.png") for i in range(3)]
    given = [good[0], str(tmp_path / "no.png"), good[1], str(tmp_path / "none.png"), good[2]]
    code, out, errors = command("predict", model, *given, "--skip-unreadable")
    assert code == 0
    assert [row["path"] for row in rows_of(out)] == given
    scores = {row["path"]: row["score"] for row in rows_of(command("predict", model, *good)[1])}
    assert all(row["score"] == scores.get(row["path"], "") for row in rows_of(out))
    assert errors[-1].endswith("2 unreadable")


def test_paths_of_a_list_can_be_passed_on_even_if_its_first_file_is_gone(
    command, model, pictures, tmp_path, monkeypatch
):
    (tmp_path / "list.txt").write_text(f"gone.png\n{pictures / '8' / '00.png'}\nhere.png\n")
    shutil.copy(pictures / "8" / "01.png", tmp_path / "here.png")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    _, out, _ = command("predict", model, "../list.txt", "--skip-unreadable")
    paths = [row["path"] for row in rows_of(out)]
    assert paths == ["../gone.png", str(pictures / "8" / "00.png"), "../here.png"]


def test_a_full_disk_is_one_line(model, pictures):
    with Path("/dev/full").open("w") as full:
        done = ocgan("predict", model, pictures, capture_output=False, stdout=full, stderr=PIPE)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ocgan: cannot write the output: No space left on device"


def test_names_of_classes_are_shown_as_they_are(command, digits, tmp_path):
    for name in ("widget [new]", "[x]", "a:smile:", "[/b]"):
        (tmp_path / name.replace("/", "_")).mkdir()
        Image.fromarray(digits[0][0]).save(tmp_path / name.replace("/", "_") / "0.png")
    _, out, _ = command("data", "describe", tmp_path)
    lines = [line.split("  ")[0] for line in out.splitlines()]
    assert {"widget [new]", "[x]", "a:smile:", "[_b]"} <= {*lines}


def test_a_reader_that_leaves_early_is_told_by_the_exit_code_alone(model, pictures):
    line = f"{sys.executable} -m pyocgan predict {model} digits | head -n 1"
    shell = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=240
    )
    assert shell.stdout == "path,score,p_value,verdict\n"
    assert "Traceback" not in shell.stderr
    assert "Broken" not in shell.stderr
    assert "Exception" not in shell.stderr
    assert shell.returncode == 141


def test_training_goes_on_when_nobody_reads_its_messages(tmp_path):
    line = f"{sys.executable} -m pyocgan {' '.join(TRAIN)} --out {tmp_path / 'm'} 2>&1 >&3"
    shell = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({line} | true) 3>&1"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert shell.returncode == 0
    assert "trained in" in shell.stdout
    assert (tmp_path / "m" / "model.json").exists()


def test_file_names_in_any_encoding_and_locale(model, pictures, tmp_path):
    name = b"caf\xe9-\xc3\xa9.png"
    (tmp_path / name.decode("utf-8", "surrogateescape")).write_bytes(
        (pictures / "8" / "00.png").read_bytes()
    )
    table = tmp_path / "table.csv"
    for locale, flags in (
        ("C.UTF-8", ["--json"]),
        ("POSIX", []),
        ("C.UTF-8", ["--out", table]),
    ):
        environment = {"LC_ALL": locale, "PATH": ""}
        done = ocgan("predict", model, tmp_path, *flags, text=False, env=environment)
        assert done.returncode == 0, done.stderr
        written = table.read_bytes() if table in flags else done.stdout
        assert b"normal" in written or b"novel" in written
        if "--json" in flags:  # which is no JSON unless it is UTF-8
            assert os.fsencode(json.loads(written.decode())["path"]).endswith(name)
        else:
            assert name in written
    (tmp_path / "list").write_bytes(os.fsencode(tmp_path) + b"/" + name + b"\n")
    with (tmp_path / "list").open("rb") as stdin:
        strict = {"PATH": "", "PYTHONIOENCODING": "utf-8:strict"}
        done = ocgan("predict", model, "-", text=False, env=strict, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


# ---- evaluate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "counts"), [("plain", (35, 324)), ("two", (35, 324)), ("one", (35, 35))]
)
def test_evaluate_on_the_models_own_test_part(command, trained, name, counts):
    code, out, _ = command("evaluate", trained / name, "--json")
    assert code == 0
    result = json.loads(out)
    methods = result["methods"]
    assert next(iter(methods)) == "OCGAN (default, +mining)"
    assert len(methods) >= 5
    assert all((m["n_normal"], m["n_novel"]) == counts for m in methods.values())
    assert methods["5-NN, cosine, oriented gradients"]["auroc"] > 0.95
    assert result["normal_class"] == "8"


def test_the_rates_are_those_of_the_scores(command, trained, tmp_path):
    scores = tmp_path / "scores.csv"
    code, out, _ = command("evaluate", trained / "two", "--json", "--scores", scores)
    assert code == 0
    result = json.loads(out)
    threshold = NoveltyDetector.load(trained / "two").threshold_
    rows = rows_of(scores.read_text())
    alarms = {"0": [], "1": []}  # by what the image is
    for row in rows:
        alarms[row["is_novel"]].append(float(row["OCGAN (default, +mining)"]) > threshold)
    assert result["false_alarm_rate"] == np.mean(alarms["0"])
    assert result["detection_rate"] == np.mean(alarms["1"])
    assert result["false_alarm_rate"] < result["detection_rate"]
    sentence = command("evaluate", trained / "two")[1].splitlines()[-1]
    said = [float(number) for number in re.findall(r"([\d.]+)%", sentence)]
    assert said == pytest.approx([100 * np.mean(alarms[key]) for key in "01"], abs=0.05)


def test_nothing_that_was_trained_on_is_tested(trained):
    from pyocgan.data import read
    from pyocgan.tasks import Task

    for name in ("plain", "one", "two"):
        loaded = NoveltyDetector.load(trained / name)
        split = Task.from_dict(loaded.about_["task"]).split
        assert set(split.train.names).isdisjoint(split.test.names)
        images = read(split.train, loaded.rule_)
        assert images.fingerprint() == loaded.fingerprint_  # what it was trained on, exactly
        assert set(split.train.labels) == {"8"}


def test_the_table_and_the_sentence(command, trained):
    code, out, errors = command("evaluate", trained / "two")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "35 normal and 324 novel images"
    assert lines[1].split()[:4] == ["method", "AUROC", "AUPR", "FPR@95TPR"]
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[-1].startswith("Normal is class 8. At the model's false-alarm rate of 0.1, it ")
    assert errors == [
        "testing on digits, test part: 359 images in 10 classes (0, 1, 2, 3, 4, 5, …)"
    ]
    table = {line[:32].strip(): line.split()[-1] for line in lines[2:7]}
    result = json.loads(command("evaluate", trained / "two", "--json")[1])
    assert table["5-NN, raw pixels"] == (
        f"{result['methods']['5-NN, raw pixels']['auroc_by_class']['9']:.3f}"
    )


def test_images_that_have_been_moved_are_found_where_they_are_named(command, pictures, tmp_path):
    here, there = Path(shutil.copytree(pictures, tmp_path / "here")), tmp_path / "there"
    flags = ("--class=8", "--protocol=1", "--fpr=0.2", "--quiet", *tiny_flags())
    assert command("train", here, *flags, "--out", tmp_path / "m")[0] == 0
    expected = command("evaluate", tmp_path / "m", "--json")
    assert (expected[0], json.loads(expected[1])["n_trained_on"]) == (0, 0)
    here.rename(there)
    code, _, errors = command("evaluate", tmp_path / "m")
    assert code == 3
    assert errors[-1].endswith(
        f"; the model was trained on '{here}': name where its images lie now"
    )
    code, out, errors = command("evaluate", tmp_path / "m", there, "--json")
    assert (code, out) == (0, expected[1])
    assert errors[0] == f"the model's own images lie in '{there}' now"
    (there / "8" / "07.png").unlink()  # they are not the same any more
    code, out, errors = command("evaluate", tmp_path / "m", there, "--no-baselines", "--json")
    assert (code, json.loads(out)["n_trained_on"]) == (0, None)
    assert errors[-1].startswith("not looked up")


def test_evaluate_on_other_images(command, trained, pictures):
    code, out, errors = command("evaluate", trained / "plain", pictures, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["methods"]["OCGAN (default, +mining)"]["n_normal"] == 30
    assert list(result["methods"]["OCGAN (default, +mining)"]["auroc_by_class"]) == ["1"]
    assert json.loads(out)["n_trained_on"] == 30
    _, out, _ = command("evaluate", trained / "plain", pictures)
    assert "The model has learned from 30 of these images, so the figures are too good" in out
    _, out, errors = command("evaluate", trained / "plain", pictures, "--no-baselines", "--json")
    assert errors[-1].startswith("not looked up: whether the model has learned from some")
    assert json.loads(out)["n_trained_on"] is None
    code, out, _ = command("evaluate", trained / "plain", pictures, "--class=1", "--json")
    assert json.loads(out)["normal_class"] == "1"


def test_evaluate_elsewhere_takes_the_only_class_that_was_learned(command, pictures, tmp_path):
    flags = ("--fpr=0.2", "--quiet", *tiny_flags())
    assert command("train", pictures / "8", *flags, "--out", tmp_path / "m")[0] == 0
    code, _, errors = command("evaluate", tmp_path / "m", pictures, "--no-baselines")
    assert code == 2
    assert errors[-1].endswith("say which class is normal: --class NAME, one of 1, 8")
    only = tmp_path / "images" / "train"
    shutil.copytree(pictures / "8", only / "8")
    for name in ("1", "8"):
        shutil.copytree(pictures / name, tmp_path / "images" / "test" / name)
    assert command("train", tmp_path / "images", *flags, "--out", tmp_path / "n")[0] == 0
    code, out, _ = command("evaluate", tmp_path / "n", tmp_path / "images", "--json")
    assert (code, json.loads(out)["normal_class"]) == (0, "8")


def test_learning_several_classes_is_said(command, pictures, tmp_path):
    flags = ("--fpr=0.2", "--quiet", "--out", tmp_path / "m", *tiny_flags())
    errors = command("train", pictures, *flags)[2]
    advice = "--class NAME (of_class in Python) takes one"
    assert f"all 2 classes (1, 8) are taken for normal: {advice}" in errors
    assert not [line for line in command("train", pictures, "--class=8", *flags, "--restart")[2]
                if "taken for normal" in line]  # fmt: skip


def test_a_source_without_a_test_part(command, pictures, tmp_path):
    flags = ("--fpr=0.2", "--quiet", *tiny_flags())
    assert command("train", pictures, "--class=8", *flags, "--out", tmp_path / "m")[0] == 0
    code, _, errors = command("evaluate", tmp_path / "m")
    assert code == 2
    assert "train, or run the benchmark, with --protocol 1" in errors[-1]
    one = ("--protocol=1", *flags, "--out", tmp_path / "one")
    assert command("train", pictures, "--class=8", *one)[0] == 0
    code, out, _ = command("evaluate", tmp_path / "one", "--json")
    assert code == 0
    assert json.loads(out)["methods"]["OCGAN (default, +mining)"]["n_normal"] == 6


def test_one_normal_class_in_train_needs_no_name(command, digits, tmp_path):
    """The layout of MVTec AD: train/good, test/good, test/<defect>."""
    images, labels = digits
    rows = {"train/good": labels == 8, "test/good": labels == 8, "test/crack": labels == 1}
    for path, mask in rows.items():
        (tmp_path / "set" / path).mkdir(parents=True)
        chosen = images[mask][30:] if path == "test/good" else images[mask][:30]
        for index, pixels in enumerate(chosen):
            Image.fromarray(pixels).save(tmp_path / "set" / path / f"{index}.png")
    flags = ("--fpr=0.2", "--quiet", *tiny_flags(), "--out", tmp_path / "m")
    assert command("train", tmp_path / "set", *flags)[0] == 0
    code, out, _ = command("evaluate", tmp_path / "m", "--json")
    assert code == 0
    assert json.loads(out)["normal_class"] == "good"
    shutil.move(tmp_path / "set", tmp_path / "moved")
    elsewhere = ("evaluate", tmp_path / "m", tmp_path / "moved", "--no-baselines", "--json")
    assert json.loads(command(*elsewhere)[1])["normal_class"] == "good"


def test_figures_are_printed_whatever_becomes_of_the_scores(
    command, trained, tmp_path, monkeypatch
):
    arguments = ("evaluate", trained / "two", "--no-baselines", "--json", "--scores")
    code, out, errors = command(*arguments, tmp_path)  # a folder
    assert (code, out) == (1, "")
    assert errors[-1].endswith("it is there and is no plain file")
    assert not [*tmp_path.iterdir()]

    def full(*_):
        raise OcganError("the disk is full")

    monkeypatch.setattr(import_module("pyocgan.cli.evaluate"), "_write_scores", full)
    code, out, errors = command(*arguments, tmp_path / "s.csv")
    assert (code, errors[-1]) == (1, "ocgan: the disk is full")
    assert "auroc" in out


def test_images_of_no_class_are_not_asked_for_a_normal_one(command, pictures, tmp_path):
    flags = ("--fpr=0.2", "--quiet", *tiny_flags())
    assert command("train", pictures / "8", *flags, "--out", tmp_path / "m")[0] == 0
    code, _, errors = command("evaluate", tmp_path / "m", pictures / "1", "--no-baselines")
    assert code == 2
    assert errors[-1].startswith("ocgan: the folder of 30 images names no classes: put each class")


def test_every_score_is_kept(command, trained, tmp_path):
    code, out, _ = command("evaluate", trained / "two", "--scores", tmp_path / "s.csv", "--json")
    assert code == 0
    rows = rows_of((tmp_path / "s.csv").read_text())
    assert list(rows[0])[:4] == ["path", "label", "is_novel", "OCGAN (default, +mining)"]
    assert [row["is_novel"] == "1" for row in rows] == [row["label"] != "8" for row in rows]
    from sklearn.metrics import roc_auc_score

    is_novel = [int(row["is_novel"]) for row in rows]
    for method, result in json.loads(out)["methods"].items():
        scores = [float(row[method]) for row in rows]
        assert roc_auc_score(is_novel, scores) == pytest.approx(result["auroc"], abs=1e-12)


def test_evaluate_refuses_what_would_mislead(command, trained, model, pictures):
    code, _, errors = command("evaluate", trained / "two", "--class=3")
    assert (code, errors) == (2, ["ocgan: the model was trained on class 8, not 3"])
    code, _, errors = command("evaluate", model)  # fitted in Python
    assert code == 2
    assert "does not say what it was trained on" in errors[-1]
    code, _, errors = command("evaluate", model, pictures, "--class=8")
    assert code == 2
    assert "--no-baselines" in errors[-1]
    code, out, _ = command("evaluate", model, pictures, "--class=8", "--no-baselines", "--json")
    assert code == 0
    assert list(json.loads(out)["methods"]) == ["OCGAN (default, +mining)"]
    code, _, errors = command("evaluate", trained / "two", pictures / "8")
    assert code == 2
    assert "names no classes" in errors[-1]


def test_evaluate_does_not_test_on_a_split_that_was_drawn_anew(command, pictures, tmp_path):
    folder, model = tmp_path / "images", tmp_path / "model"
    shutil.copytree(pictures, folder)
    flags = ["--class=8", "--protocol=1", *tiny_flags(), "--fpr=0.2", "-q"]
    assert command("train", folder, f"--out={model}", *flags)[0] == 0
    assert command("evaluate", model, "--no-baselines")[0] == 0
    next(folder.glob("8/*.png")).unlink()
    for more in ([], ["--no-baselines"]):
        code, out, errors = command("evaluate", model, *more)
        assert (code, out) == (3, "")
        assert "the images have changed since the model was trained" in errors[-1]


def test_evaluate_says_that_training_images_have_changed(command, pictures, tmp_path):
    folder, model = tmp_path / "images", tmp_path / "model"
    shutil.copytree(pictures / "8", folder)
    assert command("train", folder, f"--out={model}", *tiny_flags(), "--fpr=0.2", "-q")[0] == 0
    next(folder.glob("*.png")).unlink()
    code, _, errors = command("evaluate", model, pictures, "--class=8")
    assert code == 0
    assert "the other methods learn from other images than the model did" in errors


# ---- info and data -------------------------------------------------------------------------------


def test_info_on_a_model(command, trained, model):
    code, out, _ = command("info", trained / "one")
    assert code == 0
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert lines["model of"].strip() == "class 8 of digits, protocol 1"
    assert lines["preset"].strip() == "default, stage +mining"
    assert lines["trained on"].strip().startswith("111 images, 14 for the checkpoint")
    code, out, _ = command("info", trained / "one", "--json")
    content = json.loads(out)
    assert content == json.loads((trained / "one" / "model.json").read_text())
    assert "images given in Python" in command("info", model)[1]


def test_info_on_the_installation(command):
    code, out, _ = command("info")
    assert code == 0
    assert out.startswith("pyocgan ")
    code, out, _ = command("info", "--json")
    content = json.loads(out)
    assert content["presets"]["paper"] == resolve("paper", {}).to_dict()
    assert content["environment"]["torch"]


def test_data_lists_the_named_sets(command, tmp_path):
    code, out, _ = command("data", "--data-root", tmp_path)
    assert code == 0
    lines = [re.split("  +", line) for line in out.splitlines()]
    assert lines[0] == ["name", "title", "where"]
    assert ["mnist", "MNIST", "ocgan data fetch mnist"] in lines
    assert lines[-1][0] == "digits"
    assert lines[-1][-1] == "built in"
    _, out, _ = command("data", "--data-root", tmp_path, "--json")
    sets = [json.loads(line) for line in out.splitlines()]
    assert [one["name"] for one in sets] == [line[0] for line in lines[1:]]
    assert sets[0] == {"name": "mnist", "title": "MNIST", "folder": None}


def test_data_describe_sees_what_training_would(command, pictures, tmp_path):
    """What no header shows: damage, copies, and the size that the sound images ask for."""
    own = shutil.copytree(pictures / "8", tmp_path / "own")
    shutil.copy(own / "00.png", own / "copy.png")
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8))
    large.save(own / "large.png")
    (own / "large.png").write_bytes((own / "large.png").read_bytes()[:-4000])
    code, out, errors = command("data", "describe", own)
    assert code == 0
    assert "8×8" in out.splitlines()[1]
    assert "1 of 31 images is a copy of another: each counts once" in out.splitlines()
    tested = command("data", "describe", own, "--split", "test")[1]
    assert "1 of 31 images is a copy of another: in a test they count as often" in tested
    assert len(errors) == 2
    assert errors[0] == "1 of 32 images cannot be read:"
    assert errors[1].startswith("large.png cannot be read: it ")
    code, out, errors = command("data", "describe", own, "--json")
    assert (code, errors) == (0, [])
    content = json.loads(out)
    assert (content["images"], content["classes"], content["copies"]) == (32, None, 1)
    assert content["image_rule"]["image_size"] == [8, 8]
    assert [one["path"] for one in content["unreadable"]] == ["large.png"]


def test_a_part_that_is_not_there_is_not_described_in_silence(command, pictures):
    _, out, errors = command("data", "describe", pictures, "--split=test")
    assert out.splitlines()[0] == "folder of 60 images in 2 classes (1, 8)"
    assert errors == ["it has no test part: these are all of its images"]
    assert command("data", "describe", "digits", "--split=test")[2] == []


def test_a_folder_of_a_test_part_alone_is_described(command, pictures, tmp_path):
    shutil.copytree(pictures / "8", tmp_path / "test" / "good")
    code, out, errors = command("data", "describe", tmp_path, "--split=test")
    assert (code, errors) == (0, [])
    assert "30 images" in out


def test_data_describe(command, pictures):
    code, out, errors = command("data", "describe", pictures)
    assert (code, errors) == (0, [])
    lines = out.splitlines()
    assert lines[0] == "folder of 60 images in 2 classes (1, 8)"
    assert "8×8" in lines[1]
    assert [line.split() for line in lines[-3:]] == [["class", "images"], ["1", "30"], ["8", "30"]]
    _, out, _ = command("data", "describe", pictures, "--json")
    assert json.loads(out)["classes"] == {"1": 30, "8": 30}


# ---- help and wrong usage ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "demo", "train", "predict", "evaluate", "info", "data", "data describe"]
)
def test_help_says_what_each_flag_means(command, name, monkeypatch):
    monkeypatch.setattr(app, "_console", Console(width=100))  # it keeps what it had first
    code, out, errors = command(*name.split(), "--help")
    assert (code, errors) == (0, [])
    assert out.startswith(f"Usage: ocgan {name}".rstrip())
    text = re.sub(r"[│╭╮╰╯─]", "", out)
    flags = re.findall(r"^ *\*? *((?:[A-Z-]+ )?--[a-z-]+.*(?:\n {20,}.*)*)", text, re.MULTILINE)
    assert flags
    for flag in flags:
        words = re.sub(r"(?:^|\s)-[-a-z]+|\[[^\]]*\]", " ", flag)
        assert re.search(r"[a-z]{3}", words), f"nothing is said about {flag!r}"


def test_help_of_train_lists_every_setting(command):
    out = " ".join(re.sub(r"[│╭╮╰╯─]", " ", command("train", "--help")[1]).split())
    for name, field in FIELDS.items():
        assert f" --{name.replace('_', '-')} " in out
        assert field.metadata["help"].split(",")[0] in out
    assert "[default: False]" not in out  # that a switch is off is no news


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ocgan tr", "train"),
        ("ocgan data de", "describe"),
        ("ocgan benchmark --pre", "--preset --precision"),
        ("ocgan train x --preset f", "fast"),
    ],
)
def test_a_shell_completes_words(command, tmp_path, line, offered):
    code, out, errors = command("completion", "bash")
    assert (code, errors) == (0, [])
    (tmp_path / "ocgan.bash").write_text(out)
    words = f"COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}; _ocgan"
    script = f'source {tmp_path}/ocgan.bash; {words}; echo "${{COMPREPLY[@]}}"'
    shell = ["bash", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == offered


def test_version(command):
    from pyocgan import __version__

    assert command("--version")[:2] == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], 'Did you mean "train"'),
        (["predict"], "MODEL"),
        (["predict", "model"], "IMAGES"),
        (["train", "digits"], "--out"),
        (["train", "digits", "--out=x", "--epoch=3"], "--epochs"),
        (["train", "digits", "--out=x", "--epochs=many"], "--epochs"),
        (["train", "digits", "--out=x", "--protocol=3"], "--protocol"),
        (["train", "digits", "--out=x", "--preset=large"], "--preset"),
        (["train", "digits", "--out=x", "--seed=-1"], "--seed"),
        (["train", "digits", "--out=x", "--image-size=big"], "image_size = 'big' must be"),
        (["train", "digits", "--out=x", "--image-size=4"], "image_size = 4 must be 8 to 256"),
        (["train", "digits", "--out=x", "--latent-widths=8,x"], "latent_widths = '8,x'"),
        (["train", "digits", "--out=x", "--class=80"], "unknown class '80'"),
        (["train", "digits", "--out=x", "--fpr=0"], "fpr = 0.0 must be"),
        (["train", "digits", "--out=x", "--device=gpu"], "device = 'gpu' must be one of"),
        (["train", "digits", "--out=x", "--class=8", "--class=3"], "--class"),
        (["train", "digits", "--out=x", "--protocol=2"], "--class NAME"),
        (["data", "fetch", "mnits"], "mnist"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, errors = command(*arguments)
    assert (code, out) == (2, "")
    assert errors[-1].startswith("ocgan: ")
    assert message in errors[-1]
    assert list(tmp_path.iterdir()) == []
