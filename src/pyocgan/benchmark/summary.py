"""From the result files of a grid to one file a row of a table, which can be committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..errors import InputError, UsageError
from ..files import write_json
from .grid import chosen_classes, own_seeds
from .results import (
    CELL_FILES,
    FIGURES,
    Figure,
    Group,
    Result,
    cell_file,
    group_folder,
    read_result,
    summary_file,
)

DIGITS = 6  # of every figure in a summary

Cells = dict[tuple[str, int], Result]  # by class and seed


def summarise(
    folder: Path,
    results: Path,
    *,
    classes: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Path]:
    """Write ``results/<data set>/protocol<1|2|dev>/<method>.json`` for all that a folder holds.

    Parameters
    ----------
    folder
        Where `run` wrote; or a folder in it, for one data set, protocol or method alone.
    results
        Where the summaries go.
    classes
        The classes that must be there, by name or number; None: all of the data set.
    seeds
        The seeds that must be there; None: all that occur for any class.

    Raises
    ------
    InputError
        A cell is missing or does not fit the others; the message names it. Nothing is written.
    UsageError
        A class is unknown, or `classes` or `seeds` are empty.
    """
    summaries = {
        summary_file(results, *group): summary(cells.values(), classes, seeds)
        for group, cells in stored_groups(folder).items()
    }
    for path, content in summaries.items():
        write_json(path, content)
    return list(summaries)


def summary(
    results: Iterable[Result],
    classes: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Summarise all cells of one data set, protocol and method; see `summarise`.

    ``mean`` is the mean AUROC over classes of the means over seeds. ``std`` is the standard
    deviation (n − 1) over seeds of the means over classes; null for one seed.
    """
    cells = {(result["class"], result["seed"]): result for result in results}
    first = next(iter(cells.values()))
    names = chosen_classes(first["classes"], classes)
    chosen = sorted({seed for _, seed in cells} if seeds is None else {*seeds})
    for key, found in (("classes", names), ("seeds", chosen)):
        if not found:
            raise UsageError(f"{key} = [] must name one or more, or be None for all")
    chosen = list(own_seeds(chosen, first["protocol"], is_random=first["is_random"]))
    wanted = {(name, seed): _cell(cells, first, name, seed) for name in names for seed in chosen}
    _check_alike(wanted)
    means = {figure: _class_means(wanted, names, chosen, figure) for figure in FIGURES}
    return {
        "dataset": first["dataset"],
        "data": first["images"],
        "protocol": first["protocol"],
        "method": first["method"],
        "title": first["title"],
        "kind": first["kind"],
        "preset": first["preset"],
        "changes": first["changes"],
        "config": first["config"],
        "command": "; ".join(_unique(result["command"] for result in wanted.values())),
        "commit": "; ".join(_unique(result["commit"] for result in wanted.values())),
        "machine": ", ".join(_unique(r["environment"]["machine"] for r in wanted.values())),
        "created": _days(r["environment"]["created"] for r in wanted.values()),
        "environment": _environment(wanted.values()),
        "classes": names,
        "seeds": chosen,
        "cells": [_row(result) for result in wanted.values()],
        "mean": round(fmean(means["auroc"].values()), DIGITS),
        "std": _std_over_seeds(wanted, names, chosen),
        "mean_by_class": _rounded(means["auroc"]),
        "mean_aupr": round(fmean(means["aupr"].values()), DIGITS),
        "mean_fpr_at_95_tpr": round(fmean(means["fpr_at_95_tpr"].values()), DIGITS),
    }


def stored_groups(folder: Path) -> dict[Group, dict[Path, Result]]:
    """Read all results in a folder: by data set, protocol and method, and by file.

    Raises
    ------
    InputError
        There are none, one is damaged, or two are of the same cell.
    """
    groups: dict[Group, dict[Path, Result]] = defaultdict(dict)
    files: dict[tuple[object, ...], Path] = {}  # by cell
    for path in sorted(folder.rglob(CELL_FILES)):
        result = read_result(path)
        group = result["dataset"], result["protocol"], result["method"]
        first = files.setdefault((*group, result["class"], result["seed"]), path)
        if first != path:
            raise InputError(
                f"{str(first)!r} and {str(path)!r} are results of the same cell: choose the folder "
                "of one run"
            )
        groups[group][path] = result
    if not groups:
        raise InputError(f"{str(folder)!r} holds no results: ocgan benchmark --out writes them")
    return dict(groups)


def _cell(cells: Cells, first: Result, name: str, seed: int) -> Result:
    if (name, seed) in cells:
        return cells[name, seed]
    raise InputError(
        f"the cell {_place(first, name, seed)} is missing, and nothing is averaged "
        "without it: compute it, or name what is to be there with --classes and --seeds"
    )


def _place(result: Result, name: str, seed: int) -> str:
    """Return the file of a cell of the same data set, protocol and method as `result`."""
    folder = group_folder(Path(), result["dataset"], result["protocol"], result["method"])
    return str(folder / cell_file(tuple(result["classes"]), name, seed))


def _check_alike(cells: Cells) -> None:
    """Refuse to average cells of other settings or of another version of the data."""
    (name, seed), first = next(iter(cells.items()))
    for place, result in cells.items():
        for key, essence in _essence(result).items():
            if essence != _essence(first)[key]:
                raise InputError(
                    f"{_place(result, *place)} has other {key} than {_place(first, name, seed)}, "
                    "and they are not averaged: delete the one that is out of date, and ocgan "
                    "benchmark computes it again"
                )


def _essence(result: Result) -> dict[str, Any]:
    """Return what must be equal: of the images their pixels, not what is said of them."""
    images = result["images"]["checksum"]
    return {"config": result["config"], "classes": result["classes"], "images": images}


def _row(result: Result) -> dict[str, Any]:
    return {
        "class": result["class"],
        "seed": result["seed"],
        **{name: round(result[name], DIGITS) for name in FIGURES},
        "seconds": round(sum(result["seconds"].values()), 3),
        "n_train": result["n_train"],
        "n_test": result["n_test"],
    }


def _class_means(
    cells: Cells, names: Sequence[str], seeds: Sequence[int], figure: Figure
) -> dict[str, float]:
    return {name: fmean(cells[name, seed][figure] for seed in seeds) for name in names}


def _std_over_seeds(cells: Cells, names: Sequence[str], seeds: Sequence[int]) -> float | None:
    means = [fmean(cells[name, seed]["auroc"] for name in names) for seed in seeds]
    return round(stdev(means), DIGITS) if len(means) > 1 else None


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in figures.items()}


def _environment(results: Iterable[Result]) -> dict[str, Any]:
    """Return what the cells' environments say but for the time, different values joined."""
    found: dict[str, list[Any]] = defaultdict(list)
    for result in results:
        for key, value in result["environment"].items():
            found[key].append(value)
    found.pop("created", None)
    texts = {key: _unique(map(str, values)) for key, values in found.items()}
    return {k: ", ".join(texts[k]) if len(texts[k]) > 1 else found[k][0] for k in found}


def _days(times: Iterable[str]) -> str:
    """Return the day, or the first and the last, of times as 2026-01-02T03:04:05Z."""
    days = sorted(time[:10] for time in times)
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
