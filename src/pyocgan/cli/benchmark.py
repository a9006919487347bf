"""`ocgan benchmark`: a grid of data sets, classes, seeds and methods; and tables of its results."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from ..errors import OcganError, TrainingInterruptedError, UsageError
from ..files import check_creatable
from ..tasks import Protocol
from . import terminal
from .benchmark_display import display, follow
from .flags import (
    AsJson,
    DataRoot,
    Out,
    Quiet,
    Switch,
    Whole,
    comma_numbers,
    comma_words,
    read_classes,
    read_seeds,
)
from .guards import check_apart
from .settings import SETTINGS_GROUP, Preset, SettingFlags, settings_from

if TYPE_CHECKING:
    from ..benchmark import Cell, Outcome, Result
    from ..benchmark.results import Group
    from ..data import ImageRule
    from ..methods import Method

TOGETHER = 10  # models, on a GPU that one would leave idle

app = cyclopts.App(
    name="benchmark",
    help_format="markdown",
    usage="Usage: ocgan benchmark --dataset STR... --out PATH [OPTIONS]",
)


@app.default
def benchmark(
    *,
    dataset: Annotated[list[str], Parameter(negative="")],
    out: Out,
    protocol: Protocol = 2,
    method: str = "ocgan,knn,knn_cosine,knn_gradients,pca",
    classes: str = "all",
    seeds: str = "0",
    jobs: Whole = 1,
    executor: Literal["local", "ray"] = "local",
    stack: Whole | None = None,
    data_root: DataRoot = None,
    preset: Preset = "default",
    config: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    overwrite: Switch = False,
    dry_run: Switch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    settings: Annotated[SettingFlags | None, Parameter(name="*", group=SETTINGS_GROUP)] = None,
) -> None:
    """Measure methods on every class of a data set; one result file for each class, seed, method.

    It may be interrupted at any moment: the same command goes on. Several may work on the same
    folder at once, and none repeats another's work; a mean is printed by the one that finds all
    of it finished. A cell, one class, seed and method, is never computed twice.

    Parameters
    ----------
    dataset
        mnist, fashion_mnist, cifar10, coil100, digits, or a labelled folder or file; repeat it for
        more than one.
    out
        The folder for results: DATASET/protocolN/METHOD/class-NAME-seedN.json, and .npz with the
        score of every image beside each.
    protocol
        1: train on 80 % of a class, test on the rest and as many others; the seed draws them.
        2: train on a class of the official training part, test on the whole test part.
        dev: 1 within the training part, to choose settings without looking at a test image.
    method
        Comma-separated: ocgan (with preset and settings), knn, knn_cosine, knn_gradients, pca,
        kde, ocsvm, iforest; with PyOD installed pyod_deepsvdd, pyod_autoencoder.
    classes
        Names or numbers, comma-separated; or all.
    seeds
        Comma-separated. Methods without randomness have one cell a class in protocol 2, seed 0.
    jobs
        Processes; with more than one, each has one thread.
    executor
        ray: run the jobs on a Ray cluster whose nodes all see the folder.
    stack
        How many classes and seeds of ocgan each process trains together, for a GPU that one model
        leaves idle (default: 10 on cuda with one job, else 1). Results equal those of one by one,
        on a GPU to rounding.
    preset
        Of ocgan. default: the best found here; paper: the numbers of the paper; fast: paper,
        narrower and shorter, to try things.
    config
        A YAML file of ocgan's settings.
    device
        Of ocgan: auto (cuda or cpu), cpu, cuda or mps.
    precision
        Of ocgan: auto, 32-true or bf16-mixed.
    overwrite
        Replace results that are damaged, without scores, or of other settings or images, instead
        of stopping at them.
    dry_run
        Print what would be computed, and about how long it takes: as long as finished cells of the
        kind, or by a few steps of a training. Write nothing.
    quiet
        Show no progress.
    as_json
        Print the figures of every cell as JSON.
    """
    from ..benchmark import check_executor, open_pool, plan, run, unfinished

    chosen = settings_from(config, settings)
    keys, numbers = comma_words("--method", method), comma_numbers("--seeds", seeds)
    wanted = read_classes(classes)
    _check_positive("--jobs", jobs)
    _check_positive("--stack", stack)
    check_executor(executor)
    methods = _methods(keys, partial(_ocgan, preset, chosen, device, precision))
    sources = _distinct(dataset, out)
    if not dry_run:
        check_creatable(out)
    pools = [
        open_pool(source, protocol, data_root=data_root, settings=chosen) for source in sources
    ]
    terminal.note(*(line for pool in pools for line in (pool.seen["description"], *pool.notes)))
    cells = plan(pools, methods, classes=wanted, seeds=numbers)
    if protocol == 2 and numbers != [0] and any(not cell.method.is_random for cell in cells):
        terminal.note("methods without randomness run once a class, as seed 0")
    remaining = partial(unfinished, cells, out, overwrite=overwrite)
    pending = remaining()
    if dry_run:
        _print_plan(cells, pending, out, jobs, as_json=as_json)
        return
    if stack is None:
        stack = _settle_stack(cells, jobs)
    start = partial(run, jobs=jobs, executor=executor, overwrite=overwrite, stack=stack)
    try:
        failed = _compute(cells, pending, out, start, quiet=quiet)
    except KeyboardInterrupt:
        raise TrainingInterruptedError(
            f"interrupted: {len(cells) - len(remaining())} of {len(cells)} cells are finished and "
            "stay; the same command goes on from there"
        ) from None
    _print_results(_stored(cells, failed, out, overwrite=overwrite), as_json=as_json)
    if failed:
        raise OcganError(
            f"{len(failed)} of {len(cells)} cells failed, the first being {failed[0].cell}: "
            f"{failed[0].error}"
        )


@app.command
def summarise(
    folder: Path,
    /,
    *,
    results: Path,
    classes: str = "all",
    seeds: str | None = None,
) -> None:
    """Write one file for each data set, protocol and method: every cell, mean and deviation.

    A missing cell is an error that names it. The files hold no scores of single images and are
    made to be committed.

    Parameters
    ----------
    folder
        Where `ocgan benchmark` wrote; or a folder in it, for one data set, protocol or method.
    results
        Where the files go: DATASET/protocolN/METHOD.json.
    classes
        The classes that must be there, comma-separated; or all.
    seeds
        The seeds that must be there (default: all that occur).
    """
    from ..benchmark import summarise as write_summaries

    wanted, numbers = read_classes(classes), read_seeds(seeds)
    for path in write_summaries(folder, results, classes=wanted, seeds=numbers):
        summary = json.loads(path.read_text(encoding="utf-8"))
        deviation = "" if summary["std"] is None else f" ± {summary['std']:.4f}"
        print(f"{path}: mean AUROC {summary['mean']:.4f}{deviation}")


# ---- the grid ------------------------------------------------------------------------------------


def _check_positive(flag: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise UsageError(f"{flag} {number} must be 1 or more")


def _distinct(sources: Sequence[str], out: Path) -> list[str]:
    """Return each data set once; refuse one that is the folder `out`, and two of one name."""
    from ..benchmark import pool_name

    distinct = list(dict.fromkeys(sources))
    for source in distinct:
        check_apart(out, source)
    for name, count in Counter(map(pool_name, distinct)).items():
        if count > 1:
            raise UsageError(f"{count} data sets are called {name!r}: give each its own --out")
    return distinct


def _settle_stack(cells: Sequence[Cell], jobs: int) -> int:
    """Choose how many models are trained together: several where one process has a GPU."""
    is_alone_on_gpu = jobs == 1 and any(cell.method.device_kind == "cuda" for cell in cells)
    return TOGETHER if is_alone_on_gpu else 1


def _ocgan(
    preset: str, settings: dict[str, Any], device: str, precision: str, rule: ImageRule
) -> Method:
    from ..methods import ocgan

    return ocgan(preset, settings, rule, device=device, precision=precision)


def _methods(
    keys: Sequence[str], make_ocgan: Callable[[ImageRule], Method]
) -> Callable[[ImageRule], list[Method]]:
    """Return the methods as a function of the images' size; only OCGAN depends on it."""
    from ..methods import other_method

    others = {key: other_method(key) for key in keys if key != "ocgan"}
    return lambda rule: [others[key] if key in others else make_ocgan(rule) for key in keys]


def _compute(
    cells: Sequence[Cell],
    pending: Sequence[Cell],
    out: Path,
    start: Callable[..., Generator[Outcome, None, None]],
    *,
    quiet: bool,
) -> list[Outcome]:
    """Compute what is pending, showing how it goes; return what failed."""
    from ..benchmark import provenance

    with (
        terminal.termination_interrupts(),
        display(cells, pending, quiet=quiet) as shown,
        closing(start(pending, out, provenance())) as outcomes,
    ):
        return follow(outcomes, shown)


def _stored(
    cells: Sequence[Cell], failed: Sequence[Outcome], out: Path, *, overwrite: bool
) -> dict[Cell, Result | None]:
    """Return the result of every cell that has one; say who is working on the others."""
    from ..benchmark import finished, unsure_claims

    bad = {outcome.cell for outcome in failed}
    results = {
        cell: None if cell in bad else finished(cell, out, overwrite=overwrite) for cell in cells
    }
    left = [cell for cell, result in results.items() if result is None and cell not in bad]
    if left:
        cells_are = "cell is" if len(left) == 1 else "cells are"
        terminal.note(f"{len(left)} {cells_are} left to other processes that work on them")
        terminal.note(*unsure_claims(left, out))
    return results


# ---- what is printed -----------------------------------------------------------------------------


def _print_plan(
    cells: Sequence[Cell], pending: Sequence[Cell], out: Path, jobs: int, *, as_json: bool
) -> None:
    """Print what there is to do for each data set and method, and for how long."""
    from ..benchmark import busy, estimated_seconds

    if pending:
        terminal.note("without a finished cell of its kind, a training is estimated by a few steps")
    to_do = set(pending)
    rows: list[dict[str, Any]] = []
    for group, members in _by_group(cells).items():
        left = [cell for cell in members if cell in to_do]
        seconds = estimated_seconds(left, out)
        rows.append(
            dict(zip(("dataset", "protocol", "method"), group, strict=True))
            | {
                "cells": len(members),
                "finished": len(members) - len(left),
                "running_elsewhere": busy(left, out),
                "to_do": len(left),
                "seconds": seconds and seconds / jobs,
            }
        )
    if as_json:
        print(json.dumps(rows))
        return
    texts = [
        [terminal.duration(value) if key == "seconds" else str(value) for key, value in row.items()]
        for row in rows
    ]
    header = ["data set", "protocol", "method", "cells", "finished", "elsewhere", "to do", "time"]
    terminal.table(f"{len(pending)} of {len(cells)} cells to compute", header, texts, names=3)
    if any(row["to_do"] and row["seconds"] is None for row in rows):
        terminal.note("a time is known once a cell of the same kind is finished")


def _print_results(results: dict[Cell, Result | None], *, as_json: bool) -> None:
    """Print the mean of each data set and method, where all its cells are finished."""
    from ..benchmark.results import FIGURES

    if as_json:
        keys = ("dataset", "protocol", "method", "class", "seed", *FIGURES, "seconds")
        rows = [
            {key: dict(result)[key] for key in keys} | {"caveat": result["images"]["caveat"]}
            for result in results.values()
            if result is not None
        ]
        print(json.dumps(rows))
        return
    lines = []
    for group, members in _by_group(results).items():
        known = [result for cell in members if (result := results[cell]) is not None]
        complete = len(known) == len(members)
        means = [f"{fmean(r[figure] for r in known):.4f}" if complete else "" for figure in FIGURES]
        lines.append([*map(str, group), f"{len(known)}/{len(members)}", *means])
    header = ["data set", "protocol", "method", "cells", "AUROC", "AUPR", "FPR@95TPR"]
    terminal.table("Means over the cells of this command", header, lines, names=3)
    seen = {result["dataset"]: result["images"] for result in results.values() if result}
    for dataset, images in seen.items():
        if images["caveat"]:
            print(f"{dataset}: {images['caveat']}")


def _by_group(cells: Iterable[Cell]) -> dict[Group, list[Cell]]:
    groups = defaultdict(list)
    for cell in cells:
        groups[cell.group].append(cell)
    return dict(groups)
