"""The grid: which cells there are, which of them are to be computed, and computing them."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from ..claims import claimed, is_claimed, unsure_claim
from ..data import ImageRule
from ..data.source import class_named
from ..errors import OcganError, UsageError
from ..methods import Method
from ..origin import environment
from ..tasks import Protocol
from .cells import Cell, finished, measure
from .images import Pool
from .results import Environment, Measured, Origin, Result

Executor = Literal["local", "ray"]
WATCH_SECONDS = 2.0
_End = tuple[Result | None, str | None]  # of a cell: result and error


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
        if seed in own_seeds(seeds, pool.protocol, is_random=method.is_random)
    ]


def chosen_classes(classes: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Return the classes `wanted` by name or number, or all, in the order of `classes`."""
    if wanted is None:
        return list(classes)
    named = {class_named(name, classes) for name in wanted}
    return [name for name in classes if name in named]


def own_seeds(seeds: Sequence[int], protocol: Protocol, *, is_random: bool) -> Sequence[int]:
    """Return the seeds of a method's cells: 0 alone where nothing is drawn, as in protocol 2."""
    return seeds if is_random or protocol != 2 else (0,)


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
    return [cell for cell in cells if finished(cell, folder, overwrite=overwrite) is None]


def run(
    cells: Sequence[Cell],
    folder: Path,
    origin: Origin,
    *,
    jobs: int = 1,
    executor: Executor = "local",
    overwrite: bool = False,
    stack: int = 1,
) -> Generator[Outcome, None, None]:
    """Compute cells, in `jobs` processes, and yield what became of each as it ends.

    With more than one job, each has one thread; joblib hands images over as memory maps. Ray yields
    nothing before all have ended. An `OcganError` stops one cell, not the grid.

    Parameters
    ----------
    cells
        As from `unfinished`.
    folder
        Where results go.
    origin
        As from `provenance`; becomes part of every result.
    jobs, executor
        How many processes, on this machine or on a Ray cluster whose nodes all see `folder`.
    overwrite
        As in `unfinished`.
    stack
        How many cells of OCGAN, alike but for class and seed, are trained together.
    """
    check_executor(executor)
    stacks = _stacks(cells, stack)
    if jobs == 1 and executor == "local":
        for members in stacks:
            yield from _outcomes(members, _compute(members, folder, origin, overwrite))
        return
    parent = os.getpid() if executor == "local" else None
    with _backend(executor, jobs):
        returns = "list" if executor == "ray" else "generator_unordered"
        ended = joblib.Parallel(return_as=returns)(
            joblib.delayed(_compute_alone)(
                number, [cell.cut() for cell in members], folder, origin, overwrite, parent
            )
            for number, members in enumerate(stacks)
        )
        try:
            for number, ends in ended:
                yield from _outcomes(stacks[number], ends)
        except BrokenProcessPool:
            raise OcganError(
                "a worker process was killed, perhaps for want of memory: finished cells stay, and "
                "the same command goes on, with fewer --jobs if need be"
            ) from None


def check_executor(executor: Executor) -> None:
    """Refuse an executor that is not installed."""
    if executor == "ray" and find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray: pip install 'pyocgan[ray]'")


def busy(cells: Iterable[Cell], folder: Path) -> int:
    """Count the cells that another living process is computing."""
    return sum(is_claimed(cell.path(folder)) for cell in cells)


def unsure_claims(cells: Iterable[Cell], folder: Path) -> list[str]:
    """Describe the claims on cells of which nobody here knows whether their processes live."""
    return [text for cell in cells if (text := unsure_claim(cell.path(folder)))]


def _stacks(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """Share the cells out: up to `size` of OCGAN of one data set and settings, others alone."""
    groups: dict[object, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.group if cell.method.kind == "ocgan" else cell].append(cell)
    return [
        members[first : first + size]
        for members in groups.values()
        for first in range(0, len(members), size)
    ]


def _outcomes(cells: Sequence[Cell], ends: Sequence[_End]) -> Iterator[Outcome]:
    for cell, end in zip(cells, ends, strict=True):
        yield Outcome(cell, *end)


def _compute(cells: Sequence[Cell], folder: Path, origin: Origin, overwrite: bool) -> list[_End]:
    """Compute cells, but for those that another process has or had; give result or error."""
    ends: dict[Cell, _End] = {}
    with ExitStack() as claims:
        for cell in cells:
            try:
                mine = claims.enter_context(claimed(cell.path(folder)))
                stored = finished(cell, folder, overwrite=overwrite) if mine else None
            except OcganError as error:
                ends[cell] = None, str(error)
            else:
                if stored is not None or not mine:  # another process was faster
                    ends[cell] = stored, None
        left = [cell for cell in cells if cell not in ends]
        checkpoints = [cell.checkpoint(folder) for cell in left]
        if left:
            for cell, measured in zip(left, measure(left, checkpoints), strict=True):
                ends[cell] = _write(cell, measured, folder, origin)
    return [ends[cell] for cell in cells]


def _write(
    cell: Cell,
    measured: tuple[Measured, NDArray[np.float64]] | OcganError,
    folder: Path,
    origin: Origin,
) -> _End:
    if isinstance(measured, OcganError):
        return None, str(measured)
    threads = max((pool["num_threads"] for pool in threadpool_info()), default=1)  # at most
    here = cast("Environment", {**environment(), "threads": threads})
    if cell.method.device_kind == "cuda":
        here["machine"] += f", {_gpu(cell.method.settled_device)}"
    result: Result = {**measured[0], **origin, "environment": here}
    try:
        cell.write(cell.path(folder), result, measured[1])
    except OcganError as error:
        return None, str(error)
    return result, None


def _gpu(device: str) -> str:
    """Name the GPU that this process works on."""
    import torch

    return torch.cuda.get_device_name(device)


def _compute_alone(
    number: int,
    cells: Sequence[Cell],
    folder: Path,
    origin: Origin,
    overwrite: bool,
    parent: int | None,
) -> tuple[int, list[_End]]:
    """Compute stack `number` in a process of its own, with one thread; see `_leave_with`."""
    with nullcontext() if parent is None else _leave_with(parent):
        if parent is not None and os.getppid() != parent:
            return number, [(None, None)] * len(cells)
        if cells[0].method.kind != "baseline":
            import torch

            torch.set_num_threads(1)
        with threadpool_limits(1):
            return number, _compute(cells, folder, origin, overwrite)


@cache
def _leave_with(parent: int) -> threading.Lock:
    """Return a lock to hold while at work: otherwise this process ends soon after `parent` did.

    joblib's worker would wait for a parent that was killed, with all its memory, for good. Work
    that is begun is finished.
    """
    at_work = threading.Lock()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        with at_work:
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    return at_work


def _backend(executor: Executor, jobs: int) -> Any:
    """Return joblib's context manager for an executor."""
    if executor == "local":
        return joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1)
    import_module("ray.util.joblib").register_ray()
    return joblib.parallel_config("ray", n_jobs=jobs)
