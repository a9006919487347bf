"""The documents say what the code does."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pyocgan"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py):(\w+)`", PAPER)))


def names_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize(("file", "name"), REFERENCES)
def test_paper_map_resolves(file, name):
    assert name in names_in(SOURCE / file)


def test_paper_map_is_complete():
    """Every loss, and every public name of the four files of the method, is on the map."""
    mapped = {name for _, name in REFERENCES}
    assert names_in(SOURCE / "losses.py") - {"bce"} <= mapped
    assert {"mine", "iterate", "Encoder", "Decoder", "LatentDiscriminator"} <= mapped


def test_the_method_is_read_in_one_sitting():
    files = ("networks.py", "losses.py", "mining.py", "algorithm.py")
    lines = sum(len((SOURCE / name).read_text(encoding="utf-8").splitlines()) for name in files)
    assert lines < 400


def test_readme_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    share_found, share_alarmed = (float(v) for v in capsys.readouterr().out.split())
    assert share_found > 0.5
    assert share_alarmed < 0.25


def test_readme_links_resolve():
    links = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = [link for pair in links for link in pair if link and "://" not in link]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_commands_page_is_what_help_prints():
    page = runpy.run_path(str(ROOT / "docs" / "write_commands.py"))["page"]
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == page(), "run: make docs"


def test_readme_names_existing_commands():
    from pyocgan.cli import app

    used = set(re.findall(r"^\$? ?ocgan (\w+)", README, re.MULTILINE))
    assert used
    assert used <= set(app)


def test_changelog_names_the_version():
    import pyocgan

    assert pyocgan.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
