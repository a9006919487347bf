"""The grid: which cells there are, which of them are to be computed, and computing them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import joblib
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ..data import ImageRule
from ..data.source import class_named
from ..errors import OcganError, UsageError
from ..methods import Method
from ..tasks import Protocol
from .cells import Cell, Result, finished
from .claims import claimed, is_claimed
from .images import Pool

Executor = Literal["local", "ray"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a cell: a result, or an error, or neither: another process has it."""

    cell: Cell
    result: Result | None = None
    error: str | None = None


def plan(
    pools: Iterable[Pool],
    methods: Callable[[ImageRule], Sequence[Method]],
    *,
    classes: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
) -> list[Cell]:
    """List all cells, a class and seed at a time.

    Parameters
    ----------
    pools
        From `open_pool`.
    methods
        Gives the methods for images of a size and number of channels.
    classes
        Names or numbers; None: all.
    seeds
        Of the draws of protocols 1 and dev, and of the methods. Protocol 2 draws nothing, so a
        method without randomness has only one cell for each class there, that of seed 0.
    """
    return [
        Cell.of(pool, trial, name, seed, method)
        for pool in pools
        for chosen in (methods(pool.rule),)
        for name in chosen_classes(pool.classes, classes)
        for seed in sorted({*seeds, 0})
        for trial in (pool.trial(name, seed),)
        for method in chosen
        if seed in _seeds(method, pool.protocol, seeds)
    ]


def chosen_classes(classes: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the names of the classes `wanted` by name or number, each once, or of all."""
    if wanted is None:
        return list(classes)
    return list(dict.fromkeys(class_named(name, classes) for name in wanted))


def unfinished(cells: Iterable[Cell], folder: Path, *, overwrite: bool = False) -> list[Cell]:
    """Return the cells without a result.

    Parameters
    ----------
    cells, folder
        The plan, and where results lie.
    overwrite
        Count a result from other images or settings as none, instead of raising.

    Raises
    ------
    UsageError
        A stored result was computed from other images or settings; the message names the file.
    """
    return [cell for cell in cells if _finished(cell, folder, overwrite=overwrite) is None]


def run(
    cells: Sequence[Cell],
    folder: Path,
    about: Mapping[str, Any],
    *,
    jobs: int = 1,
    executor: Executor = "local",
    overwrite: bool = False,
) -> Generator[Outcome, None, None]:
    """Compute cells, in `jobs` processes, and yield what became of each as it ends.

    With more than one job, each has one thread; joblib hands images over as memory maps. Ray yields
    nothing before all have ended. What an `OcganError` stops is one cell, not the grid.

    Parameters
    ----------
    cells
        As from `unfinished`.
    folder
        Where results go.
    about
        As from `provenance`; becomes part of every result.
    jobs, executor
        How many processes, on this machine or on a Ray cluster whose nodes all see `folder`.
    overwrite
        As in `unfinished`.
    """
    check_executor(executor)
    if jobs == 1 and executor == "local":
        for cell in cells:
            yield Outcome(cell, *_compute(cell, folder, about, overwrite))
        return
    with _backend(executor, jobs):
        returns = "list" if executor == "ray" else "generator_unordered"
        ended = joblib.Parallel(return_as=returns)(
            joblib.delayed(_compute_alone)(number, cell.cut(), folder, about, overwrite)
            for number, cell in enumerate(cells)
        )
        for number, result, error in ended:
            yield Outcome(cells[number], result, error)


def check_executor(executor: Executor) -> None:
    """Refuse an executor that is not installed."""
    if executor == "ray" and find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray: pip install 'pyocgan[ray]'")


def busy(cells: Iterable[Cell], folder: Path) -> int:
    """Count the cells that another living process is computing."""
    return sum(is_claimed(cell.path(folder)) for cell in cells)


def _compute(
    cell: Cell, folder: Path, about: Mapping[str, Any], overwrite: bool
) -> tuple[Result | None, str | None]:
    """Compute one cell, unless another process has it or had it; give its result or error."""
    path = cell.path(folder)
    try:
        with claimed(path) as mine:
            if not mine:
                return None, None
            stored = _finished(cell, folder, overwrite=overwrite)
            if stored is not None:  # another process was faster
                return stored, None
            result, scores = cell.measure(cell.checkpoint(folder))
            result |= about
            cell.write(path, result, scores)
            return result, None
    except OcganError as error:
        return None, str(error)


def _compute_alone(
    number: int, cell: Cell, folder: Path, about: Mapping[str, Any], overwrite: bool
) -> tuple[int, Result | None, str | None]:
    """Compute cell `number` in a process of its own, with one thread."""
    if cell.method.kind != "baseline":
        import torch

        torch.set_num_threads(1)
    with threadpool_limits(1):
        return number, *_compute(cell, folder, about, overwrite)


def _finished(cell: Cell, folder: Path, *, overwrite: bool) -> Result | None:
    try:
        return finished(cell, folder)
    except OcganError:
        if overwrite:
            return None
        raise


def _seeds(method: Method, protocol: Protocol, seeds: Sequence[int]) -> Sequence[int]:
    return seeds if method.is_random or protocol != 2 else (0,)


def _backend(executor: Executor, jobs: int) -> Any:
    """Return joblib's context manager for an executor."""
    if executor == "local":
        return joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1)
    import_module("ray.util.joblib").register_ray()
    return joblib.parallel_config("ray", n_jobs=jobs)
