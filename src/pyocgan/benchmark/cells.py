"""One cell of the grid: a class, a seed and a method; measured, written and recognised."""

from __future__ import annotations

import io
import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..baselines import Scorer
from ..data.tree import natural_key
from ..errors import InputError, OcganError, UsageError, caught
from ..evaluation import evaluate
from ..files import write_bytes, write_json
from ..methods import Method, Resumable
from ..origin import code, command_line, commit
from ..tasks import Protocol
from .images import Pool, Trial
from .results import (
    CELL_FILES,
    FORMAT,
    Group,
    Identity,
    Measured,
    Origin,
    Result,
    Seen,
    cell_file,
    group_folder,
    read_result,
    require_scores,
)


@dataclass(frozen=True, eq=False)
class Cell:
    """A class of a data set, a seed and a method.

    Parameters
    ----------
    dataset, protocol, normal_class, seed
        What is learned; the seed is that of the draws of protocols 1 and dev and of the method.
    method
        What learns it.
    trial
        The images.
    seen
        What was read of the data set.
    """

    dataset: str
    protocol: Protocol
    normal_class: str
    seed: int
    method: Method
    trial: Trial
    seen: Seen

    @classmethod
    def of(cls, pool: Pool, trial: Trial, normal_class: str, seed: int, method: Method) -> Cell:
        """Build the cell of a pool."""
        return cls(pool.name, pool.protocol, normal_class, seed, method, trial, pool.seen)

    @property
    def group(self) -> Group:
        """What one row of a table is made of: data set, protocol, method."""
        return self.dataset, self.protocol, self.method.name

    def __str__(self) -> str:
        """Name the cell in one line."""
        return (
            f"{self.dataset}, protocol {self.protocol}, {self.method.name}, "
            f"class {self.normal_class}, seed {self.seed}"
        )

    def cut(self) -> Cell:
        """Return the same cell with its own images only, to be sent to another process."""
        return replace(self, trial=self.trial.cut())

    def path(self, folder: Path) -> Path:
        """Return where its result lies in the folder of a benchmark."""
        file = cell_file(self.trial.classes, self.normal_class, self.seed)
        return group_folder(folder, *self.group) / file

    @cached_property
    def identity(self) -> Identity:
        """What must be equal for a stored result to be this cell's."""
        return {
            "dataset": self.dataset,
            "protocol": self.protocol,
            "class": self.normal_class,
            "seed": self.seed,
            "method": self.method.name,
            "config": dict(self.method.config),
            "data": self.trial.checksums,
        }

    def checkpoint(self, folder: Path) -> Path:
        """Return where a method that trains for long keeps how far it is.

        For this identity, device and code: another device draws other random numbers, and a result
        says by which code it came about.
        """
        wanted = {**self.identity, "device": self.method.device_kind, "code": code()}
        digest = sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        return self.path(folder).with_suffix(f".{digest[:12]}.checkpoint")

    def measure(self, checkpoint: Path | None = None) -> tuple[Measured, NDArray[np.float64]]:
        """Fit, score and evaluate: the result without its origin, and the scores.

        With `checkpoint`, a method that can goes on from there.
        """
        scorer = self.method.make(self.seed)
        return self.judge(scorer, _fit(scorer, self.trial.train_pixels, checkpoint))

    def judge(
        self, scorer: Scorer, fit_seconds: float, fitted_together: int = 1
    ) -> tuple[Measured, NDArray[np.float64]]:
        """Score and evaluate what has been fitted, alone or as one of many, as in `measure`."""
        started = time.perf_counter()
        scores = scorer.novelty_scores(self.trial.test_pixels)
        score_seconds = time.perf_counter() - started
        if not np.isfinite(scores).all():
            raise InputError(f"{self}: a score is not finite")
        labels, classes = self.trial.test_labels, self.trial.classes
        untrained = sorted({*labels.tolist()} - {*classes}, key=natural_key)  # as kinds of defects
        figures = evaluate(scores, self.trial.is_novel, labels, (*classes, *untrained))
        # An equal share of the seconds where several were fitted together.
        shared = {"fitted_together": fitted_together} if fitted_together > 1 else {}
        result = {
            **self.identity,
            "format": FORMAT,
            "title": self.method.title,
            "kind": self.method.kind,
            "preset": self.method.preset,
            "changes": dict(self.method.changes),
            "is_random": self.method.is_random,
            "classes": list(self.trial.classes),
            "images": self.seen,
            "n_train": len(self.trial.train_rows),
            "n_test": len(self.trial.test_rows),
            **figures.to_dict(),
            "seconds": {"fit": round(fit_seconds, 4), "score": round(score_seconds, 4)},
            **shared,
        }
        return cast("Measured", result), scores

    def write(self, path: Path, result: Result, scores: NDArray[np.float64]) -> None:
        """Write the scores, then the result, which means that the cell is finished."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            index=self.trial.test_index,
            label=self.trial.test_labels,
            is_novel=self.trial.is_novel,
            score=scores,
        )
        path.unlink(missing_ok=True)  # of other settings: it must not stand beside these scores
        write_bytes(path.with_suffix(".npz"), content.getvalue())
        write_json(path, result)
        for checkpoint in path.parent.glob("*.checkpoint"):
            if checkpoint.name.partition(".")[0] == path.stem:
                checkpoint.unlink(missing_ok=True)


def measure(
    cells: Sequence[Cell], checkpoints: Sequence[Path]
) -> Iterator[tuple[Measured, NDArray[np.float64]] | OcganError]:
    """Measure one cell of any method, or many of OCGAN, trained together.

    Yield for each what `Cell.measure` returns, or the error that it ended with.
    """
    if len(cells) == 1:
        yield caught(partial(cells[0].measure, checkpoints[0]))
        return
    from ..detector import NoveltyDetector
    from ..stacked import fit_together

    scorers = [cast("NoveltyDetector", cell.method.make(cell.seed)) for cell in cells]
    pixels = [cell.trial.train_pixels for cell in cells]
    fitted = caught(partial(fit_together, scorers, pixels, checkpoints=checkpoints))
    errors = [fitted] * len(cells) if isinstance(fitted, OcganError) else fitted
    for cell, scorer, error in zip(cells, scorers, errors, strict=True):
        if error is not None:
            yield error
            continue
        yield caught(partial(cell.judge, scorer, scorer.seconds_, len(cells)))


def _fit(scorer: Scorer, pixels: NDArray[np.uint8], checkpoint: Path | None) -> float:
    """Fit, and return the seconds it took, interruptions left out."""
    started = time.perf_counter()
    if hasattr(scorer, "iter_fit"):
        trainer = cast("Resumable", scorer)
        for _ in trainer.iter_fit(pixels, checkpoint=checkpoint):
            pass
        return trainer.seconds_
    scorer.fit(pixels)
    return time.perf_counter() - started


def finished(cell: Cell, folder: Path, *, overwrite: bool = False) -> Result | None:
    """Return the stored result of a cell, or None.

    Parameters
    ----------
    cell, folder
        Where results lie.
    overwrite
        Count a damaged result, one without scores, or one from other images or settings, as none.

    Raises
    ------
    UsageError
        What is stored there was computed from other images or settings.
    InputError
        It cannot be read, or the scores are not beside it.
    """
    path = cell.path(folder)
    if not path.exists():
        return None
    try:
        return _checked(cell, path)
    except OcganError:
        if overwrite:
            return None
        raise


def _checked(cell: Cell, path: Path) -> Result:
    result = read_result(path)
    differences = _differences(result, json.loads(json.dumps(cell.identity)))
    if differences:
        raise UsageError(
            f"{str(path)!r} was computed with another {differences}: --overwrite replaces it, or "
            "choose another --out"
        )
    require_scores(path)
    return result


def results_like(cell: Cell, folder: Path) -> list[Result]:
    """Read all stored results of a cell's data set, protocol and method, but for damaged ones."""
    paths = group_folder(folder, *cell.group).glob(CELL_FILES)
    results = []
    for path in sorted(paths):
        with suppress(InputError):
            results.append(read_result(path))
    return results


def provenance() -> Origin:
    """Return what every result of a command says about its origin: commit, and the command."""
    return {"commit": commit(), "command": shlex.join(command_line())}


def _differences(stored: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """Say what differs: ``"config (epochs 5, now 10)"``; empty if nothing does."""
    changed = [key for key in wanted if stored.get(key) != wanted[key]]
    return ", ".join(_difference(key, stored.get(key), wanted[key]) for key in changed)


def _difference(key: str, stored: Any, wanted: Any) -> str:
    if key == "data":
        return "data checksum"
    if not isinstance(stored, dict):
        return f"{key} ({stored!r}, now {wanted!r})"
    names = [n for n in {**stored, **wanted} if stored.get(n) != wanted.get(n)]
    details = [f"{name} {stored.get(name)!r}, now {wanted.get(name)!r}" for name in names]
    return f"{key} ({'; '.join(details)})"
