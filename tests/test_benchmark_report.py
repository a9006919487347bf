"""The page and the tables of a benchmark: numbers as measured, sentences as the numbers say."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from data_fixtures import write_tree
from pyocgan import charts, figures
from pyocgan.benchmark import summarise
from pyocgan.benchmark_report import (
    bootstrap,
    examples,
    page,
    paper_numbers,
    results_page,
    write_benchmark_page,
)
from pyocgan.benchmark_report.bootstrap import Interval
from pyocgan.benchmark_report.layout import grid
from pyocgan.benchmark_report.tables import read_cells, read_summaries
from pyocgan.benchmark_report.verdict import (
    PRESETS_TEXT,
    data_seen,
    headline,
    notes,
    on_seeds,
    sentences,
    verdict,
)
from pyocgan.cli import run
from pyocgan.config import COLOUR_PRESETS, PRESETS, Config
from pyocgan.errors import InputError, UsageError

ROOT = Path(__file__).parent.parent
DIGITS = tuple("0123456789")
IMAGES = {
    "source": "set",
    "description": "images",
    "caveat": "",
    "image_rule": "as they are",
    "rule": {"image_size": [8, 8], "channels": 1, "bits": 16},
    "checksum": {"test": "c"},
}
STAGES = {
    "paper-ae": "ae",
    "paper-latent": "+latent",
    "paper-visual": "+visual",
    "paper": "+mining",
    "default": "+latent",
}
ABLATION = tuple(STAGES)[:4]
CHANGES = {method: {"stage": STAGES[method]} for method in ABLATION[:3]}


def write_cell(
    folder, method, name, seed=0, *, shift=2.0, task=("mnist", 2), classes=DIGITS, **changes
):
    """Write one cell of 20 normal and 20 novel images whose scores are `shift` apart."""
    dataset, protocol = task
    generator = np.random.default_rng([classes.index(name), seed, *method.encode()])
    is_novel = np.arange(40) % 2 == 1
    score = generator.normal(size=40) + shift * is_novel
    other = classes[(classes.index(name) + 1) % len(classes)]
    is_ocgan = method.startswith(("paper", "default"))
    figures_ = {"auroc": float(roc_auc_score(is_novel, score)), "aupr": 0.5, "fpr_at_95_tpr": 0.25}
    result = {
        "format": "pyocgan cell",
        "dataset": dataset,
        "protocol": protocol,
        "class": name,
        "seed": seed,
        "method": method,
        "title": f"OCGAN ({method})" if is_ocgan else f"The {method}",
        "kind": "ocgan" if is_ocgan else "baseline",
        "preset": method.partition("-")[0] if is_ocgan else None,
        "changes": CHANGES.get(method, {}),
        "is_random": is_ocgan,
        "config": {"stage": STAGES.get(method, "+mining"), "width": 64} if is_ocgan else {"k": 5},
        "classes": list(classes),
        "data": {"train": "0", "test": "1"},
        "images": IMAGES | {"source": dataset},
        "n_train": 9,
        "n_test": 40,
        **figures_,
        "seconds": {"fit": 1.0, "score": 0.5},
        "command": f"ocgan benchmark --dataset {dataset} --method {method}",
        "commit": "c0ffee",
        "environment": {"machine": "2 × something", "created": "2026-01-02T03:04:05Z"},
    } | changes
    path = folder / dataset / f"protocol{protocol}" / method / f"class-{name}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result), encoding="utf-8")
    labels = np.where(is_novel, other, name)
    arrays = {"index": np.arange(40), "label": labels, "is_novel": is_novel, "score": score}
    np.savez(path.with_suffix(".npz"), **arrays)
    return path


def write_method(folder, method, seeds=(0,), **options):
    classes = options.get("classes", DIGITS)
    return [write_cell(folder, method, name, s, **options) for name in classes for s in seeds]


def only_table(folder):
    return read_cells(folder)[0][0]


def set_auroc(paths, value):
    """Say another AUROC in results, whatever their scores are."""
    for path in paths:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auroc": value}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole ablation and two methods without training, on MNIST's protocol 2."""
    folder = tmp_path_factory.mktemp("grid")
    for number, method in enumerate(ABLATION):
        write_method(folder, method, seeds=(0, 1), shift=1.0 + 0.2 * number)
    write_method(folder, "knn", shift=4.0)
    write_method(folder, "pca", shift=0.5)
    return folder


@pytest.fixture(scope="module")
def html(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    return write_benchmark_page(folder, out).read_text(encoding="utf-8")


@pytest.fixture
def dots(monkeypatch):
    """Draw every picture as one grey dot, for tests of the text."""
    dot = figures.png_bytes(Image.new("L", (2, 2), 128))
    drawings = page._drawings
    monkeypatch.setattr(
        page, "_drawings", lambda *given: dict.fromkeys(drawings(*given), lambda *_: dot)
    )


def text_of(html):
    plain = re.sub(r"<(style|head).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(plain.replace("&#39;", "'").split())


def cells_of(html, method):
    (row,) = re.findall(rf'<tr data-method="{method}">(.*?)</tr>', html, re.DOTALL)
    return re.findall(r'<td class="([^"]*)">([\d.–]+)', row)


# --- bootstrap ------------------------------------------------------------------------------------


def scores_with_ties(seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 12, 30) / 1.0, generator.integers(4, 16, 50) / 1.0


def rows_of(normal, novel, first=0):
    return np.split(np.arange(first, first + len(normal) + len(novel)), [len(normal)])


def test_auroc_is_scikit_learns_with_and_without_ties():
    generator = np.random.default_rng(1)
    for normal, novel in (
        scores_with_ties(),
        (generator.normal(size=70), generator.normal(1, 1, 9)),
    ):
        truth = np.repeat([0, 1], [len(normal), len(novel)])
        wanted = roc_auc_score(truth, np.concatenate([normal, novel]))
        assert bootstrap.auroc(normal, novel) == pytest.approx(wanted, abs=1e-12)


def test_weighted_aurocs_are_scikit_learns():
    normal, novel = scores_with_ties()
    generator = np.random.default_rng(2)
    weights = [generator.integers(0, 4, (20, len(s))).astype(np.uint8) for s in (normal, novel)]
    found = bootstrap.weighted_aurocs(normal, novel, *weights)
    truth = np.repeat([0, 1], [len(normal), len(novel)])
    both = np.concatenate([normal, novel])
    wanted = [
        roc_auc_score(truth, both, sample_weight=np.concatenate(pair))
        for pair in zip(*weights, strict=True)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_interval_is_that_of_a_share():
    """With all novel scores equal, the AUROC is the share of normal ones below: p ± √(pq/n)."""
    normal, novel = np.repeat([0.0, 2.0], [320, 80]), np.ones(50)
    resampled = bootstrap.resampled_aurocs(normal, novel, *rows_of(normal, novel))
    assert resampled.shape == (1000,)
    assert resampled.mean() == pytest.approx(0.8, abs=0.002)
    assert resampled.std() == pytest.approx(0.02, rel=0.1)
    interval = Interval.of(resampled)
    assert (interval.low, interval.high) == pytest.approx((0.7608, 0.8392), abs=0.005)


def test_there_is_no_interval_where_all_are_apart():
    normal, novel = np.zeros(5), np.ones(4)
    found = bootstrap.resampled_aurocs(normal, novel, *rows_of(normal, novel))
    assert (found == 1).all()
    assert Interval.of(found) is None
    assert Interval.of(0.3 * found + np.resize([0, 1e-17], 1000)) is None, "but for rounding"


def test_an_image_is_drawn_as_often_in_every_cell():
    normal, novel = scores_with_ties()
    rows = rows_of(normal, novel, first=9_980)  # of two blocks
    order = np.random.default_rng(5).permutation(len(normal))
    once = bootstrap.resampled_aurocs(normal, novel, *rows)
    again = bootstrap.resampled_aurocs(normal[order], novel, rows[0][order], rows[1])
    other = bootstrap.resampled_aurocs(normal, novel, rows[0] + 1000, rows[1] + 1000)
    np.testing.assert_allclose(once, again, atol=1e-12)
    assert abs(np.corrcoef(once, other)[0, 1]) < 0.2


def test_few_images_may_be_drawn_not_at_all():
    normal, novel = np.array([0.0, 2.0]), np.array([1.0])
    found = bootstrap.resampled_aurocs(normal, novel, *rows_of(normal, novel))
    assert set(np.unique(found)) >= {0, 0.5, 1}
    assert np.isfinite(found).all()


def test_intervals_hold_the_mean_of_seeds_that_share_images():
    """Splits of one small data set: seeds draw from the same images, and err together."""
    generator = np.random.default_rng(6)
    covered = 0
    for number in range(60):
        scores = np.concatenate([generator.normal(size=100), generator.normal(1, 1, 100)])
        means = np.zeros(bootstrap.RESAMPLES)
        for _ in range(10):
            drawn = generator.permutation(100)[:40], 100 + generator.permutation(100)[:40]
            rows = tuple(part + 200 * number for part in drawn)
            means += bootstrap.resampled_aurocs(*(scores[part] for part in drawn), *rows) / 10
        interval = Interval.of(means)
        covered += interval.low <= 0.7602 <= interval.high  # Φ(1/√2)
    assert covered >= 51, "95 % of 60; 80 % where seeds are drawn apart"


def test_large_cells_are_thinned_around_their_own_auroc(monkeypatch):
    generator = np.random.default_rng(3)
    normal, novel = generator.normal(size=400), generator.normal(1, 1, 800)
    rows = rows_of(normal, novel)
    whole = bootstrap.resampled_aurocs(normal, novel, *rows)
    monkeypatch.setattr(bootstrap, "MOST_IMAGES", 100)
    part = bootstrap.resampled_aurocs(normal, novel, *rows)
    assert len(bootstrap.thinned(novel)) == 100
    assert part.mean() == pytest.approx(whole.mean(), abs=0.005)
    assert 1.7 < part.std() / whole.std() < 3.3


@pytest.mark.parametrize("most", [10_000, 100])
def test_the_interval_of_a_difference_is_that_of_the_same_images(monkeypatch, most):
    """Two methods that err on the same images hardly differ; on others, they may by chance.

    By hand, with all novel scores equal: the AUROC is the share of normal images below.
    """
    monkeypatch.setattr(bootstrap, "MOST_IMAGES", most)
    one = np.repeat([0.0, 2.0, 0.0, 2.0], [160, 40, 160, 40])
    novel = np.ones(50)
    same, apart = one.copy(), np.roll(one, 100)
    rows = rows_of(one, novel)
    first, *others = (
        bootstrap.resampled_aurocs(normal, novel, *rows) for normal in (one, same, apart)
    )
    alike, unlike = (Interval.of(first - other) for other in others)
    assert alike is None
    step = max(1, 400 // most)
    half = 1.96 * (0.4 / (400 / step)) ** 0.5  # 40 % of the images count +1 or -1
    assert (unlike.low, unlike.high) == pytest.approx((-half, half), rel=0.15)


def test_roc_curves_give_the_auroc():
    normal, novel = (
        np.random.default_rng(4).normal(size=300),
        np.random.default_rng(5).normal(1, 1, 90),
    )
    rates = page.detection_rates(normal, novel)
    false_alarms, hits, _ = roc_curve(np.repeat([0, 1], [300, 90]), np.concatenate([normal, novel]))
    assert np.trapezoid(rates, page.FALSE_ALARMS) == pytest.approx(
        np.trapezoid(hits, false_alarms), abs=0.003
    )
    assert (np.diff(rates) >= 0).all()
    assert rates[-1] == 1


# --- tables ---------------------------------------------------------------------------------------


def test_mean_and_deviation_are_over_classes_and_seeds(tmp_path):
    aurocs = {("a", 0): 0.8, ("a", 1): 0.9, ("b", 0): 0.6, ("b", 1): 0.8}
    for (name, seed), value in aurocs.items():
        path = write_cell(tmp_path, "default", name, seed, classes=("a", "b"))
        set_auroc([path], value)
    table = only_table(tmp_path)
    (row,) = table.rows
    assert row.mean == pytest.approx(0.775)
    assert row.std == pytest.approx(stdev([0.7, 0.85]))
    ((_, (line,)),) = [group for group in grid(table).groups if group[1][0].name]
    texts = [(cell.text, cell.note) for cell in line.entries]
    assert texts == [("0.850", "± 0.071"), ("0.700", "± 0.141"), ("0.7750", "± 0.1061")]
    assert line.seeds == "2"


def test_one_seed_has_no_deviation(folder):
    row = next(row for row in only_table(folder).rows if row.name == "knn")
    assert row.std is None
    assert row.mean == pytest.approx(fmean(cell["auroc"] for cell in row.cells.values()))


def test_rows_stand_by_stage_and_the_printed_first(folder):
    table = only_table(folder)
    assert [row.name for row in table.rows] == [*ABLATION, "knn", "pca"]
    shown = grid(table)
    assert [heading for heading, _ in shown.groups] == [
        "printed in the paper",
        "OCGAN, trained here",
        "without training",
    ]
    assert [cell.text for cell in shown.groups[0][1][0].entries] == [
        *paper_numbers.OCGAN["mnist", 2].by_class,
        "0.9750",
    ]


def test_the_best_of_each_column_is_marked(folder):
    lines = [line for _, group in grid(only_table(folder)).groups for line in group if line.name]
    columns = [*zip(*(line.entries for line in lines), strict=True)]
    assert len(columns) == len(DIGITS) + 1
    for column in columns:
        top = max(cell.text for cell in column)
        assert [cell.best for cell in column] == [cell.text == top for cell in column]


def test_a_missing_cell_is_named(folder, tmp_path):
    path = write_method(tmp_path, "knn")[3]
    path.unlink()
    with pytest.raises(InputError, match=r"mnist/protocol2/knn/class-3-seed0\.json is missing"):
        write_benchmark_page(tmp_path)
    summarise(folder, tmp_path / "results")
    path = tmp_path / "results" / "mnist" / "protocol2" / "paper.json"
    content = json.loads(path.read_text())
    content["cells"] = [one for one in content["cells"] if (one["class"], one["seed"]) != ("7", 1)]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"mnist/protocol2/paper/class-7-seed1\.json is missing"):
        results_page(tmp_path / "results")


def test_methods_of_other_classes_make_no_table(tmp_path):
    write_method(tmp_path, "knn")
    write_method(tmp_path, "pca", classes=DIGITS[:5])
    with pytest.raises(InputError, match="pca was measured on other classes than knn"):
        read_cells(tmp_path)


def test_nothing_printed_stands_beside_some_of_the_classes_or_other_data(tmp_path):
    for method in (*ABLATION, "knn"):
        write_method(tmp_path, method)
    whole = only_table(tmp_path)
    assert whole.printed is not None
    assert whole.has_printed_ablation
    (part,), _ = read_cells(tmp_path, ["0", "1"])
    assert part.printed is None
    assert not part.has_printed_ablation
    assert "paper prints" not in sentences(part, verdict(part))
    write_method(tmp_path / "own", "knn", task=("mnist-folder", 2))
    assert only_table(tmp_path / "own").printed is None


def test_damaged_and_foreign_summaries_are_named(tmp_path):
    path = tmp_path / "mnist" / "protocol2" / "knn.json"
    path.parent.mkdir(parents=True)
    for content in ("{", "{}", "[1]", '{"cells": 3}'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"knn\.json"):
            read_summaries(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="holds no summaries"):
        read_summaries(tmp_path)


@pytest.mark.parametrize("value", [None, "high", float("nan"), float("inf"), 17, -0.1, True])
@pytest.mark.parametrize("figure", ["auroc", "aupr", "fpr_at_95_tpr"])
def test_a_figure_that_a_summary_lacks_is_named(tmp_path, folder, figure, value):
    summarise(folder, tmp_path)
    path = tmp_path / "mnist" / "protocol2" / "knn.json"
    content = json.loads(path.read_text())
    content["cells"][3][figure] = value
    path.write_text(json.dumps(content))
    words = rf"knn\.json.*: {figure} of class 3, seed 0 is {value!r}, no number in \[0, 1\]; ocgan"
    with pytest.raises(InputError, match=words):
        read_summaries(tmp_path)


def test_a_cell_that_stands_twice_in_a_summary_is_named(tmp_path, folder):
    summarise(folder, tmp_path)
    path = tmp_path / "mnist" / "protocol2" / "paper.json"
    content = json.loads(path.read_text())
    content["cells"].append(content["cells"][3] | {"auroc": 0.1})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"paper\.json.*: class 1, seed 1 stands in it 2 times"):
        read_summaries(tmp_path)


def test_rows_of_one_seed_and_of_other_seeds_are_named(tmp_path):
    for protocol, said in ((2, 0), (1, 1)):
        folder = tmp_path / str(protocol)
        write_method(folder, "knn", task=("mnist", protocol))
        write_method(folder, "paper", (0, 1), task=("mnist", protocol))
        write_method(folder, "default", task=("mnist", protocol))
        found = on_seeds(only_table(folder))
        assert [line for line in found if line.startswith("Of one seed")] == [
            "Of one seed, so that how far another would be is not known: OCGAN (default)."
        ]
        assert sum("rows of other seeds" in line for line in found) == said


def test_the_development_split_has_tables_too(tmp_path):
    write_method(tmp_path / "grid", "knn", task=("mnist", "dev"))
    write_method(tmp_path / "grid", "knn", task=("mnist", 2))
    summarise(tmp_path / "grid", tmp_path / "results")
    assert [table.protocol for table in read_summaries(tmp_path / "results")] == [2, "dev"]


def test_flags_of_the_page_need_its_folder(tmp_path, command):
    code, _, errors = command("report", "--docs", tmp_path / "x.md", "--out", tmp_path / "y")
    assert code == 2
    assert errors[-1] == "ocgan: --out is about the page of a benchmark: give its folder too"


def test_many_classes_become_figures_over_them(tmp_path, dots):
    classes = tuple(f"c{number}" for number in range(13))
    paths = write_method(tmp_path, "knn", classes=classes, task=("mine", 1))
    set_auroc(paths, 0.9)
    set_auroc(paths[4:5], 0.2)
    shown = grid(only_table(tmp_path))
    assert shown.columns[:3] == ("lowest class", "median class", "mean")
    (line,) = shown.groups[0][1]
    assert [(cell.text, cell.note) for cell in line.entries[:3]] == [
        ("0.200", "class c4"),
        ("0.900", ""),
        (f"{(12 * 0.9 + 0.2) / 13:.4f}", ""),
    ]


# --- sentences ------------------------------------------------------------------------------------


def said_of(folder, means, resampled=None):
    """Write methods of given mean AUROCs; return the verdict and what is said."""
    for name, mean in means.items():
        set_auroc(write_method(folder, name), mean)
    table = only_table(folder)
    found = verdict(table, resampled)
    return found, f"{headline(found)} {sentences(table, found)}"


def around(*values):
    """Resamples that lie between two values."""
    return np.linspace(*values, 1000)


def test_the_sentence_follows_the_numbers(tmp_path):
    found, text = said_of(tmp_path, {"default": 0.95, "knn": 0.97})
    assert found.ahead == "free"
    assert text.startswith(
        "The preset default is behind the best method without training. The knn reaches 0.9700 in "
        "the mean, OCGAN (default) 0.9500, 0.0200 less. The paper prints"
    )
    assert "0.0250 below it, The knn is 0.0050 below it" in text
    found, text = said_of(tmp_path, {"default": 0.99})
    assert found.ahead == "ocgan"
    assert text.startswith("The preset default is ahead of every method without training. OCGAN (")
    assert "OCGAN (default) is 0.0150 above it" in text
    found, text = said_of(tmp_path, {"default": 0.97001})
    assert found.ahead == "level"
    assert text.startswith(
        "The preset default is level with the best method without training. OCGAN (default) "
        "reaches 0.9700 in the mean, The knn 0.9700: the difference, less than 0.0001, is too "
        "small to show."
    )
    assert "the best of" not in text, "one of each"


@pytest.mark.parametrize(
    ("papers", "words"),
    [
        (0.92, "; OCGAN as in the paper (preset paper) is 0.0500 below the best of them."),
        (0.98, "; OCGAN as in the paper (preset paper) is 0.0100 above the best of them."),
        (0.97, "; OCGAN as in the paper (preset paper) is level with the best of them."),
    ],
)
def test_a_preset_that_leads_does_not_hide_the_papers_method(tmp_path, papers, words):
    found, text = said_of(tmp_path, {"default": 0.99, "knn": 0.97, "paper": papers})
    assert headline(found) == f"The preset default is ahead of every method without training{words}"
    assert f" OCGAN (paper) reaches {papers:.4f}" in text
    assert "The paper prints 0.9750 for OCGAN: OCGAN (paper) is" in text


def test_the_papers_preset_as_it_stands_goes_before_a_better_variant(tmp_path, monkeypatch):
    monkeypatch.setitem(CHANGES, "paper-epochs15", {"epochs": 15})
    means = {"default": 0.99, "knn": 0.97, "paper-epochs15": 0.96}
    found, _ = said_of(tmp_path, means)
    assert found.papers.name == "paper-epochs15"
    assert "; OCGAN as in the paper (preset paper, epochs 15) is 0.0100 below" in headline(found)
    found, _ = said_of(tmp_path, means | {"paper": 0.95})
    assert found.papers.name == "paper"


def test_the_papers_method_is_named_once_where_it_is_the_best_preset(tmp_path):
    found, text = said_of(tmp_path, {"default": 0.95, "knn": 0.97, "paper": 0.96})
    assert headline(found) == (
        "OCGAN as in the paper (preset paper) is behind the best method without training."
    )
    assert text.count("OCGAN (paper) ") == 3, "its mean, the choice, and beside the printed mean"


def test_a_preset_with_a_stage_or_scores_of_its_own_is_not_the_papers_method(tmp_path):
    whole = {"stage": "+mining", "scores": ["error"]}
    for changes, wanted in (
        ({"preset": "paper", "config": whole}, True),
        ({"preset": "paper", "config": whole | {"scores": ["gradients"]}}, False),
        ({"preset": "paper", "config": whole | {"stage": "+latent"}}, False),
        ({"preset": "default", "config": whole}, False),
    ):
        write_method(tmp_path, "x", kind="ocgan", **changes)
        assert only_table(tmp_path).rows[0].is_the_papers is wanted


def test_what_is_said_of_the_presets_is_what_they_are():
    assert PRESETS["paper"] == {}
    assert Config().stage == "+mining"
    assert Config().scores == ("error",)
    assert PRESETS["default"]["stage"] == "+latent"
    for changes in (PRESETS["default"], COLOUR_PRESETS["default"]):
        assert "error" not in changes["scores"]
        assert "windows" in changes["scores"]  # needs no training
    assert "stage" not in COLOUR_PRESETS["default"]


def test_it_is_said_of_how_many_the_best_is_one(tmp_path):
    means = {"default": 0.99, "knn": 0.97, "pca": 0.96, "kde": 0.9}
    _, text = said_of(tmp_path, means)
    assert "The knn is the best of 3 methods without training, picked by these test images" in text
    assert text.count("the best of") == 1, "there is one preset"
    _, text = said_of(tmp_path, {"default-width8": 0.98})
    assert (
        "OCGAN (default) is the best of 2 settings of OCGAN, picked by these test images." in text
    )


def test_the_interval_of_the_difference_decides_and_is_printed(tmp_path):
    """Their own intervals may overlap where, on the same images, one is always ahead."""
    means, draws = {"default": 0.95, "knn": 0.97}, around(0.94, 0.96)
    found, text = said_of(tmp_path, means, {"default": draws, "knn": draws + 0.02})
    assert found.comparison.interval is None, "all resamples give the same difference"
    assert "0.0200 less. The paper prints" in text
    found, text = said_of(tmp_path, means, {"default": draws, "knn": around(0.959, 0.981)})
    assert found.ahead == "free"
    assert "0.0200 less (95\u202f% interval of the difference 0.0190–0.0210)." in text
    found, text = said_of(tmp_path, means, {"default": draws, "knn": 0.97 + 0 * draws[::-1]})
    assert found.ahead == "free"
    assert "interval of the difference 0.0105–0.0295)" in text
    found, text = said_of(tmp_path, means, {"default": draws, "knn": around(1, 0.94)})
    assert found.ahead == "level"
    assert headline(found) == "The preset default is level with the best method without training."
    assert "0.0200, has a 95\u202f% interval that holds 0, −0.0180 to 0.0580." in text


@pytest.mark.parametrize(("apart", "level"), [(0.002, True), (0.0001, False)])
def test_a_lead_within_the_spread_over_seeds_is_none(tmp_path, apart, level):
    paths = write_method(tmp_path, "default", seeds=(0, 1))
    set_auroc(paths[::2], 0.95 + apart)
    set_auroc(paths[1::2], 0.95 - apart)
    set_auroc(write_method(tmp_path, "knn"), 0.951)
    table = only_table(tmp_path)
    found = verdict(table)
    assert found.comparison.spread == pytest.approx(apart * 2**0.5)
    assert found.ahead == ("level" if level else "free")
    words = ": the difference, 0.0010, is within the spread over seeds, 0.0028."
    assert (words in sentences(table, found)) is level


def test_a_lead_is_that_of_the_means_not_of_their_digits(tmp_path):
    found, text = said_of(tmp_path, {"default": 0.97015, "knn": 0.96994})
    assert f"{0.97015:.4f} {0.96994:.4f}" == "0.9701 0.9699"
    assert found.comparison.lead == pytest.approx(0.00021)
    found, text = said_of(tmp_path, {"default": 0.970051, "knn": 0.970049})
    assert "reaches 0.9701 in the mean, The knn 0.9700: the difference, less than 0.0001" in text


def test_a_part_of_ocgan_is_not_ocgan(tmp_path):
    found, text = said_of(tmp_path, {"paper-ae": 0.99})
    assert found.ahead == "none"
    assert headline(found) == "OCGAN was not trained here."
    found, text = said_of(tmp_path, {"paper": 0.9, "knn": 0.95})
    assert found.ahead == "free"
    assert "A part alone does better than all of OCGAN (paper): OCGAN (paper-ae), 0.9900." in text
    _, text = said_of(tmp_path, {"default": 0.999})
    assert text.count("A part alone") == 1, "it is no part of another preset"


def test_a_part_is_said_to_be_better_only_where_that_is_sure(tmp_path):
    means, draws = {"paper": 0.95, "paper-ae": 0.96}, around(0.94, 0.96)
    words = "A part alone does better than all of OCGAN (paper): OCGAN (paper-ae), 0.9600"
    sure = {"paper": draws, "paper-ae": around(0.945, 0.975)}
    _, text = said_of(tmp_path, means, sure)
    assert f"{words} (95\u202f% interval of the difference 0.0052–0.0148)." in text
    found, text = said_of(tmp_path, means, sure | {"paper-ae": around(0.98, 0.94)})
    assert found.parts == ()
    assert "A part alone" not in text
    found, _ = said_of(tmp_path, {"paper": 0.97})
    assert found.parts == (), "the whole is ahead"
    paths = write_method(tmp_path, "paper", seeds=(0, 1))
    set_auroc(paths[::2], 0.93)
    set_auroc(paths[1::2], 0.97)
    assert verdict(only_table(tmp_path)).parts == (), "within the spread over seeds"


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_part_that_is_better_with_one_seed_may_be_so_by_chance(tmp_path, seeds):
    for method, auroc in (("paper", 0.9), ("paper-ae", 0.99)):
        set_auroc(write_method(tmp_path, method, seeds=seeds), auroc)
    table = only_table(tmp_path)
    text = sentences(table, verdict(table))
    assert "A part alone does better than all of OCGAN (paper): OCGAN (paper-ae), 0.9900." in text
    doubtful = "0.9900. That is of one seed, and another may turn it round." in text
    assert doubtful == (len(seeds) == 1)


def test_a_part_with_other_settings_is_none_of_the_whole(tmp_path, monkeypatch):
    short = {"stage": "ae", "epochs": 15}
    monkeypatch.setitem(CHANGES, "paper-ae-epochs15", short)
    monkeypatch.setitem(STAGES, "paper-ae-epochs15", "ae")
    _, text = said_of(tmp_path, {"paper": 0.9, "paper-ae-epochs15": 0.99})
    assert "A part alone" not in text
    monkeypatch.setitem(CHANGES, "paper", {"epochs": 15})
    _, text = said_of(tmp_path, {"paper": 0.9})
    assert "A part alone does better than all of OCGAN (paper): OCGAN (paper-ae-epochs15)" in text


def test_without_baselines_the_table_says_so(tmp_path, dots):
    write_method(tmp_path, "default")
    table = only_table(tmp_path)
    assert headline(verdict(table)) == "No method without training was measured here."
    assert "--method knn,knn_cosine,knn_gradients,pca" in notes(table)[0]
    assert notes(table)[0] in text_of(write_benchmark_page(tmp_path).read_text())


def test_the_caveat_of_the_data_stands_at_its_table(tmp_path, dots):
    jpeg = IMAGES | {"caveat": "JPEG re-encoded copy, not the official pixels"}
    write_method(tmp_path, "knn", task=("cifar10", 2), images=jpeg)
    write_method(tmp_path, "knn")
    html = write_benchmark_page(tmp_path).read_text()
    summarise(tmp_path, tmp_path / "results")
    caveat = "The data measured on here: JPEG re-encoded copy, not the official pixels."
    for text in (html, results_page(tmp_path / "results")):
        assert text.count(caveat) == 1
        assert text.index("CIFAR-10, protocol 2") < text.index(caveat)
        before = text[: text.index(caveat)]
        assert "JPEG re-encoded copy, not the official pixels" in before  # in the overview, too


def test_other_pixels_are_admitted(tmp_path):
    write_method(tmp_path, "knn")
    others = {"description": "others", "image_rule": "", "checksum": {}}
    write_method(tmp_path, "pca", images=IMAGES | others)
    table = only_table(tmp_path)
    assert "Not all rows were measured on the same pixels" in notes(table)[0]
    assert data_seen(table) == ["knn: images; as they are", "pca: others; "]


def test_the_same_pixels_are_described_once(tmp_path):
    for name, rule in (("knn", "as they are"), ("pca", "told otherwise by an older version")):
        write_method(tmp_path, name, images=IMAGES | {"image_rule": rule})
    assert data_seen(only_table(tmp_path)) == ["images; as they are"]


# --- the page -------------------------------------------------------------------------------------


class Links(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.loaded, self.alts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("img", "source", "script", "link", "iframe"):
            self.loaded.append(given.get("src") or given.get("srcset") or given.get("href") or tag)
        if tag == "img":
            self.alts.append(given.get("alt"))


def test_the_page_is_self_contained(html):
    links = Links(html)
    assert links.loaded
    assert all(link.startswith("data:") for link in links.loaded)
    assert all(links.alts)
    assert "<script" not in html
    assert "url(" not in html


def test_methods_that_tested_the_same_images_are_resampled_alike(tmp_path):
    def difference():
        table = only_table(tmp_path)
        files = read_cells(tmp_path)[1]
        measured = page._measure(table, {r.name: files[table.key, r.name] for r in table.rows})
        return Interval.of(measured.means["knn"] - measured.means["pca"])

    for path in write_method(tmp_path, "knn"):
        twin = write_cell(tmp_path, "pca", json.loads(path.read_text())["class"])
        set_auroc([twin], json.loads(path.read_text())["auroc"])
        twin.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes())
    assert difference() is None
    for path in tmp_path.rglob("pca/*.npz"):
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"index": arrays["index"] + 1})
    found = difference()
    assert found.low < -0.01
    assert found.high > 0.01


def test_the_page_shows_what_was_printed_and_what_was_measured(folder, html):
    text = text_of(html)
    assert "0.998 0.999 0.942 0.963 0.975 0.980 0.991 0.981 0.939 0.981 0.9750" in text
    assert paper_numbers.SOURCE in text
    table = only_table(folder)
    for row in table.rows:
        shown = cells_of(html, row.name)
        means = [f"{fmean(row.values(name)):.3f}" for name in table.classes]
        assert [number for _, number in shown[:11]] == [*means, f"{row.mean:.4f}"]
        low, high = map(float, shown[11][1].split("–"))
        assert low < row.mean < high
    assert 'data-ahead="free"' in html
    assert re.search(r"0\.\d{4} less \(95.% interval of the difference 0\.\d{4}–0\.\d{4}\)\.", text)
    assert "OCGAN as in the paper (preset paper) is behind the best method" in text
    assert PRESETS_TEXT in text


def test_page_and_markdown_say_which_standard_deviation_they_show(folder, html, tmp_path):
    summarise(folder, tmp_path)
    words = "± is the standard deviation over seeds, that of a sample (n − 1)."
    for text in (text_of(html), " ".join(results_page(tmp_path).split())):
        assert words in text


def test_a_method_that_ranks_all_images_right_has_no_interval(tmp_path, dots):
    write_method(tmp_path, "knn", shift=99.0)
    write_method(tmp_path, "pca", shift=99.0)
    write_method(tmp_path, "default", shift=1.0)
    html = write_benchmark_page(tmp_path).read_text(encoding="utf-8")
    assert [cells_of(html, name)[11][1] for name in ("knn", "pca")] == ["–", "–"]
    assert re.fullmatch(r"0\.\d{4}–0\.\d{4}", cells_of(html, "default")[11][1])
    assert "1.0000–1.0000" not in html
    assert "ranked right, there is none (–)" in text_of(html)


def test_the_page_says_where_numbers_come_from(html):
    text = text_of(html)
    assert "paper: ocgan benchmark --dataset mnist --method paper commit c0ffee" in text
    assert "2 × something, 2026-01-02" in text
    assert "Data: images; as they are" in text


def test_the_ablation_is_drawn_when_its_stages_are_there(folder, html, tmp_path, dots):
    assert "What each part adds" in html
    assert list(only_table(folder).ablations()[0]) == list(paper_numbers.STAGES)
    write_method(tmp_path, "paper")
    write_method(tmp_path, "paper-ae")
    assert "What each part adds" not in write_benchmark_page(tmp_path).read_text()


def test_a_stage_summarised_before_a_setting_came_stays_in_the_ablation(folder, tmp_path):
    summarise(folder, tmp_path)
    path = tmp_path / "mnist" / "protocol2" / "paper.json"
    content = json.loads(path.read_text())
    whole = Config().to_dict()
    for stage in ABLATION:
        own = path.with_stem(stage)
        settings = whole | {"stage": STAGES[stage]}
        own.write_text(json.dumps(json.loads(own.read_text()) | {"config": settings}))
    for key in ("turn_passes", "network_side"):
        old = {name: value for name, value in whole.items() if name != key}
        path.write_text(json.dumps(content | {"config": old}))
        (ablation,) = read_summaries(tmp_path)[0].ablations()
        assert ablation["+mining"].config == whole
    path.write_text(json.dumps(content | {"config": []}))
    with pytest.raises(InputError, match=r"paper\.json' is not the summary of a method"):
        read_summaries(tmp_path)


def test_the_best_ocgan_is_told_from_other_ones_and_from_its_parts(tmp_path):
    def marks():
        table = only_table(tmp_path)
        found = [page._marks(table, row, 0) for row in table.rows]
        return {one.title: one.marker for one in found}

    write_method(tmp_path, "paper", shift=1.0)
    write_method(tmp_path, "paper-ae", shift=3.0)
    write_method(tmp_path, "default", shift=2.0)
    write_method(tmp_path, "knn", shift=1.0)
    apart = {"OCGAN (default)": "o", "OCGAN (paper)": "^"}
    assert marks() == apart | {"parts of OCGAN": "+", "without training": "_"}
    write_method(tmp_path, "default-width8", shift=1.5)
    assert {"OCGAN (default)": "o", "other presets": "^"}.items() <= marks().items()


def test_the_same_files_give_the_same_bytes(folder, html, tmp_path):
    for path in folder.rglob("*.*"):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert write_benchmark_page(tmp_path).read_text(encoding="utf-8") == html


def test_scores_must_give_the_recorded_auroc(tmp_path):
    set_auroc(write_method(tmp_path, "knn")[2:3], 0.123)
    with pytest.raises(InputError, match=r"class-2-seed0\.json' give an AUROC .* 0\.123000"):
        write_benchmark_page(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing: put it back, or ocgan benchmark --overwrite"),
        (b"", "cannot be read: .*; delete it, and ocgan benchmark --overwrite"),
        (b"no archive", "cannot be read: .*; delete it, and ocgan benchmark --overwrite"),
    ],
)
def test_scores_that_cannot_be_read_are_named_and_what_to_do_is_said(tmp_path, content, words):
    path = write_method(tmp_path, "knn")[0].with_suffix(".npz")
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=rf"class-0-seed0\.npz' {words}"):
        write_benchmark_page(tmp_path)


def test_bars_boxes_and_curves_are_pictures():
    series = [
        charts.Series("A", [0.6, None, 0.9], "accent", ""),
        charts.Series("B", [1], "ink", ""),
    ]
    curve = charts.Curve("A", np.linspace(0, 1, 5), "accent")
    other = charts.Curve("A", np.linspace(0, 1, 5) ** 2, "accent")
    for style in figures.STYLES.values():
        for width in (figures.WIDE, figures.NARROW):
            boxes = charts.box_chart([charts.Series("A", [0.5, 0.9], "ink", "")], style, width)
            bars = charts.bar_chart(series[:1], ["x", "y", "z"], style, width)
            roc = charts.roc_chart([curve], np.linspace(0, 1, 5), style, width)
            strip = charts.strip_chart(series[:1], ["x", "y", "z"], style, width)
            values = [np.array([0.5, 0.6, 0.8])] * 3
            boxed = charts.strip_chart(series[:1], ["x", "y", "z"], style, width, boxed=values)
            assert strip != boxed
            for png in (boxes, bars, roc, boxed):
                assert int.from_bytes(png[16:20]) == width * figures.DENSITY
            moved = [charts.Series("A", [0.6, 0.7, 0.9], "ink", "")]
            assert boxes != charts.box_chart(moved, style, width)
            assert bars != charts.bar_chart(moved, ["x", "y", "z"], style, width)
            assert roc != charts.roc_chart([other], np.linspace(0, 1, 5), style, width)


ODD_NAMES = (r"price $\bad$", "caf\udce9\nau lait", "良品")  # no formula, no UTF-8, not in DejaVu


def test_any_name_of_a_class_can_be_drawn(recwarn):
    style = figures.STYLES["light"]
    series = [charts.Series("A", [0.6, 0.7, 0.9], "accent", "o")]
    panel = charts.Panel("A", np.arange(6.0), np.repeat(ODD_NAMES, 2), None, "accent")
    for width in (figures.WIDE, figures.NARROW):
        for draw in (charts.strip_chart, charts.bar_chart):
            names = ["a", "b", "c"]
            assert draw(series, ODD_NAMES, style, width) != draw(series, names, style, width)
        assert charts.histograms([panel], ODD_NAMES, ODD_NAMES[1], style, width)
    assert not recwarn.list


def test_letters_come_from_a_font_that_has_them(monkeypatch):
    monkeypatch.setattr(charts, "FALLBACKS", ())
    assert charts.undrawable(["ᶁa", "b\n", *ODD_NAMES]) == "ᶁ品良"
    monkeypatch.setattr(charts, "FALLBACKS", ("No such font", "STIXGeneral"))
    assert charts._families() == [charts.FONT, "STIXGeneral"]
    assert charts.undrawable(["ᶁa"]) == ""


def test_what_cannot_be_drawn_is_said_once(tmp_path, monkeypatch, command):
    monkeypatch.setattr(charts, "FALLBACKS", ())
    for method in ("knn", "pca"):
        write_method(tmp_path, method, classes=("良品", "plain"), task=("mine", 1))
    code, _, lines = command("report", tmp_path)
    assert code == 0
    assert lines[1:] == ["mine, protocol 1"]
    assert lines[0].startswith("no font here has '品良', and pictures show boxes instead")


def test_long_names_of_columns_slant_and_short_ones_stand():
    def ticks(names):
        ax = Figure(figsize=(7.9, 3.6)).subplots()
        charts._name_columns(ax, names)
        return [(tick.get_text(), tick.get_rotation()) for tick in ax.get_xticklabels()]

    assert ticks(["0", "1", "mean"]) == [("0", 0), ("1", 0), ("mean", 0)]
    long = [f"a_long_class_name_of_a_part_{n}" for n in range(10)]
    texts, angles = zip(*ticks([*long, "mean"]), strict=True)
    assert len(set(texts)) == 11
    assert max(map(len, texts)) <= charts.LONGEST_LABEL
    assert set(angles) == {50}


@pytest.mark.parametrize(
    ("width", "columns"), [(figures.WIDE, 3), (figures.NARROW, 2), (figures.NARROW / 2, 1)]
)
def test_a_legend_has_as_many_columns_as_fit(width, columns):
    figure = Figure(figsize=(width / 100, 3.6), layout="constrained")
    ax = figure.subplots()
    for title in ("without training", "OCGAN (default)", "OCGAN (paper)", "printed"):
        ax.scatter([0], [0], label=title)
    legend = charts._legend(figure)
    assert legend._ncols == columns
    assert figure.legends == [legend]
    assert legend.get_window_extent().width <= figure.bbox.width


def test_a_phone_shows_three_letters_where_they_tell_classes_apart():
    assert page._short(["Trouser", "Pullover"]) == ["Tro", "Pul"]
    assert page._short(["class 1", "class 2"]) == ["class 1", "class 2"]


# --- best and worst images ------------------------------------------------------------------------


def test_the_surest_images_are_chosen_by_score():
    scores = {
        "index": np.arange(6) + 10,
        "score": np.array([0.3, 0.1, 0.9, 0.2, 0.8, 0.1]),
        "is_novel": np.array([False, False, False, True, True, True]),
    }
    right, found, alarmed, missed = (list(places) for places in examples.chosen_places(scores))
    assert right == [1, 0, 2]
    assert found == [4, 3, 5]
    assert alarmed == [2, 0, 1]
    assert missed == [5, 3, 4]


@pytest.fixture(scope="module")
def digits_grid(tmp_path_factory):
    """What `ocgan benchmark` itself writes."""
    out = tmp_path_factory.mktemp("digits")
    flags = ["--dataset=digits", "--classes=0,8", "--method=knn,pca", f"--out={out}", "--quiet"]
    assert run(["benchmark", *flags]) == 0
    return out


def test_images_come_from_the_data_when_asked_for(digits_grid, tmp_path, dots, command):
    arguments = ["report", digits_grid, "--classes=0,8", f"--out={tmp_path}"]
    code, out, _ = command(*arguments, f"--data-root={tmp_path}", "--method=pca")
    assert (code, out.strip()) == (0, str(tmp_path / "index.html"))
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r'alt="class \d, image \d+, score [\d.e-]+"', html)) == 2 * 4 * 4
    assert "Where PCA-32 reconstruction is surest" in html
    assert command(*arguments)[0] == 0
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "surest" not in html
    assert "--data-root ROOT" in html


def test_other_images_under_the_same_labels_are_not_shown(tmp_path, dots, monkeypatch):
    own = tmp_path / "own"
    write_tree(own, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(20)])
    flags = [f"--dataset={own}", "--protocol=1", "--method=knn", f"--out={tmp_path / 'grid'}"]
    monkeypatch.setattr(sys, "argv", ["ocgan", "benchmark", *flags])
    assert run(["benchmark", *flags, "--quiet"]) == 0
    table, files = read_cells(tmp_path / "grid")
    given = table[0], table[0].rows[0], files[("own", 1), "knn"], tmp_path
    assert examples.gallery(*given).missing == ""
    write_tree(own, ["cat/3.png"], channels=1)
    assert "has other pixels than were tested (folder" in examples.gallery(*given).missing
    write_tree(own, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(20)], size=(9, 9))
    assert "taken at 12×16 pixels" in examples.gallery(*given).missing


def test_images_are_shown_at_the_size_that_was_asked_for(tmp_path, dots):
    """Of a method without training nothing but the images says so."""
    flags = ["--dataset=digits", "--classes=0,8", "--method=knn", "--image-size=16"]
    assert run(["benchmark", *flags, f"--out={tmp_path}", "--quiet"]) == 0
    table, files = read_cells(tmp_path, ["0", "8"])
    shown = examples.gallery(table[0], table[0].rows[0], files[("digits", 2), "knn"], tmp_path)
    assert shown.missing == ""
    assert shown.classes[0].kinds[0][1][0].width == 16


def test_printed_numbers_stand_at_their_classes_in_whatever_order_these_are_named(tmp_path):
    write_method(tmp_path, "knn")
    (table,), _ = read_cells(tmp_path, [*reversed(DIGITS)])
    assert table.classes == DIGITS
    assert grid(table).columns[:10] == DIGITS


def test_images_that_are_not_those_tested_are_left_out(digits_grid, folder, tmp_path, dots):
    page = write_benchmark_page(folder, tmp_path, data_root=tmp_path).read_text()
    assert "the images cannot be shown: MNIST is not in" in page
    table, files = read_cells(digits_grid, ["0", "8"])
    paths = files[("digits", 2), "knn"]
    arrays = dict(np.load(paths["0", 0].with_suffix(".npz")))
    np.savez(tmp_path / "x.npz", **arrays | {"label": arrays["label"][::-1]})
    paths = {("0", 0): tmp_path / "x.json", ("8", 0): tmp_path / "x.json"}
    shown = examples.gallery(table[0], table[0].rows[0], paths, tmp_path)
    assert shown.classes == ()
    assert "x.json' is of images with other labels" in shown.missing


# --- Markdown and the command ---------------------------------------------------------------------


def test_markdown_and_page_show_the_same_table(folder, tmp_path):
    summarise(folder, tmp_path)
    (table,) = read_summaries(tmp_path)
    shown = [[[c.text for c in line.entries] for line in lines] for _, lines in grid(table).groups]
    wanted = grid(only_table(folder)).groups
    assert shown == [[[c.text for c in line.entries] for line in lines] for _, lines in wanted]
    text = results_page(tmp_path)
    assert "| OCGAN | 0.998 | 0.999 |" in text
    assert "| + C and mining | 0.975 |" in text
    assert "- paper: `ocgan benchmark --dataset mnist --method paper`; commit `c0ffee`" in text
    assert re.search(r"\| The knn \| \*\*0\.\d{3}|\| The knn \| \*\*1\.000", text)


def test_results_page_is_what_the_summaries_say():
    written, results = ROOT / "docs" / "results.md", ROOT / "results"
    if not results.is_dir() or not written.exists():
        pytest.skip("the checkout holds no results, or no page of them")
    assert written.read_text(encoding="utf-8") == results_page(results), (
        "run: ocgan report --docs docs/results.md"
    )


def test_the_committed_page_says_what_the_summaries_say():
    page = ROOT / "results" / "index.html"
    if not page.exists():
        pytest.skip("the checkout holds no page")
    html, made_anew = page.read_text(encoding="utf-8"), "run: ocgan report results/cells --out …"
    for table in read_summaries(ROOT / "results"):
        (section,) = re.findall(
            rf'<section id="{table.dataset}-protocol{table.protocol}">(.*?)</section>',
            html,
            re.DOTALL,
        )
        shown = dict(
            re.findall(
                r'<tr data-method="(.*?)">(?:(?!</tr>).)*?<td class="sum[^"]*">([\d.]+)',
                section,
                re.DOTALL,
            )
        )
        assert shown == {row.name: f"{row.mean:.4f}" for row in table.rows}, made_anew


def test_the_command_writes_the_tables(folder, tmp_path, command):
    summarise(folder, tmp_path / "results")
    docs = tmp_path / "docs" / "results.md"
    code, out, _ = command("report", "--docs", docs, "--results", tmp_path / "results")
    assert (code, out.strip()) == (0, str(docs))
    made_by = f"ocgan report --docs {docs} --results {tmp_path / 'results'}"
    written = docs.read_text(encoding="utf-8")
    assert written == results_page(tmp_path / "results", made_by)
    assert f"Made by `{made_by}` from" in written


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give the folder of a benchmark"),
        (["{empty}"], 3, "holds no results"),
        (["--docs", "{empty}/x.md", "--results", "{empty}"], 3, "holds no summaries"),
        (["{grid}", "--method", "kn"], 2, "unknown method 'kn': did you mean 'knn'?"),
        (["{grid}", "--seeds", "0,7"], 3, "class-0-seed7.json is missing"),
    ],
)
def test_wrong_use_is_one_line(folder, tmp_path, command, arguments, code, message):
    given = [word.format(empty=tmp_path, grid=folder) for word in arguments]
    found, out, lines = command("report", *given)
    assert (found, out) == (code, "")
    assert len(lines) == 1
    assert message in lines[0]


def test_unknown_methods_are_refused_in_python(folder, tmp_path):
    with pytest.raises(UsageError, match="unknown method"):
        write_benchmark_page(folder, tmp_path, method="nothing")


def test_the_report_loads_no_torch(digits_grid, tmp_path):
    arguments = ["report", str(digits_grid), "--classes=0,8", f"--out={tmp_path}"]
    code = f"""
import sys
from pyocgan.cli import run
assert run({arguments!r}) == 0
assert not {{"torch", "lightning_fabric"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
