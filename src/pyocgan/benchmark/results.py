"""The file of a cell's result: what stands in it, where it lies, and reading it back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, cast, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
from numpy.typing import NDArray

from ..config import completed
from ..errors import InputError, system_reason
from ..files import NPZ_DAMAGE
from ..tasks import Protocol

FORMAT = "pyocgan cell"
Figure = Literal["auroc", "aupr", "fpr_at_95_tpr"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
CELL_FILES = "class-*-seed*.json"  # all that `cell_file` names
SUMMARY_FILES = "*/protocol*/*.json"  # all that `summary_file` names
SCORES = ("index", "label", "is_novel", "score")  # arrays, a number an image, beside a result
AGAIN = "ocgan benchmark --overwrite computes the cell again"

Group = tuple[str, Protocol, str]  # data set, protocol, method: what makes a row of a table

# What must be equal for a stored result to be a cell's. In this form for the key "class".
Identity = TypedDict(
    "Identity",
    {
        "dataset": str,
        "protocol": Protocol,
        "class": str,  # the normal one
        "seed": int,  # of the draws of protocols 1 and dev, and of the method
        "method": str,
        "config": dict[str, Any],  # all settings, nothing left "auto"
        "data": dict[str, str],  # SHA-256 of the images that train and of those tested
    },
)


class Seen(TypedDict):
    """What was read of a data set, the same for all its cells."""

    source: str  # path or name, as it was given
    description: str
    caveat: str  # how its pixels differ from the official ones; empty if they do not
    image_rule: str  # in words
    rule: dict[str, Any]  # as `ImageRule.to_dict` gives it
    checksum: dict[str, str]  # SHA-256 of each part, as methods see it


class Measured(Identity):
    """What a cell came to."""

    title: str
    kind: Literal["ocgan", "baseline", "pyod"]
    preset: str | None
    changes: dict[str, Any]  # the settings that differ from the preset
    is_random: bool
    classes: list[str]  # all, in official order
    images: Seen
    n_train: int
    n_test: int
    auroc: float
    aupr: float
    fpr_at_95_tpr: float
    seconds: dict[str, float]  # "fit" and "score"


class Origin(TypedDict):
    """Where all results of a command come from."""

    command: str
    commit: str


class Environment(TypedDict):
    """Where and when; the file also names versions and threads."""

    machine: str
    created: str  # UTC, ISO 8601


class Result(Measured, Origin):
    """What is read of a result file, which says more: format, kinds of novelty, models together."""

    environment: Environment


def read_result(path: Path) -> Result:
    """Read a result file; settings of OCGAN that came later are as they are by default.

    Raises
    ------
    InputError
        It is damaged or no result of a benchmark.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a result: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{str(path)!r} is not the result of a benchmark")
    if fault := next(_faults(content, Result), ""):
        raise InputError(f"{str(path)!r} is not a whole result of a benchmark: {fault}")
    result = cast("Result", content)
    if result["kind"] == "ocgan":
        result["config"] = completed(result["config"])
    return result


def _faults(content: dict[str, Any], kind: type, of: str = "") -> Iterator[str]:
    """Name the fields that are missing or no such thing."""
    for key, wanted in _hints(kind).items():
        if key not in content:
            yield f"{key!r}{of} is missing"
        elif not _is(content[key], wanted):
            yield f"{key!r}{of} is {content[key]!r}"
        elif key in FIGURES and not is_figure(content[key]):
            yield f"{key!r}{of} is {content[key]!r}, no number in [0, 1]: {AGAIN}"
        elif is_typeddict(wanted):
            yield from _faults(content[key], wanted, f" of {key!r}")


def is_figure(value: Any) -> bool:
    """Say whether a file's value is a number in [0, 1], as all `FIGURES` are; NaN is not."""
    # Rounding may lift the average precision of a perfect order to 1.0000000000000004.
    return _is(value, float) and 0 <= value <= 1 + 1e-9


def _is(value: Any, kind: Any) -> bool:
    """Say whether JSON's `value` is of a type, as far as it is written above."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin is UnionType:
        return any(_is(value, one) for one in get_args(kind))
    if isinstance(value, bool):
        return origin is bool
    if origin is float:
        return isinstance(value, int | float)
    return isinstance(value, dict if is_typeddict(origin) else origin)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def read_scores(path: Path) -> dict[str, NDArray[Any]]:
    """Read index, label, is_novel and score of every image that a result file was measured on.

    The index counts within the test part; for protocol 1 within the whole data set, for dev within
    the training part.

    Raises
    ------
    InputError
        They are missing or damaged.
    """
    file, advice = require_scores(path), f"delete it, and {AGAIN}"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            scores = dict(arrays)
    except (OSError, *NPZ_DAMAGE) as error:
        reason = system_reason(error)
        raise InputError(f"{str(file)!r} cannot be read: {reason}; {advice}") from None
    if lacking := [name for name in SCORES if name not in scores]:
        raise InputError(f"{str(file)!r} lacks {lacking[0]!r}: {advice}")
    return scores


def require_scores(path: Path) -> Path:
    """Return the file of the scores behind a result file; raise `InputError` where it is not."""
    file = path.with_suffix(".npz")
    if not file.exists():
        raise InputError(f"{str(file)!r} is missing: put it back, or {AGAIN}")
    return file


def group_folder(folder: Path, dataset: str, protocol: Protocol, method: str) -> Path:
    """Return where the results of a data set, protocol and method lie."""
    return folder / dataset / f"protocol{protocol}" / method


def summary_file(results: Path, dataset: str, protocol: Protocol, method: str) -> Path:
    """Return the file that summarises all cells of a data set, protocol and method."""
    return group_folder(results, dataset, protocol, method).with_name(f"{method}.json")


def cell_file(classes: tuple[str, ...], normal_class: str, seed: int) -> str:
    """Return what the result file of a class and a seed is called."""
    return f"class-{class_words(classes)[normal_class]}-seed{seed}.json"


def class_words(classes: tuple[str, ...]) -> dict[str, str]:
    """Return a word for each class that is good for file names, no two the same."""
    words = [re.sub(r"\W+", "-", name).strip("-") for name in classes]
    named = list(zip(classes, words, strict=True))
    numbered = {name: f"{index}-{word}" for index, (name, word) in enumerate(named)}
    count = Counter(word.casefold() for word in words)
    found = {
        name: word if word and count[word.casefold()] == 1 else numbered[name]
        for name, word in named
    }
    alone = len({word.casefold() for word in found.values()}) == len(classes)
    return found if alone else numbered  # as of 1-a, a and a-
