"""Write docs/python.md: every public name of pyocgan, by its signature and docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docstring_parser

import pyocgan
from pyocgan.config import FIELDS, PRESETS, resolve

NAMES = ("NoveltyDetector", "open_source", "suspicion", "evaluate", "fetch", "ImageRule", "Config")
SECTIONS = {"param": "Parameters", "attribute": "Attributes", "returns": "Returns"}
SECTIONS |= {"raises": "Raises"}
WIDTH = 92  # of a signature
PAGE = Path(__file__).parent / "python.md"


def page() -> str:
    """Return the whole page."""
    lines = ["# pyocgan in Python", "", "Made by `make docs`; a test keeps it true.", ""]
    for name in NAMES:
        lines += [f"## `{name}`", "", *_described(getattr(pyocgan, name), name)]
        if name == "NoveltyDetector":
            for method, function in _methods(pyocgan.NoveltyDetector):
                lines += [f"### `{method}`", "", *_described(function, method)]
        if name == "Config":
            lines += _settings()
    errors = [name for name in pyocgan.__all__ if name not in NAMES]
    lines += ["## Errors and warnings", ""]
    lines += [f"- `{name}`: {_text(inspect.getdoc(getattr(pyocgan, name)))}" for name in errors]
    return "\n".join(lines) + "\n"


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods of a class, in the order in which they stand there."""
    for name, value in vars(kind).items():
        if not name.startswith("_") and not isinstance(value, property):
            yield name, getattr(kind, name)


def _described(thing: Any, name: str) -> Iterator[str]:
    if name != "Config":  # whose fields are in a table
        yield from ("```python", _signature(thing, name), "```", "")
    found = docstring_parser.parse(
        inspect.getdoc(thing) or "", style=docstring_parser.DocstringStyle.NUMPYDOC
    )
    yield from (_text(found.short_description), "")
    for paragraph in (found.long_description or "").split("\n\n"):
        if paragraph:
            yield from (_text(paragraph), "")
    for kind, title in SECTIONS.items():
        entries = [entry for entry in found.meta if entry.args[0] == kind]
        if entries:
            yield from (f"*{title}*", "", *map(_entry, entries), "")


def _entry(entry: docstring_parser.common.DocstringMeta) -> str:
    """Write one entry of a docstring's section: its name, where it has one, and its type."""
    kind, text = getattr(entry, "type_name", None), _text(entry.description)
    if entry.args[0] == "returns":
        return f"- `{kind}`: {text}" if text else f"- {_text(kind)}"
    names = entry.args[1:] + ([kind] if kind and entry.args[0] == "attribute" else [])
    return f"- `{': '.join(names)}`: {text}"


def _signature(thing: Any, name: str) -> str:
    """Write a signature, a parameter a line where it is long; types as they stand in the code."""
    signature = inspect.signature(thing)
    own = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    words = [_parameter(one) for one in own]
    named = [place for place, one in enumerate(own) if one.kind is one.KEYWORD_ONLY]
    if named:
        words.insert(named[0], "*")
    result = "" if inspect.isclass(thing) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(words)}){result}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in words), f"){result}"])


def _parameter(one: inspect.Parameter) -> str:
    stars = "**" if one.kind is one.VAR_KEYWORD else ""
    default = "" if one.default is one.empty else f" = {one.default!r}"
    return f"{stars}{one.name}: {one.annotation}{default}"


def _settings() -> Iterator[str]:
    """Yield a table of the settings and of what each preset makes of them for small grey images."""
    presets = {name: resolve(name, {}).to_dict() for name in PRESETS}
    yield "What each is by preset, for grey images of at most 32 pixels a side:"
    yield ""
    yield " | ".join(["| setting", *(f"`{name}`" for name in presets), "|"])
    yield "|---" * (len(presets) + 2) + "|"
    for name, field in FIELDS.items():
        values = [_value(preset[name]) for preset in presets.values()]
        text = field.metadata["help"].replace("|", "\\|")
        yield " | ".join([f"| `{name}`", *values, f"{text} |"])
    yield ""


def _value(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text or "none"


def _text(text: str | None) -> str:
    """Join the lines of a paragraph, and write code as Markdown does."""
    return re.sub(r"``(.+?)``", r"`\1`", " ".join((text or "").split()))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
