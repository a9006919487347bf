"""Whatever comes in: one line on standard error, the right exit code, nothing half-written."""

from __future__ import annotations

import csv
import io
import json
import shutil
import stat

import numpy as np
import pytest
from PIL import Image

from conftest import ocgan, tiny_flags
from data_fixtures import png_header, write_image, write_tree, zip_tree
from pyocgan import model_folder
from pyocgan.data import open_source
from pyocgan.errors import InputError, ModelError
from pyocgan.files import _UMASK, CsvWriter, replacing, write_json

FLAGS = ("--quiet", "--device=cpu", *tiny_flags())


def good(folder, count=30, **options):
    for seed in range(count):
        write_image(folder / f"{seed:02}.png", (9, 9), 1, seed, **options)
    return folder


def png_bytes():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), np.uint8)).save(
        buffer, "png"
    )
    return buffer.getvalue()


def with_file(name, content):
    def make(folder):
        good(folder)
        (folder / name).write_bytes(content)
        return folder

    return make


def array(values):
    def make(folder):
        folder.mkdir()
        np.save(folder / "x.npy", values)
        return folder / "x.npy"

    return make


def empty(folder):
    folder.mkdir()
    return folder


def text_only(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("no images here")
    return folder


def broken_zip(folder):
    path = zip_tree(good(folder / "images"), folder / "x.zip")  # beside them, not among them
    path.write_bytes(path.read_bytes()[:-200])
    return path


def list_of_nothing(folder):
    folder.mkdir()
    (folder / "list.txt").write_text("gone.png\n" * 30)
    return folder / "list.txt"


def pickled(folder):
    folder.mkdir()
    np.save(folder / "x.npy", np.array([{"a": 1}], object))
    return folder / "x.npy"


# What comes in, the exit code, and words of the message.
INPUTS = {
    "empty folder": (empty, 3, "holds no images"),
    "folder of text": (text_only, 3, "holds no images"),
    "nothing there": (lambda folder: folder / "gone", 3, "no file, no folder and no data set"),
    "truncated PNG": (with_file("99.png", png_bytes()[:3000]), 3, "99.png cannot be read: it is"),
    "empty file": (with_file("99.png", b""), 3, "99.png cannot be read: it is empty (0 bytes)"),
    "text named PNG": (with_file("99.png", b"hello\nworld"), 3, "is not a PNG, JPEG"),
    "500 megapixels": (
        with_file("99.png", png_header(20_000, 25_000)),
        3,
        "is 20000×25000 pixels, over the limit",
    ),
    "damaged JPEG": (with_file("99.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 99), 3, "99.jpg cannot"),
    "rows": (array(np.zeros((30, 81), np.uint8)), 3, "(30, 81)"),
    "four channels": (array(np.zeros((30, 9, 9, 4), np.uint8)), 3, "drop the transparency"),
    "channels first": (array(np.zeros((30, 3, 9, 9), np.uint8)), 3, "channels last"),
    "floats": (array(np.zeros((30, 9, 9))), 3, "uint8"),
    "NaN": (array(np.full((30, 9, 9), np.nan)), 3, "NaN"),
    "pickles": (pickled, 3, "is not a readable array file"),
    "no rows": (array(np.zeros((0, 9, 9), np.uint8)), 3, "it holds no images"),
    "cut zip": (broken_zip, 3, "x.zip"),
    "list of missing files": (list_of_nothing, 3, "gone.png cannot be read: it does not exist"),
}
# Of these, one alone is enough to score.
TOO_FEW = {
    "one image": (lambda folder: good(folder, 1), 3, "1 normal image cannot be calibrated"),
    "eight images": (lambda folder: good(folder, 8), 3, "8 normal images cannot be calibrated"),
    "one file": (lambda folder: good(folder, 1) / "00.png", 3, "1 normal image cannot"),
}


def check(result, code, words):
    given, out, errors = result
    said = [line for line in errors if line.startswith("ocgan: ")]
    assert given == code, errors
    assert out == ""
    assert said == errors[-1:], "one line, and the last one"
    assert words in said[0]
    assert not any("Traceback" in line for line in errors)
    assert len(said[0]) < 500


@pytest.mark.parametrize("case", (INPUTS | TOO_FEW).values(), ids=INPUTS | TOO_FEW)
def test_train(command, tmp_path, case):
    make, code, words = case
    source = make(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    check(command("train", source, "--out", tmp_path / "m", "--fpr=0.1", *FLAGS), code, words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("flags", [[], ["--protocol=2"]])
def test_a_class_that_a_copy_of_a_data_set_lacks(command, tmp_path, flags):
    paths = [f"{part}/{name}/0.jpg" for part in ("train", "test") for name in ("cat", "dog")]
    archive = tmp_path / "root" / "cifar10" / "cifar10_jpeg.zip"
    archive.parent.mkdir(parents=True)
    zip_tree(write_tree(tmp_path / "tree", paths), archive)
    given = ["cifar10", "--data-root", tmp_path / "root", "--class=frog", *flags]
    result = command("train", *given, "--out", tmp_path / "m", *FLAGS)
    check(result, 3, "no image of class 'frog' in CIFAR-10 (JPEG")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("case", INPUTS.values(), ids=INPUTS)
def test_predict(command, model, tmp_path, case):
    make, code, words = case
    source = make(tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    given, _, errors = command("predict", model, source)
    check((given, "", errors), code, words)
    check(command("predict", model, source, "--out", tmp_path / "s.csv"), code, words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "data describe"])
def test_every_command_on_what_is_not_there(command, model, tmp_path, name):
    arguments = {
        "train": ["gone", "--out", tmp_path / "m"],
        "evaluate": [model, "gone", "--class=8"],
        "predict": [model, "gone"],
        "data describe": ["gone"],
    }[name]
    check(command(*name.split(), *arguments), 3, "'gone' is no file, no folder and no data set")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_argument_is_not_the_present_folder(command, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path, ["a.png"])
    words = (["", "--out", "m"], [".", "--out", ""], [".", "--out="])[place]
    code, _, errors = command("train", *words)
    assert code == 2
    assert errors[-1].startswith("ocgan: an argument is empty")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(InputError, match="'' is no file"):
        open_source("")


def test_a_misspelt_name_is_corrected(command, tmp_path):
    result = command("train", "digist", "--out", tmp_path / "m")
    check(result, 3, "did you mean 'digits'")


def test_skipping_is_offered_and_none_left_is_said(command, model, tmp_path):
    folder = INPUTS["text named PNG"][0](tmp_path / "in")
    check(command("train", folder, "--out", tmp_path / "m", *FLAGS), 3, "--skip-unreadable")
    flags = (*FLAGS, "--skip-unreadable", "--fpr=0.1")
    code, _, errors = command("train", folder, "--out", tmp_path / "m", *flags)
    assert code == 0
    assert any(line.startswith("  left out: 99.png (is not a PNG") for line in errors)
    for path in folder.glob("*.png"):
        path.write_bytes(b"?")
    result = command("train", folder, "--out", tmp_path / "m2", *flags)
    check(result, 3, "none of 31 images can be read")


# ---- models --------------------------------------------------------------------------------------


def changed(change):
    def make(folder, model):
        shutil.copytree(model, folder)
        change(folder)

    return make


def edit(**changes):
    def change(folder):
        path = folder / "model.json"
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return change


def unfinished(folder, _):
    folder.mkdir()
    (folder / "checkpoint.safetensors").write_bytes(b"")


def cut(folder):
    path = folder / "model.json"
    path.write_bytes(path.read_bytes()[:100])


MODELS = {
    "empty folder": (lambda folder, _: folder.mkdir(), "is not a model: it has no model.json"),
    "a file": (lambda folder, _: folder.write_text("x"), "is not a model: it has no model.json"),
    "nothing": (lambda folder, _: None, "is not a model: it does not exist"),
    "unfinished": (unfinished, "is not a model: its training is not finished, and the same"),
    "newer": (changed(edit(format_version=7, pyocgan="9.9")), "use pyocgan 9.9, which wrote it"),
    "of no release": (changed(edit(format_version=1)), "reads 2: train anew"),
    "about a number": (changed(edit(about=3)), "is damaged"),
    "cut": (changed(cut), "is damaged"),
    "emptied": (changed(edit(config=None)), "is damaged"),
}


@pytest.mark.parametrize("name", ["predict", "evaluate", "info"])
@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS)
def test_models(command, model, tmp_path, case, name):
    make, words = case
    make(tmp_path / "model", model)
    images = [] if name == "info" else ["digits"]
    check(command(name, tmp_path / "model", *images), 1, words)


def test_a_model_without_weights(command, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    next((tmp_path / "model").glob("weights-*")).unlink()
    check(command("predict", tmp_path / "model", "digits"), 1, "lacks its weights, weights-")


def test_a_models_description_is_not_its_name(command, model):
    check(command("info", model / "model.json"), 1, f"name the folder '{model}'")


@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_weights_with_a_flipped_byte(command, model, tmp_path, name):
    shutil.copytree(model, tmp_path / "model")
    path = next((tmp_path / "model").glob("weights-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    check(command(name, tmp_path / "model", "digits"), 1, "its checksum is not the model's")


# ---- where results should go ---------------------------------------------------------------------


@pytest.mark.parametrize("out", ["file", "file/in/it", "/proc/nowhere/model"])
def test_train_into_what_cannot_be_written(command, tmp_path, out):
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = command("train", "digits", "--class=8", "--fpr=0.1", "--out", tmp_path / out, *FLAGS)
    check(result, 1, "cannot write ")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("out", ["file/s.csv", "/proc/nowhere/s.csv", "."])
@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_scores_into_what_cannot_be_written(command, model, tmp_path, name, out):
    (tmp_path / "file").write_text("mine")
    flags = (
        ["--out", tmp_path / out]
        if name == "predict"
        else ["--scores", tmp_path / out, "--class=8", "--no-baselines"]
    )
    check(command(name, model, "digits", *flags), 1, "cannot write ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_holds_a_model(command, model):
    before = {path: path.read_bytes() for path in model.iterdir()}
    result = command("train", "digits", "--class=8", "--fpr=0.1", "--out", model, *FLAGS)
    check(result, 2, "holds a model already")
    assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_a_disk_that_is_full_in_the_midst_of_training(command, tmp_path, monkeypatch):
    from pathlib import Path

    replace = Path.replace

    def full(self, target):
        if Path(target).name in ("log.jsonl", "checkpoint.safetensors"):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    result = command("train", "digits", "--class=8", "--fpr=0.1", "--out", tmp_path / "m", *FLAGS)
    check(result, 1, "No space left on device")
    assert not list((tmp_path / "m").glob(".*"))


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    scores = tmp_path / "scores.json"
    write_json(scores, 1)
    assert stat.S_IMODE(scores.stat().st_mode) == 0o666 & ~_UMASK
    scores.chmod(0o600)
    write_json(scores, 2)
    assert stat.S_IMODE(scores.stat().st_mode) == 0o600


def test_a_loop_of_links_where_to_write(command, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    result = command(
        "train", "digits", "--class=8", "--fpr=0.1", "--out", tmp_path / "loop", *FLAGS
    )
    check(result, 1, "cannot write")


def test_a_name_that_is_too_long_to_be_written(command, tmp_path):
    out = tmp_path / ("m" * 300)
    result = command("train", "digits", "--class=8", "--fpr=0.1", "--out", out, *FLAGS)
    check(result, 1, "File name too long")


# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("epoch: 3", "unknown setting 'epoch': did you mean 'epochs'"),
        ("epochs: [", "is not YAML"),
        ("epochs: 0", "epochs = 0 must be at least 1"),
        ("just words", "must be lines such as epochs: 50"),
    ],
)
def test_config_files(command, tmp_path, content, words):
    if content is not None:
        (tmp_path / "c.yaml").write_text(content)
    out = ("--out", tmp_path / "m", "--fpr=0.1", "--class=8", "--config", tmp_path / "c.yaml")
    check(command("train", "digits", *out), 2, words)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("value", ["many", "[", "0", "- x"])
def test_environment(command, tmp_path, monkeypatch, value):
    monkeypatch.setenv("OCGAN_EPOCHS", value)
    result = command("train", "digits", "--out", tmp_path / "m", "--fpr=0.1", "--class=8")
    check(result, 2, "epochs = ")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--class=eight"], 2, "unknown class 'eight'"),
        (["--class=8", "--fpr=0.001"], 3, "that needs 1,998 or more"),
        (["--class=8", "--fpr=1e-320"], 2, "must be a false-alarm rate between 1e-09 and 1"),
        (["--class=8", "--fpr=nan"], 2, "must be a false-alarm rate between 1e-09 and 1"),
        (["--class=8", "--fpr=0.1", "--noise-variance=inf"], 2, "noise_variance = inf must be"),
        (["--class=8", "--fpr=0.1", "--validation-fraction=0.5"], 2, "and at most 0.4"),
    ],
)
def test_flags(command, tmp_path, flags, code, words):
    check(command("train", "digits", "--out", tmp_path / "m", *flags), code, words)
    assert list(tmp_path.iterdir()) == []


def test_a_real_process_agrees(tmp_path):
    done = ocgan("train", tmp_path, "--out", tmp_path / "m")
    check((done.returncode, done.stdout, done.stderr.splitlines()), 3, "holds no images")


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "plain"])
def test_any_name_comes_back_from_csv(name):
    file = io.StringIO(newline="")
    rows = CsvWriter(file)
    rows.row(["path", "score"])
    rows.row([name, 1])
    text = file.getvalue()
    assert [*csv.reader(io.StringIO(text, newline=""))] == [["path", "score"], [name, "1"]]
    assert text.startswith("path,score\n")
    assert text.endswith(",1\n")


def test_weights_without_permission_say_so(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    with pytest.raises(ModelError, match=r"^cannot read '.*w\.safetensors': Permission denied$"):
        model_folder.read_weights(tmp_path, {"weights": "w.safetensors"})


def test_an_error_of_a_file_that_is_read_does_not_blame_the_one_that_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"), replacing(tmp_path / "out.csv"):
        (tmp_path / "gone.png").read_bytes()
    assert not (tmp_path / "out.csv").exists()
