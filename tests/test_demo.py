"""`ocgan demo`, with networks too small to learn much: its data, its honesty, its page."""

import html
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pyocgan.demo import SETTINGS, STAGES, Demo, latent_square
from pyocgan.demo_page import write_demo_page

TINY = SETTINGS | {
    "autoencoder_width": 4,
    "classifier_width": 4,
    "visual_width": 4,
    "epochs": 2,
    "batch_size": 32,
}


@pytest.fixture(scope="module")
def run():
    demo = Demo(settings=TINY)
    for key in STAGES:
        assert [p.record.epoch for p in demo.train(key) if p.record] == [1, 2]
    demo.measure_baselines()
    return demo


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    run.save(folder)
    return folder


def test_only_eights_are_learned_and_none_of_them_is_tested(run):
    labels = run.images.labels
    assert set(labels[run.train_rows]) == {"8"}
    assert not set(run.train_rows) & set(run.test_rows)
    assert len(run.train_rows) + len(run.test_rows) == len(labels) == 1797


def test_both_networks_differ_in_their_stage_alone(run):
    ae, ocgan = (run.detectors[key].config_.to_dict() for key in ("ae", "ocgan"))
    assert {name for name in ae if ae[name] != ocgan[name]} == {"stage"}
    assert run.detectors["ae"].split_ == run.detectors["ocgan"].split_


def test_numbers_are_those_of_the_scores(folder):
    summary = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "demo.npz")
    is_novel = arrays["labels"] != "8"
    assert [m["key"] for m in summary["methods"]] == [
        "ae", "ocgan", "knn", "knn_cosine", "knn_gradients", "pca",
    ]  # fmt: skip
    for method in summary["methods"]:
        scores = arrays[f"scores_{method['key']}"]
        assert method["auroc_all"] == pytest.approx(roc_auc_score(is_novel, scores))
        ones = ~is_novel | (arrays["labels"] == "1")
        assert method["auroc"]["1"] == pytest.approx(roc_auc_score(is_novel[ones], scores[ones]))
        if method["threshold"] is not None:
            rate = float((scores[is_novel] > method["threshold"]).mean())
            assert method["detection_rate"] == pytest.approx(rate)


def test_baselines_reach_what_they_reach_on_digits(run):
    """Known answers; the page would show any change of a baseline as ours gaining on it."""
    auroc = {m["key"]: m["auroc_all"] for m in run.methods}
    assert auroc["knn"] == pytest.approx(0.987, abs=0.002)
    assert auroc["knn_gradients"] == pytest.approx(0.996, abs=0.002)


def test_latent_square_has_its_corners_in_the_cube(run):
    square = latent_square(run.detectors["ocgan"], 0, side=4)
    assert square.shape == (4, 4, 8, 8, 1)
    corners = np.random.default_rng(0).uniform(-1, 1, (2, 2, 16)).astype(np.float32)
    decoded = run.detectors["ocgan"].decode(corners.reshape(4, 16))
    assert np.array_equal(square[[0, 0, 3, 3], [0, 3, 0, 3]], decoded)


def test_page_is_made_of_the_two_files(folder):
    page = write_demo_page(folder).read_text(encoding="utf-8")
    assert "Trained on the digit 8 alone" in page
    assert {p.name for p in folder.iterdir()} >= {"reconstructions.png", "scores.png", "walk.png"}


def test_the_command_prints_the_table_of_the_readme_and_its_page(command, tmp_path, monkeypatch):
    for name, value in TINY.items():
        monkeypatch.setitem(SETTINGS, name, value)
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["ocgan", "demo", "--out", "my demo"])
    code, out, errors = command("demo", "--out", tmp_path / "demo", "--quiet")
    torch.set_num_threads(threads)
    assert code == 0
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"\$ time ocgan demo\n(.*?)```", readme, re.DOTALL)
    trained, table = shown.split("\n\n")[0].split("AUROC, 8")
    assert errors == trained.splitlines()
    printed, page = out.rstrip("\n").split("\n\n")
    assert words_before_numbers(printed) == words_before_numbers("AUROC, 8" + table)
    assert Path(page) == tmp_path / "demo" / "index.html"
    drawn = Path(page).read_text(encoding="utf-8")
    assert "<html" in drawn
    assert "ocgan demo --out 'my demo'" in html.unescape(drawn)


def words_before_numbers(table):
    return [re.split(r"\s+[01]\.\d{3}", line)[0].rstrip() for line in table.splitlines()]
