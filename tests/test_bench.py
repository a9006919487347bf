"""The timings: the yardsticks are the same algorithm, and `make bench` runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import defects, rules, unexplained
from benchmarks.bench import QUICK
from benchmarks.parts import ADAM, PARTS, parts_of_a_step
from benchmarks.timing import Timings, alternate
from benchmarks.work import YARDSTICKS, Scale, training
from pyocgan import algorithm
from pyocgan.baselines import BASELINES
from pyocgan.cli import run
from pyocgan.images import to_range
from pyocgan.networks import build

ROOT = Path(__file__).parent.parent
TINY = Scale("cpu", image_size=16, settings=QUICK, budget=0.0)


def losses(iterate, mining=True):
    """The losses of three iterations from one start, the same for every `iterate`."""
    config = TINY.config()
    nets = build(config, 1, (16, 16), torch.Generator().manual_seed(0)).train()
    optimizers = algorithm.build_optimizers(config, nets)
    draws = torch.Generator().manual_seed(1)
    x = to_range(torch.from_numpy(TINY.images(32)))
    options = {"generator": draws, "mining": mining}
    return [iterate(nets, optimizers, x, config, **options) for _ in range(3)]


@pytest.mark.parametrize("name", YARDSTICKS)
def test_a_yardstick_is_the_same_algorithm(name):
    expected = losses(algorithm.iterate)
    for ours, theirs in zip(expected, losses(YARDSTICKS[name]), strict=True):
        assert ours.keys() == theirs.keys()
        for loss, value in ours.items():
            torch.testing.assert_close(theirs[loss], value, rtol=1e-3, atol=1e-4, msg=loss)


def test_that_comparison_sees_mining():
    with_it, without = losses(algorithm.iterate), losses(algorithm.iterate, mining=False)
    difference = with_it[-1]["fool_visual"] - without[-1]["fool_visual"]
    assert abs(difference) > 1e-3


def test_cases_take_turns_and_ratios_are_of_one_round():
    called = []
    cases = {name: (lambda name=name: called.append(name)) for name in "ab"}
    timings = alternate(cases, torch.device("cpu"), budget=0, rounds=(2, 9))
    assert called == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(seconds) for name, seconds in timings.seconds.items()} == {"a": 2, "b": 2}
    known = Timings({"slow": [2.0, 30.0, 4.0], "fast": [1.0, 10.0, 2.0]})
    assert (known.median("slow"), known.ratio("slow", to="fast")) == (4.0, 2.0)


def test_every_part_of_a_step_is_seen():
    seconds = parts_of_a_step(training(TINY, iterations=5), 3)
    assert list(seconds) == [*PARTS, ADAM]
    assert min(seconds.values()) > 0
    assert seconds["mining"] > seconds[PARTS[0]]


def test_bench_prints_two_lines_for_programs(tmp_path):
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--quick", "--json", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    last = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert [name for name, _ in last] == ["train-step-ratio", "score-ratio"]
    for name, value in last:
        assert float(value) > 0
        assert float(value) == pytest.approx(figures[name], abs=0.001)
    assert {"machine", "torch", "threads", "commit", "created"} <= figures["about"].keys()


def test_scores_of_the_development_split_are_printed_alone_and_in_sums():
    settings = ["epochs=1", "autoencoder_width=4", "turn_width=4", "scores=gradients,windows"]
    command = [sys.executable, "-m", "benchmarks.scores", "digits", "--classes", "8,1"]
    command += ["--set", *settings, "--sum", "1*windows", "2*windows+0.5*gradients"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    head, _, *rows = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()
    )
    assert head == ["class", "gradients", "windows", "sum", "1*windows", "2*windows+0.5*gradients"]
    assert [row[0] for row in rows] == ["8", "1", "mean"]
    for row in rows:
        assert row[2] == row[4]
        assert float(row[2]) > 0.9
        assert float(row[5]) > 0.9
    assert float(rows[2][1]) == pytest.approx((float(rows[0][1]) + float(rows[1][1])) / 2, abs=1e-4)


def test_wrong_images_are_ranked_in_every_way():
    command = [sys.executable, "-m", "benchmarks.mistakes", "digits", "--classes", "8"]
    command += ["--images=60", "--wrong=3", "--parts=2", "--set", "epochs=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    head, _, row = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()
    )
    assert head[1:3] == ["learned, then ranked", "`suspicion`"]
    assert len(head) == len(row) == 3 + len(BASELINES)
    assert row[0] == "8"
    assert all(re.fullmatch(r"(1\.000|\.\d{3}), [0-3] of 3", cell) for cell in row[1:])


def test_small_defects_are_drawn_and_found(tmp_path):
    picture = tmp_path / "defects.png"
    command = [sys.executable, "-m", "benchmarks.defects", "--quick", "--picture", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    table, _, places = done.stdout.partition("\n\n")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert rows[0] == ["pictures", "score", "AUROC", "scratch", "spot", "stain", "smear"]
    assert re.findall(r"^- (\w+): pixels 0\.\d+, the hot", places, re.M) == [*defects.DRAWN]
    found = {(row[0], row[1]): float(row[2]) for row in rows[2:]}
    assert len(found) == 3 * (1 + 6 + 4), "the sum, its scores, and the training-free methods"
    assert found["fabric", "patches"] > 0.95
    with Image.open(picture) as drawn:
        assert drawn.size == (12 * 228 - 4, 2 * 228 - 4)


def test_where_a_defect_was_found_is_measured_on_its_pixels():
    kinds, rng = ["spot", "scratch"], np.random.default_rng(0)
    found = defects.task(defects.fabric, defects.fabric, kinds, rng, trained=1)
    assert 20 < found.is_spoiled.sum((1, 2)).min() < found.is_spoiled.sum((1, 2)).max() < 1000
    heat = np.concatenate([np.zeros_like(found.is_spoiled), found.is_spoiled]).astype(np.float32)
    for own, words in (
        (heat, "pixels 1.000, the hottest on or by the defect in 2 of 2"),
        (1 - heat, "pixels 0.000, the hottest on or by the defect in 0 of 2"),
    ):
        assert defects.where(own, found) == words


def test_faults_are_drawn_on_pieces_of_photographs():
    command = [sys.executable, "-m", "benchmarks.defects", "--quick", "--pictures", "retina"]
    command += ["--faults", "others"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table]
    assert rows[0][3:] == [*defects.OTHERS]
    assert {row[0] for row in rows[2:]} == {"retina"}
    hole = {row[1]: float(row[3]) for row in rows[2:]}
    assert hole["patches"] == 1


@pytest.mark.parametrize("fault", [*defects.DEFECTS, *defects.OTHERS])
def test_a_fault_is_small_and_somewhere_else_each_time(fault):
    rng = np.random.default_rng(0)
    places = []
    for _ in range(4):
        picture = defects.fabric(rng)
        spoiled = defects.SPOIL[fault](picture, fault, rng)
        assert spoiled.shape == picture.shape
        changed = np.abs(spoiled - picture).max(2) > 0.02
        assert 5 < changed.sum() < 0.08 * changed.size
        places.append(np.argwhere(changed).mean(0))
    assert np.std(places, axis=0).max() > 10


def test_images_that_nothing_was_chosen_on(tmp_path):
    fonts, picture = tmp_path / "fonts", tmp_path / "images.png"
    fonts.mkdir()
    for path in Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVuS*.ttf"):
        shutil.copy(path, fonts)  # three families and one of few letters
    (fonts / "DejaVuSansDisplay.ttf").unlink()
    command = [sys.executable, "-m", "benchmarks.unseen", "--quick", "--seeds", "0"]
    command += ["--fonts", str(fonts), "--letters", "ΓΔΘ", "--picture", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in done.stdout.splitlines()]
    found = {row[0]: [float(cell.split(" ±")[0]) for cell in row[1:]] for row in rows[2:]}
    assert [*found] == ["faces", "brick", "grass", "gravel", "letters"]
    assert {len(values) for values in found.values()} == {1 + len(BASELINES)}
    assert found["faces"][0] > 0.95
    assert found["letters"][0] > 0.9
    with Image.open(picture) as drawn:
        assert drawn.size == (9 * 132 - 4, 10 * 132 - 4), "nine normal and nine novel of each"


def test_rules_choose_among_models():
    settings = ["stage=ae", "epochs=3", "batch_size=16", "autoencoder_width=4"]
    command = [sys.executable, "-m", "benchmarks.rules", "digits", "--classes", "8,1"]
    command += ["--vary", "latent_size=2,8", "--set", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    tables = [
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        for table in done.stdout.split("\n\n")
    ]
    assert [row[0] for row in tables[0]] == ["latent_size", "---", "2", "8"]
    assert {len(row) for table in tables for row in table} == {5, 6}
    by_rule = {row[0]: row for row in tables[1]}
    names = ["lowest validation error", "last epoch", *rules.NEGATIVES, "decoded samples"]
    assert {*names} < by_rule.keys()
    assert by_rule["last epoch"][5] == "2, 3; 2, 3"
    best = [float(cell) for cell in by_rule["*best by the answers*"][1:3]]
    for name in names:
        assert all(float(a) <= b for a, b in zip(by_rule[name][1:3], best, strict=True))


def test_errors_of_kept_scores_are_set_beside_what_there_was_to_reconstruct(tmp_path, capsys):
    grid = ["benchmark", "--dataset", "digits", "--protocol", "1", "--method", "pca"]
    assert run([*grid, "--classes", "8,1", "--out", str(tmp_path), "-q"]) == 0
    capsys.readouterr()
    folder = ["--protocol", "1", "--cells", str(tmp_path), "--methods"]
    unexplained.main(["digits", *folder, "pca"])
    head, _, *rows, mean = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in capsys.readouterr().out.splitlines()
    )
    assert head == ["class, seed", "pca: error", "unexplained"]
    stored = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("class-*.json"))]
    assert rows == [
        [f"{cell['class']}, 0", f"{cell['auroc']:.4f}", row[2]]
        for cell, row in zip(stored, rows, strict=True)
    ]
    assert float(mean[2]) == pytest.approx(np.mean([float(row[2]) for row in rows]), abs=1e-4)
    assert all(0.9 < float(row[2]) <= 1 for row in rows)
    assert rows[1][1] != rows[1][2]
    with pytest.raises(SystemExit):
        unexplained.main(["digits", *folder, "pc"])
    assert "no results in" in capsys.readouterr().err


def test_a_share_unexplained_does_not_depend_on_contrast():
    images = np.random.default_rng(0).integers(60, 196, (40, 6, 6, 1)).astype(np.uint8)
    is_novel = np.arange(40) % 2 == 1
    share = np.where(is_novel, 0.3, 0.2)
    faint = np.where(is_novel, 0.25, 1)  # what is novel has less contrast
    pixels = np.round(127.5 + (images - 127.5) * faint[:, None, None, None]).astype(np.uint8)
    variance = (pixels / 127.5).reshape(40, -1).var(1)
    assert unexplained.both(share * variance, pixels, is_novel) == pytest.approx((0, 1))
    assert np.isfinite(unexplained.both(share, np.zeros_like(pixels), is_novel)).all()


def test_negatives_are_made_of_images_of_the_class():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 6, 6, 1), np.uint8)
    for name, make in rules.NEGATIVES.items():
        made = make(images, np.random.default_rng(0))
        assert made.shape == images.shape
        assert made is not images
        changed = (made != images).any((1, 2, 3))
        assert changed.all() == (name != "turned"), name
    assert (images.max((1, 2, 3)) == np.arange(5)).all(), "untouched"
    marked = images.copy()
    marked[:, 0, 0] = 9
    assert (rules.turned(marked, np.random.default_rng(0))[:, -1, 0] == 9).all()


@pytest.mark.parametrize(("liked", "expected"), [([1, 2, 3], 1), ([3, 2, 1], -1), ([1, 1, 1], 0)])
def test_agreement_is_a_rank_correlation(liked, expected):
    models = [
        rules.Model("16", n, 0.1, {"rule": value}, auroc)
        for n, (value, auroc) in enumerate(zip(liked, (0.7, 0.8, 0.95), strict=True))
    ]
    assert rules.agreement(models, "rule") == pytest.approx(expected)
    assert rules.chosen(models, "rule").auroc == {1: 0.95, -1: 0.7, 0: 0.7}[expected]
