"""`ocgan evaluate`: how well a model tells its class from others, beside training-free methods."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ..errors import UsageError
from ..tasks import Task, absolute
from . import terminal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data import Images
    from ..detector import NoveltyDetector
    from ..evaluation import Evaluation


def evaluate(
    model: Path,
    source: str | None = None,
    /,
    *,
    normal_class: Annotated[str | None, Parameter(name=["--class", "-c"])] = None,
    protocol: Literal[1, 2] | None = None,
    data_root: Path | None = None,
    baselines: bool = True,
    scores: Path | None = None,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    device: str = "cpu",
) -> None:
    """Measure a model on labelled images: AUROC, AUPR, false-alarm and detection rate.

    Without a source, the model is tested on the test part of what it was trained on. Beside it
    stand training-free methods, fitted on the same training images.

    Parameters
    ----------
    model
        A folder that `ocgan train` made.
    source
        Labelled images, as for `ocgan train`.
    normal_class
        The class that is normal there (default: the one trained on).
    protocol
        1 or 2 of the paper (default: the one trained with).
    data_root
        Where named data sets lie.
    baselines
        Also fit and measure nearest neighbours and PCA.
    scores
        Write the score of every image there: path, label, is_novel, score (CSV).
    skip_unreadable
        Leave out images that cannot be read, and list them.
    as_json
        Print JSON.
    device
        cpu, cuda or mps.
    """
    from ..data import read
    from ..detector import NoveltyDetector

    detector = NoveltyDetector.load(model, device=device)
    task = _task(detector, source, normal_class, protocol, data_root)
    split = task.split
    terminal.note(f"testing on {split.test.description}")
    test = read(split.test, detector.rule_, skip_unreadable=skip_unreadable)
    terminal.note(*(f"left out: {name} ({reason})" for name, reason in test.skipped))
    assert task.normal_class is not None
    assert test.labels is not None
    is_novel = test.labels != split.test.class_name(task.normal_class)
    by_method = {f"OCGAN ({detector.config_.stage})": detector.novelty_scores(test.pixels)}
    if baselines:
        train = read(split.train, detector.rule_, skip_unreadable=skip_unreadable)
        by_method |= _baseline_scores(train, test)
    if scores is not None:
        _write_scores(scores, test, is_novel, by_method)
    _print(detector, task, by_method, test, is_novel, split.test.classes, as_json=as_json)


def _task(
    detector: NoveltyDetector,
    source: str | None,
    normal_class: str | None,
    protocol: Literal[1, 2] | None,
    data_root: Path | None,
) -> Task:
    """Take the model's own task, changed where the user says so."""
    stored = detector.about_.get("task")
    if stored is None and source is None:
        raise UsageError("the model does not say what it was trained on: name a source to test on")
    task = Task.from_dict(stored) if stored else Task(absolute(str(source)))
    if source is not None and absolute(source) != task.source:
        task = replace(task, source=absolute(source), protocol=None)
    return replace(
        task,
        normal_class=normal_class or task.normal_class,
        protocol=protocol or task.protocol,
        data_root=str(data_root) if data_root else task.data_root,
    )


def _baseline_scores(train: Images, test: Images) -> dict[str, NDArray[np.float64]]:
    from ..baselines import BASELINES

    return {
        title: make().fit(train.pixels).novelty_scores(test.pixels)
        for title, make in BASELINES.values()
    }


def _write_scores(
    path: Path,
    test: Images,
    is_novel: NDArray[np.bool_],
    by_method: dict[str, NDArray[np.float64]],
) -> None:
    from ..files import replacing

    assert test.labels is not None
    columns = zip(test.names, test.labels, is_novel.astype(int), *by_method.values(), strict=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "label", "is_novel", *by_method])
        rows.writerows(columns)


def _print(
    detector: NoveltyDetector,
    task: Task,
    by_method: dict[str, NDArray[np.float64]],
    test: Images,
    is_novel: NDArray[np.bool_],
    classes: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    from ..evaluation import evaluate as measure

    results = {
        name: measure(scores, is_novel, test.labels, classes) for name, scores in by_method.items()
    }
    novel = next(iter(by_method.values())) > detector.threshold_
    rates = {
        "fpr": detector.fpr,
        "false_alarm_rate": float(novel[~is_novel].mean()),
        "detection_rate": float(novel[is_novel].mean()),
    }
    if as_json:
        methods = {name: result.to_dict() for name, result in results.items()}
        print(json.dumps({"task": task.to_dict(), **rates, "methods": methods}))
        return
    _print_table(results)
    print(
        f"\nAt the model's false-alarm rate of {rates['fpr']:g}, it calls "
        f"{rates['false_alarm_rate']:.1%} of the normal images novel and finds "
        f"{rates['detection_rate']:.1%} of the novel ones."
    )


def _print_table(results: dict[str, Evaluation]) -> None:
    first = next(iter(results.values()))
    by_class = list(first.auroc_by_class) if len(first.auroc_by_class) <= 12 else []
    rows: list[list[Any]] = [
        [
            name,
            f"{result.auroc:.4f}",
            f"{result.aupr:.4f}",
            f"{result.fpr_at_95_tpr:.3f}",
            *(f"{result.auroc_by_class[c]:.3f}" for c in by_class),
        ]
        for name, result in results.items()
    ]
    header = ["method", "AUROC", "AUPR", "FPR@95TPR", *(f"vs {c}" for c in by_class)]
    terminal.table(f"{first.n_normal} normal and {first.n_novel} novel images", header, rows)
