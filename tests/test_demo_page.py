"""The demo's page: self-contained, honest, equal to its files, rebuilt from a copied folder."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from pyocgan import charts, demo_page, figures, pages
from pyocgan.errors import InputError

CLASSES = [str(digit) for digit in range(10)]
TITLES = {"ocgan": "OCGAN", "ae": "Auto-encoder", "knn": "1-NN, raw pixels", "mean": "Mean image"}
PNGS = ("reconstructions.png", "scores.png", "walk.png", "auroc.png")
WRITTEN = (*PNGS, "index.html")


def write_demo(folder):
    """Write a demo's two files: two PCAs of the 8s stand in for the two networks."""
    digits = load_digits()
    images = (digits.images / 16 * 255).round().astype(np.uint8)[..., None]
    eights = images[digits.target == 8]
    train, tests = eights[:112], [images[digits.target == c][-30:] for c in range(10)]
    models = {key: PCA(n).fit(flat(train)) for key, n in (("ae", 24), ("ocgan", 4))}
    test = np.concatenate(tests)
    labels = np.repeat(CLASSES, 30)
    gaps = ((flat(test)[:, None] - flat(train)[None]) ** 2).mean(-1)
    scores = {key: error(model, test) for key, model in models.items()}
    scores |= {"knn": gaps.min(1), "mean": gaps.mean(1)}
    shown = np.stack([digit[:5] for digit in tests])
    points = np.random.default_rng(0).uniform(-1, 1, (16, 24))
    arrays = {"inputs": shown, "labels": labels, "walk": shown[:6, :5]}
    for key, model in models.items():
        arrays[key] = rebuilt(model, shown.reshape(-1, 8, 8, 1)).reshape(shown.shape)
        codes = points[:, : model.n_components_]
        arrays[f"samples_{key}"] = as_images(model.inverse_transform(codes))
    arrays |= {f"scores_{key}": values for key, values in scores.items()}
    np.savez(folder / "demo.npz", **arrays)
    (folder / "demo.json").write_text(json.dumps(summary(labels, scores), ensure_ascii=False))


def summary(labels, scores):
    """Build the content of ``demo.json``."""
    return {
        "title": "Trained on the digit 8 alone",
        "dataset": "digits",
        "dataset_note": "handwritten digits, 8×8 pixels",
        "normal_class": "8",
        "classes": CLASSES,
        "n_train": 112,
        "n_validation": 13,
        "n_calibration": 14,
        "n_test": dict.fromkeys(CLASSES, 30),
        "protocol": "Train on 8s, test on everything.",
        "command": "ocgan demo --out demo",
        "seconds": 121.3,
        "machine": "2 × something",
        "versions": {"pyocgan": "0.1.0", "torch": "2.13.0"},
        "created": "2026-01-01T12:00:00Z",
        "seed": 0,
        "fpr": 0.05,
        "methods": [method(key, labels, values) for key, values in scores.items()],
    }


def method(key, labels, scores):
    normal, trained = labels == "8", key in ("ae", "ocgan")
    limit = float(np.quantile(scores[normal], 0.95))
    against = {c: normal | (labels == c) for c in CLASSES if c != "8"}
    return {
        "key": key,
        "title": TITLES[key],
        "subtitle": "reconstruction error" if trained else None,
        "trained": trained,
        "seconds": 70.1,
        "auroc": {c: float(roc_auc_score(~normal[k], scores[k])) for c, k in against.items()},
        "auroc_all": float(roc_auc_score(~normal, scores)),
        "threshold": limit if trained else None,
        "false_alarm_rate": float((scores[normal] > limit).mean()) if trained else None,
        "detection_rate": float((scores[~normal] > limit).mean()) if trained else None,
    }


def flat(images):
    return images.reshape(len(images), -1) / 127.5 - 1


def as_images(rows):
    return ((rows.reshape(-1, 8, 8, 1) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def rebuilt(model, images):
    return as_images(model.inverse_transform(model.transform(flat(images))))


def error(model, images):
    return ((flat(rebuilt(model, images)) - flat(images)) ** 2).mean(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A demo's folder with its page built, for tests that only look."""
    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder)
    demo_page.write_demo_page(folder)
    return folder


@pytest.fixture
def copied(folder, tmp_path, monkeypatch):
    """A demo's two files alone, for tests of the text: pictures are drawn as one grey dot."""
    for name in ("demo.json", "demo.npz"):
        shutil.copy(folder / name, tmp_path)
    dot = figures.png_bytes(Image.new("L", (2, 2), 128))
    drawings = demo_page._drawings
    monkeypatch.setattr(
        demo_page, "_drawings", lambda *given: dict.fromkeys(drawings(*given), lambda *_: dot)
    )
    return tmp_path


def changed(folder, change):
    """Build the page after `change` has changed the content of ``demo.json`` in place."""
    path = folder / "demo.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return demo_page.write_demo_page(folder).read_text()


class Page(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def table(html):
    """Read the AUROC table: method -> texts of its cells."""
    rows = re.findall(r'<tr data-method="(\w+)">(.*?)</tr>', html, re.DOTALL)
    return {key: re.findall(r"<td[^>]*>(.*?)</td>", row) for key, row in rows}


def verdict(html):
    return re.search(r'id="verdict" data-ahead="(\w+)">(.*?)</div>', html, re.DOTALL).groups()


# --- the page as a file -------------------------------------------------------------------------


def test_the_page_fetches_nothing(folder):
    html = (folder / "index.html").read_text()
    for tag, attributes in Page(html).tags:
        for name in ("src", "srcset", "href", "data", "poster", "background", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:") or (tag, name) == ("a", "href")
        assert tag not in ("script", "iframe", "object", "embed")
    without_links = re.sub(r'<a href="[^"]*">', "", html)
    assert not re.search(r"https?:|file:|url\(|@import", without_links)


def test_every_picture_has_a_text_and_something_on_it(folder):
    tags = Page((folder / "index.html").read_text()).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 12  # six pictures, on light and on dark paper
    assert all(len(attributes["alt"]) > 20 for attributes in images)
    uris = [a.get("src") or a["srcset"] for tag, a in tags if tag in ("img", "source")]
    for uri in uris:
        picture = Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))
        low, high = picture.convert("L").getextrema()
        assert high - low > 100


@pytest.mark.parametrize("name", PNGS)
def test_the_png_files_are_the_pages_pictures_without_dates(folder, name):
    content = (folder / name).read_bytes()
    assert base64.b64encode(content).decode() in (folder / "index.html").read_text()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        low, high = picture.convert("L").getextrema()
        assert high - low > 100
    assert not any(chunk in content for chunk in (b"tIME", b"tEXt", b"iTXt", b"zTXt"))


def test_a_copied_folder_gives_the_same_bytes_and_nothing_else(folder, tmp_path):
    for name in ("demo.json", "demo.npz"):
        shutil.copy(folder / name, tmp_path)
    assert demo_page.write_demo_page(tmp_path) == tmp_path / "index.html"
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"demo.json", "demo.npz", *WRITTEN}


def test_neither_torch_nor_pyplot_is_loaded():
    code = "import sys, pyocgan.demo_page; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- what the page says -------------------------------------------------------------------------


def test_the_table_has_the_numbers_of_the_file(folder):
    cells = table((folder / "index.html").read_text())
    methods = json.loads((folder / "demo.json").read_text())["methods"]
    assert set(cells) == set(TITLES)
    for one in methods:
        values = list(one["auroc"].values())
        expected = [*values, np.mean(values), one["auroc_all"]]
        assert cells[one["key"]] == [f"{value:.3f}" for value in expected]


def test_the_best_of_every_column_is_marked(folder):
    html = (folder / "index.html").read_text()
    marks = [re.findall(r'<td class="([^"]*)">(.*?)</td>', row) for row in html.split("<tr")]
    columns = [*zip(*(row for row in marks if row), strict=True)]
    assert len(columns) == len(CLASSES) + 1  # a mean and all at once, less the normal class
    for column in columns:
        best = max(value for _, value in column)
        assert all(("best" in kind.split()) == (value == best) for kind, value in column)


def test_the_headline_is_the_auroc_against_all(folder):
    html = (folder / "index.html").read_text()
    methods = {one["key"]: one for one in json.loads((folder / "demo.json").read_text())["methods"]}
    head = html[: html.index("<main>")]
    for key in ("ocgan", "ae"):
        assert f"<dd>{methods[key]['auroc_all']:.3f}</dd>" in head
    free = max((methods["knn"], methods["mean"]), key=lambda one: one["auroc_all"])
    assert f"best without training ({free['title']})</dt><dd>{free['auroc_all']:.3f}" in head


@pytest.mark.parametrize(
    ("ocgan", "ae", "knn", "ahead", "words"),
    [
        (0.95, 0.90, 0.99, "free", "A method without any training is ahead"),
        (0.99, 0.90, 0.95, "ocgan", "OCGAN is ahead of every method without training"),
        (0.9704, 0.90, 0.9701, "level", "are level"),
        (0.9706, 0.90, 0.9704, "level", "are level"),  # printed 0.971 and 0.970
    ],
)
def test_the_note_says_who_is_ahead(copied, ocgan, ae, knn, ahead, words):
    values = {"ocgan": ocgan, "ae": ae, "knn": knn, "mean": 0.5}

    def change(content):
        for one in content["methods"]:
            one["auroc"] = dict.fromkeys(one["auroc"], values[one["key"]])

    found, note = verdict(changed(copied, change))
    assert found == ahead
    assert words in text_of(note)
    assert f"{ocgan:.3f}" in note
    assert "auto-encoder (" not in note


def test_the_note_says_when_the_auto_encoder_is_ahead(copied):
    def change(content):
        for one in content["methods"]:
            one["auroc"] = dict.fromkeys(one["auroc"], {"ae": 0.98, "ocgan": 0.97}.get(one["key"]))
        content["methods"][-1]["auroc"] = dict.fromkeys(content["methods"][-1]["auroc"], 0.6)

    ahead, note = verdict(changed(copied, change))
    assert ahead == "ocgan"
    assert "The plain auto-encoder (0.980) is ahead of OCGAN." in text_of(note)


def test_missing_values_are_dashes_and_not_averaged_away(copied):
    def change(content):
        for key in ("fpr", "seconds", "machine", "versions", "seed", "command", "n_validation"):
            content[key] = None
        for one in content["methods"]:
            one["threshold"] = one["detection_rate"] = one["false_alarm_rate"] = None
        ocgan = next(one for one in content["methods"] if one["key"] == "ocgan")
        ocgan["auroc"]["3"] = ocgan["auroc_all"] = None

    html = changed(copied, change)
    cells = table(html)["ocgan"]
    assert [place for place, cell in enumerate(cells) if cell == "–"] == [3, 9, 10]
    assert 'id="verdict"' not in html
    assert "None" not in text_of(html.partition("</style>")[2])


def test_a_threshold_is_drawn_where_there_is_one():
    labels = np.repeat(CLASSES, 2)
    panel = charts.Panel("A", np.linspace(0.1, 9, 20), labels, None, "accent")
    plain = charts.histograms([panel], CLASSES, "8", figures.STYLES["light"])
    limit = charts.Panel("A", panel.scores, labels, 1.0, "accent")
    assert plain != charts.histograms([limit], CLASSES, "8", figures.STYLES["light"])


def test_text_is_escaped(copied):
    html = changed(copied, lambda content: content.update(title="<script>alert(1)</script> & more"))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html


# --- files that are not a demo's ----------------------------------------------------------------


def without(name):
    def damage(folder):
        content = json.loads((folder / "demo.json").read_text())
        del content[name]
        (folder / "demo.json").write_text(json.dumps(content))

    return damage


def array(name, change):
    def damage(folder):
        with np.load(folder / "demo.npz") as archive:
            arrays = dict(archive)
        arrays[name] = change(arrays[name])
        np.savez(folder / "demo.npz", **{k: v for k, v in arrays.items() if v is not None})

    return damage


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:900])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "demo.json").unlink(), "demo.json': No such file"),
        (lambda folder: (folder / "demo.npz").unlink(), "demo.npz': No such file"),
        (cut("demo.json"), "demo.json' is damaged"),
        (cut("demo.npz"), "demo.npz' is damaged"),
        (lambda folder: (folder / "demo.npz").write_bytes(b""), "demo.npz' is damaged"),
        (lambda folder: (folder / "demo.json").write_text("[1]"), "demo.json' is damaged"),
        (without("methods"), "'methods' is missing"),
        (array("walk", lambda walk: None), "array 'walk' is missing"),
        (array("walk", lambda walk: walk.astype(float)), "'walk' has shape .* float64"),
        (array("ocgan", lambda images: images[:, :2]), "'ocgan' has shape"),
        (array("inputs", lambda images: images[:3]), "'inputs' has shape"),
        (array("scores_ae", lambda scores: scores[1:]), "scores of 'ae' for"),
        (array("scores_ae", lambda scores: scores * np.nan), "finite"),
        (array("labels", lambda labels: labels.astype(int)), "wanted text"),
        (array("labels", lambda labels: labels.astype(object)), "demo.npz' is damaged"),
    ],
)
def test_what_is_no_demo_is_refused_in_one_line(copied, damage, words):
    damage(copied)
    with pytest.raises(InputError, match=words) as caught:
        demo_page.write_demo_page(copied)
    assert "\n" not in str(caught.value)
    assert not (copied / "index.html").exists()


# --- figures ------------------------------------------------------------------------------------


def luminance(color):
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "tint"])
@pytest.mark.parametrize("name", ["ink", "muted", "accent", "other"])
def test_text_can_be_read_on_its_ground(theme, ground, name):
    style = figures.STYLES[theme]
    dark, light = sorted((luminance(style[name]), luminance(style[ground])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_every_image_in_its_place(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, channels), dtype=np.uint8)
    picture = np.asarray(figures.image_grid(images, cell=8, gap=1, paper="#010203"))
    assert picture.shape == (2 * 16 + 2, 3 * 16 + 2 * 2, 3)
    assert (picture[16:18] == (1, 2, 3)).all()
    for row in range(2):
        for column in range(3):
            tile = picture[row * 18 : row * 18 + 16, column * 18 : column * 18 + 16]
            small = np.asarray(Image.fromarray(tile).resize((4, 4), Image.Resampling.BOX))
            others = np.abs(images.astype(float) - small).mean((2, 3, 4))
            assert others.argmin() == 3 * row + column
            assert others.min() < 25


def test_the_reconstruction_table_draws_colour_images_and_marks_the_normal_class():
    images = np.full((3, 2, 4, 4, 3), (200, 10, 20), np.uint8)
    style = figures.STYLES["light"]
    drawn = figures.reconstruction_table(
        [("a", "ink", images), ("b", "other", images)], ["x", "y", "z"], "z", style, 300
    )
    colors = {color for _, color in drawn.getcolors(100_000)}
    assert (200, 10, 20) in colors
    assert figures._rgb(style["tint"]) in colors


def test_durations_and_shares_read_as_people_say_them():
    assert pages.format_duration(121.3) == "2 min 1 s"
    assert pages.format_duration(3.21) == "3.2 s"
    assert pages.format_duration(7200) == "2 h"
    assert pages.format_percent(0.05) == "5\u202f%"
    assert pages.format_percent(None) == pages.format_auroc(None) == "–"
