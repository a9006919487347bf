"""Imports point one way, and what needs no torch loads none."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyocgan

ROOT = Path(pyocgan.__file__).parent

# A module may import those of the lines above its own; a folder is one module.
LAYERS = """
    errors blank
    data files figures images calibration evaluation devices
    config pages charts model_folder baselines origin
    convolution gradients losses residual moves run_folder tasks demo_page
    claims turns flaws preparation
    unnormalised
    networks turn_training flaw_training
    frozen replay
    mining scoring projection
    algorithm novelty
    evidence
    score_training
    training
    saved_model
    detector
    methods demo mistakes stacked
    benchmark
    benchmark_report
    cli
"""
LAYER = {
    name: number for number, line in enumerate(LAYERS.split("\n")) for name in line.split()
} | {"__init__": 0}

TORCH_FREE = """
    config data errors files figures charts pages demo_page tasks model_folder origin run_folder
    calibration baselines evaluation methods benchmark benchmark_report cli
    cli.train cli.predict cli.evaluate cli.report cli.info
"""
HEAVY = {"torch", "lightning_fabric"}


def files():
    return sorted(ROOT.rglob("*.py"))


def module_of(path):
    """The file's name in the table: ``data/rule.py`` is ``data``."""
    first, *rest = path.relative_to(ROOT).parts
    return first if rest else first.removesuffix(".py")


def imported(path):
    """Modules of pyocgan that a file imports anywhere, but for the type checker alone."""
    depth = len(path.relative_to(ROOT).parts)
    todo = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            is_negated = isinstance(node.test, ast.UnaryOp)
            todo += node.body if is_negated else node.orelse
            continue
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("pyocgan") for name in node.names), path
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("pyocgan"), f"{path}: write it with dots"
            if node.level == depth:  # the package's own folder
                names = [node.module] if node.module else [name.name for name in node.names]
                yield from (name.partition(".")[0] for name in names if name != "__version__")
        todo += ast.iter_child_nodes(node)


def test_every_module_has_its_place_in_the_table():
    assert {module_of(path) for path in files()} - {"__main__"} == set(LAYER)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_upwards_in_the_table(path):
    module = module_of(path)
    if module == "__main__":
        return
    wrong = {name for name in imported(path) if LAYER[name] >= LAYER[module]}
    assert wrong == set(), f"{module} must not import these"


def test_data_imports_errors_alone():
    assert {n for path in (ROOT / "data").glob("*.py") for n in imported(path)} == {"errors"}


def test_the_test_sees_imports_inside_functions_and_of_folders():
    assert "detector" in set(imported(ROOT / "cli" / "train.py"))
    assert "errors" in set(imported(ROOT / "data" / "decode.py"))
    assert "training" not in set(imported(ROOT / "run_folder.py"))  # there for types only


def loaded_by(code):
    """Those of the heavy packages that a fresh Python has loaded after some code."""
    code += f"\nimport sys; print(*({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_modules_that_need_no_torch_load_none():
    names = ", ".join(f"pyocgan.{name}" for name in TORCH_FREE.split())
    assert loaded_by(f"import pyocgan, {names}") == set()


def test_the_test_sees_torch():
    assert loaded_by("import pyocgan.networks") == {"torch"}
    assert loaded_by("from pyocgan import NoveltyDetector") == {"torch"}  # Fabric only to train


def run(*arguments):
    return f"from pyocgan.cli import run\nassert run({[str(a) for a in arguments]!r}) == 0"


def test_commands_that_need_no_torch_load_none(model, tmp_path):
    commands = [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["info"],
        ["info", "--json"],
        ["info", model],
        ["data"],
        ["data", "describe", "digits"],
        ["completion", "bash"],
    ]
    assert loaded_by("\n".join(run(*arguments) for arguments in commands)) == set()


def test_scoring_loads_no_fabric(model, tmp_path):
    code = run("predict", model, "digits", "--out", tmp_path / "scores.csv")
    assert loaded_by(code) == {"torch"}
