"""The documents say what the code does."""

import ast
import json
import re
import runpy
import shlex
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import cyclopts
import pytest

from pyocgan.calibration import split_counts
from pyocgan.config import Config, resolve
from pyocgan.data.protocols import PROTOCOL_1_TRAIN_SHARE
from pyocgan.errors import InputError

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pyocgan"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py):(\w+)`", PAPER)))


def names_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize(("file", "name"), REFERENCES)
def test_paper_map_resolves(file, name):
    assert name in names_in(SOURCE / file)


@pytest.mark.parametrize("name", ["commands", "python"])
def test_pages_that_are_made_say_what_the_code_says(name):
    page = runpy.run_path(str(ROOT / "docs" / f"write_{name}.py"))["page"]
    written = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(), "run: make docs"


METHOD = ("networks.py", "losses.py", "mining.py", "algorithm.py")
HELPERS = {"bce", "build", "convolutions", "halvings", "Networks"}  # no equation's


def test_paper_map_is_complete():
    """Every public name of the four files of the method, but for those named here, is on it."""
    mapped = {name for _, name in REFERENCES}
    public = {n for file in METHOD for n in names_in(SOURCE / file) if not n.startswith("_")}
    assert public - mapped == HELPERS


def test_the_method_is_read_in_one_sitting():
    lines = sum(len((SOURCE / name).read_text(encoding="utf-8").splitlines()) for name in METHOD)
    assert lines < 400


def test_readme_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    share_found, share_alarmed = (float(v) for v in capsys.readouterr().out.split())
    assert share_found > 0.5
    assert share_alarmed < 0.25


COLUMNS = (("mnist", 2), ("fashion_mnist", 2), ("cifar10", 2), ("coil100", 1))
ROWS = {
    "5-NN, raw pixels": ["knn"] * 4,
    "5-NN, cosine": ["knn_cosine"] * 4,
    "5-NN, cosine, oriented gradients": ["knn_gradients"] * 4,
    "PCA-32 reconstruction": ["pca"] * 4,
    "OCGAN, preset `paper`, run here": ["paper", "paper", "paper-epochs15", "paper-epochs100"],
    "**OCGAN, preset `default`**": ["default"] * 4,
}


@pytest.mark.parametrize("row", ROWS)
def test_the_table_of_the_readme_is_that_of_the_results(row):
    (line,) = [line for line in README.splitlines() if line.startswith(f"| {row} |")]
    shown = [cell.strip(" *") for cell in line.strip("|").split("|")[1:]]
    for (dataset, protocol), method, cell in zip(COLUMNS, ROWS[row], shown, strict=True):
        path = ROOT / "results" / dataset / f"protocol{protocol}" / f"{method}.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        mean, deviation = f"{found['mean']:.4f}"[1:], found["std"]
        assert cell == (
            mean if deviation is None else f"{mean} ± {deviation:.4f}".replace("± 0", "± ")
        )


def test_the_guide_says_how_many_images_a_rate_needs():
    rows = re.findall(r"^\| `--fpr ([\d.]+)`.*" + r"\| (\d+) " * 4 + r"\|$", GUIDE, re.MULTILINE)
    assert len(rows) == 3
    shares = {
        "validation": Config().validation_fraction,
        "calibration": Config().calibration_fraction,
    }
    for rate, fewest, *of_200 in rows:
        counts = partial(split_counts, fpr=float(rate), **shares)
        assert counts(int(fewest))
        with pytest.raises(InputError):
            counts(int(fewest) - 1)
        split = counts(200)
        assert [split.validation, split.calibration, split.train] == [*map(int, of_200)]
    (needed,) = re.findall(r"it needs (\d+) for a rate of 0.05", GUIDE)
    assert f"it takes: {rows[0][1]} for 0.01, {rows[2][1]} for `--fpr 0.05`" in README
    for good, enough in ((int(needed), True), (int(needed) - 1, False)):
        left = round(PROTOCOL_1_TRAIN_SHARE * good)
        with nullcontext() if enough else pytest.raises(InputError):
            split_counts(left, fpr=0.05, **shares)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_resolve(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text)
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_scores_of_default_weigh_what_the_document_says():
    text = (ROOT / "docs" / "research.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]*) ?\| ([\d.]*) ?\|$", text, re.MULTILINE)
    for column, channels in enumerate((1, 3), 1):
        config = resolve("default", {}, channels=channels, size=(64, 64))
        weights = dict(zip(config.scores, config.score_weights, strict=True))
        assert {row[0]: float(row[column]) for row in rows if row[column]} == weights


def commands_in_documents():
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found = re.findall(r"^ *(?:\$ )?(?:time )?(ocgan .*)|`(ocgan [^`]+)`", text, re.MULTILINE)
        for line, code in found:  # code may go over a line's end, and hold several commands
            command = (line.partition("  #")[0] or code.replace("\n", " ")).replace("STAGE", "ae")
            for words in map(shlex.split, command.split("; ")):
                yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words)[6:66]}")


@pytest.mark.parametrize("words", [*commands_in_documents()])
def test_commands_in_documents_exist_with_their_flags(words):
    parse(words)


def test_a_command_with_a_flag_that_it_has_not_is_refused():
    for words in (["train", "photos"], ["benchmark"], ["benchmark", "summarise"], ["info"]):
        with pytest.raises(cyclopts.UnknownOptionError):
            parse([*words, "--nonsense", "1"])


def parse(words):
    """Parse a command, with x for whatever it lacks, as where a sentence names it alone."""
    from pyocgan.cli import app

    while True:
        try:
            return app.parse_args(words, exit_on_error=False, print_error=False)
        except cyclopts.MissingArgumentError as error:
            flag = [name for name in error.argument.names if name.startswith("--")]
            words = [*words, *flag, "bash" if words[0] == "completion" else "x"]
