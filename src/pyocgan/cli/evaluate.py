"""`ocgan evaluate`: how well a model tells its class from others, beside training-free methods."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import model_folder
from ..data import Images, Source, open_source, read
from ..data.inferring import fitting_notes
from ..data.masks import find_masks, read_masks
from ..errors import InputError, UsageError, listed
from ..files import CsvWriter, check_replaceable, open_text, replacing
from ..tasks import Task, absolute, no_class_named
from . import terminal
from .flags import AsJson, DataRoot, Device, NormalClass, SkipUnreadable
from .guards import check_unread

if TYPE_CHECKING:
    from ..detector import NoveltyDetector
    from ..evaluation import Evaluation


def evaluate(
    model: Path,
    source: str | None = None,
    /,
    *,
    normal_class: NormalClass = None,
    data_root: DataRoot = None,
    baselines: bool = True,
    scores: Path | None = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
    device: Device = "cpu",
) -> None:
    """Measure a model on labelled images: AUROC, AUPR, false-alarm and detection rate.

    Without a source, the model is tested on the test part of what it was trained on, by the
    protocol it was trained with. Beside it stand training-free methods, fitted on the same
    training images. Where masks of the defects lie beside the test part of a folder (not of a zip
    file), in ground_truth/ as of MVTec AD, the heat map is measured on their pixels.

    Parameters
    ----------
    model
        A folder that `ocgan train` made.
    source
        Other labelled images, as for `ocgan train`; their test part, where they have one. Or the
        new place of the model's own images, if they have been moved.
    normal_class
        The class that is normal there (default: the one trained on).
    baselines
        Also fit and measure nearest neighbours and PCA, which needs the training images.
    scores
        Write every image's path, label, is_novel and score by each method there (CSV).
    as_json
        Print JSON.
    """
    from ..detector import NoveltyDetector

    detector = NoveltyDetector.load(model, device=device)
    if scores is not None:
        check_replaceable(scores)
    task = _task(detector, data_root)
    if source is not None and task is not None and (moved := _moved(task, source, detector)):
        terminal.note(f"the model's own images lie in {source!r} now")
        task, source = moved, None
    split = (
        _own_split(task, normal_class)
        if source is None
        else _other_split(task, source, normal_class, data_root, baselines=baselines)
    )
    masks = find_masks(split.test)
    if scores is not None:
        named = filter(None, [source, task.source if task else None])  # a list, or an array
        model_files = model_folder.files(model)
        check_unread("--scores", scores, [*split.files, *masks.values(), *model_files, *named])
    terminal.note(f"testing on {split.test.description}")
    terminal.note(*fitting_notes(split.test, detector.rule_))
    test = read(split.test.with_paths(), detector.rule_, skip_unreadable=skip_unreadable)
    terminal.note(*terminal.left_out(test.skipped))
    assert test.labels is not None
    is_novel = test.labels != split.normal_class
    title = f"OCGAN ({detector.preset}, {detector.config_.stage})"
    by_method = {title: detector.novelty_scores(test.pixels)}
    is_drawn = source is None and task is not None and task.protocol in (1, "dev")
    if baselines or is_drawn:
        train, is_same = _learned(
            split, detector, skip_unreadable=skip_unreadable, is_drawn=is_drawn
        )
        known = _known(train, test) if is_same else None
        by_method |= _baseline_scores(train, test) if baselines else {}
    else:
        known = _known_by_path(detector, task, split.test)
    tested = _Tested(test, is_novel, split.test.classes, by_method)
    results = tested.measure()
    rates = _rates(detector, tested) | _where(detector, tested, masks)
    about = {
        "tested_on": split.test.description,
        "n_trained_on": known,
        "normal_class": split.normal_class,
    }
    _print(about, rates, results, as_json=as_json)
    if known is None:
        terminal.note("not looked up: whether the model has learned from some of these images")
    if scores is not None:
        _write_scores(scores, tested)


@dataclass(frozen=True)
class _Split:
    """What is tested, which class is normal there, and what the baselines learn from."""

    test: Source
    normal_class: str
    train: Source | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of these images."""
        return self.test.files + (self.train.files if self.train else ())


@dataclass(frozen=True)
class _Tested:
    """Test images, the truth about them, and their scores by each method, the model first."""

    images: Images
    is_novel: NDArray[np.bool_]
    classes: tuple[str, ...]
    by_method: dict[str, NDArray[np.float64]]

    def measure(self) -> dict[str, Evaluation]:
        """Return the figures of each method."""
        from ..evaluation import evaluate as measure

        return {
            name: measure(scores, self.is_novel, self.images.labels, self.classes)
            for name, scores in self.by_method.items()
        }


def _task(detector: NoveltyDetector, data_root: Path | None) -> Task | None:
    """Take the model's own task; None where it was fitted on images given in Python."""
    stored = detector.about_.get("task")
    if not stored:
        return None
    task = Task.from_dict(stored)
    return replace(task, data_root=str(data_root) if data_root else task.data_root)


def _moved(task: Task, source: str, detector: NoveltyDetector) -> Task | None:
    """Return the same task in another place, if its own is gone and the same images train there."""
    with suppress(InputError):
        task.training_images()
        return None
    moved = replace(task, source=absolute(source))
    with suppress(InputError, UsageError):
        train = moved.training_images()
        images = read(train, detector.rule_, skip_unreadable=detector.skip_unreadable)
        return moved if images.fingerprint() == detector.fingerprint_ else None
    return None


def _own_split(task: Task | None, normal_class: str | None) -> _Split:
    if task is None:
        raise UsageError("the model does not say what it was trained on: name a source to test on")
    try:
        learned = task.training_images().classes
    except InputError as error:
        advice = f"the model was trained on {task.source!r}: name where its images lie now"
        raise InputError(f"{error}; {advice}") from None
    if task.normal_class is None and len(learned) > 1:
        raise UsageError(
            f"the model learned {len(learned)} classes as normal ({listed(learned)}), so none of "
            "them is novel to it: train with --class, or name other images to test on"
        )
    split = replace(task, normal_class=task.normal_class or normal_class).split
    assert split.train.labels is not None
    if normal_class is not None and split.test.class_name(normal_class) != split.train.labels[0]:
        raise UsageError(f"the model was trained on class {task.normal_class}, not {normal_class}")
    return _Split(split.test, str(split.train.labels[0]), split.train)


def _other_split(
    task: Task | None,
    source: str,
    normal_class: str | None,
    data_root: Path | None,
    *,
    baselines: bool,
) -> _Split:
    test = open_source(source, split="test", data_root=data_root)
    normal_class = normal_class or (task.normal_class if task else None)
    if normal_class is None:
        raise no_class_named(test)
    return _Split(
        test, test.class_name(normal_class), _training_images(task) if baselines else None
    )


def _training_images(task: Task | None) -> Source:
    advice = "--no-baselines needs no training images"
    if task is None:
        raise UsageError(f"the model does not say what it was trained on: {advice}")
    try:
        return task.training_images()
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None


def _learned(
    split: _Split, detector: NoveltyDetector, *, skip_unreadable: bool, is_drawn: bool
) -> tuple[Images, bool]:
    """Read the images that the model learned from, and say whether they are still what they were.

    Raises
    ------
    InputError
        They are not, and what is tested was drawn from them.
    """
    assert split.train is not None
    skip = skip_unreadable or detector.skip_unreadable
    train = read(split.train, detector.rule_, skip_unreadable=skip)
    is_same = train.fingerprint() == detector.fingerprint_
    if not is_same:
        if is_drawn:
            raise InputError(
                "the images have changed since the model was trained, which may have learned "
                "from those held out now: name other images to test on, or train again"
            )
        terminal.note("the other methods learn from other images than the model did")
    return train, is_same


def _known(train: Images, test: Images) -> int:
    """Count the test images that the model has learned from."""
    known = set(train.digests())
    return sum(digest in known for digest in test.digests())


def _known_by_path(detector: NoveltyDetector, task: Task | None, test: Source) -> int | None:
    """Count the test files that the model has learned from; None if there is none."""
    is_of_files = detector.about_.get("is_of_files")
    count = task.among_training_images(test) if task and is_of_files else 0
    return count or None


def _baseline_scores(train: Images, test: Images) -> dict[str, NDArray[np.float64]]:
    from ..baselines import BASELINES

    return {
        title: make().fit(train.pixels).novelty_scores(test.pixels)
        for title, make in BASELINES.values()
    }


def _write_scores(path: Path, tested: _Tested) -> None:
    images = tested.images
    assert images.labels is not None
    is_novel = tested.is_novel.astype(int)
    columns = zip(images.names, images.labels, is_novel, *tested.by_method.values(), strict=True)
    with replacing(path) as temporary, open_text(temporary) as file:
        rows = CsvWriter(file)
        rows.row(["path", "label", "is_novel", *tested.by_method])
        for row in columns:
            rows.row(row)


def _rates(detector: NoveltyDetector, tested: _Tested) -> dict[str, float]:
    """Return the rates of false alarms and detections at the model's threshold."""
    novel = next(iter(tested.by_method.values())) > detector.threshold_
    return {
        "fpr": detector.fpr,
        "false_alarm_rate": float(novel[~tested.is_novel].mean()),
        "detection_rate": float(novel[tested.is_novel].mean()),
    }


def _where(
    detector: NoveltyDetector, tested: _Tested, by_path: dict[str, Path]
) -> dict[str, float]:
    """Return how well the heat map shows which pixels are defective, where masks say so."""
    from ..evaluation import pixel_auroc

    names = tested.images.names
    masks = [by_path.get(name) if is_novel else None
             for name, is_novel in zip(names, tested.is_novel, strict=True)]  # fmt: skip
    missing = int(tested.is_novel.sum()) - sum(mask is not None for mask in masks)
    if missing and by_path:
        terminal.note(f"{missing} novel images have no mask: the heat map is not measured")
    if missing:
        return {}
    try:
        is_defective = read_masks([Path(name) for name in names], masks, detector.rule_)
    except InputError as error:  # the rest is measured all the same
        terminal.note(f"{error}; the heat map is not measured")
        return {}
    return {"pixel_auroc": pixel_auroc(detector.heatmap(tested.images.pixels), is_defective)}


def _print(
    about: dict[str, Any],
    rates: dict[str, float],
    results: dict[str, Evaluation],
    *,
    as_json: bool,
) -> None:
    if as_json:
        methods = {name: result.to_dict() for name, result in results.items()}
        print(terminal.json_text({**about, **rates, "methods": methods}))
        return
    _print_table(results)
    print(
        f"\nNormal is class {about['normal_class']}. At the model's false-alarm rate of "
        f"{rates['fpr']:g}, it calls "
        f"{rates['false_alarm_rate']:.1%} of the normal images novel and finds "
        f"{rates['detection_rate']:.1%} of the novel ones."
    )
    if count := about["n_trained_on"]:
        print(f"The model has learned from {count:,} of these images, so the figures are too good.")
    if "pixel_auroc" in rates:
        print(f"Where: over all pixels its heat map has an AUROC of {rates['pixel_auroc']:.4f}.")


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
