"""How long cells will take: as long as finished ones, or by a few steps of a training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, cast

from .cells import Cell, results_like

if TYPE_CHECKING:
    from ..detector import NoveltyDetector

STEPS = 3  # that are timed


def estimated_seconds(cells: Sequence[Cell], folder: Path) -> float | None:
    """Estimate the time of cells that are alike, one after the other.

    Parameters
    ----------
    cells
        Of one data set, protocol and method.
    folder
        Where finished ones lie. Without any, a few steps of the first cell's training are timed,
        which leaves out scoring; of a method without steps the time is unknown, None.
    """
    if not cells:
        return 0.0
    known = [sum(result["seconds"].values()) for result in results_like(cells[0], folder)]
    if known:
        return fmean(known) * len(cells)
    if cells[0].method.kind != "ocgan":
        return None
    return _training_seconds(cells[0]) * len(cells)


def _training_seconds(cell: Cell) -> float:
    detector = cast("NoveltyDetector", cell.method.make(cell.seed))
    iterations, seconds = _timed(detector, cell)
    config = detector.config_
    mining = config.epochs - config.mining_start if config.uses_mining else 0
    total = iterations * (config.epochs - mining) * seconds
    if mining:
        always = detector.set_params(settings__mining_warmup=0.0)
        total += iterations * mining * _timed(always, cell)[1]
    return total


def _timed(detector: NoveltyDetector, cell: Cell) -> tuple[int, float]:
    """Return the iterations of an epoch, and the seconds of one: not the first, which prepares."""
    fitting = detector.iter_fit(cell.trial.train_pixels)
    iterations = next(fitting).iterations
    next(fitting, None)
    started = time.perf_counter()
    done = sum(1 for _ in islice(fitting, STEPS))
    seconds = (time.perf_counter() - started) / max(done, 1)
    fitting.close()
    return iterations, seconds
