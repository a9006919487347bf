"""`ocgan train`: images of one class in, a model folder out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..claims import claimed, unsure_claim
from ..data import Source
from ..errors import TrainingInterruptedError, UsageError
from ..files import check_creatable
from ..model_folder import CHECKPOINT, DESCRIPTION
from ..origin import command_line, environment
from ..run_folder import describe_run, write_log
from ..tasks import Protocol, Task, absolute
from . import terminal
from .flags import (
    AsJson,
    DataRoot,
    Device,
    NormalClass,
    Out,
    Precision,
    Quiet,
    Seed,
    SkipUnreadable,
    Switch,
)
from .guards import check_apart
from .settings import SETTINGS_GROUP, Preset, SettingFlags, settings_from

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ..detector import NoveltyDetector
    from ..training import Progress


def train(
    source: str,
    /,
    *,
    out: Out,
    normal_class: NormalClass = None,
    protocol: Protocol | None = None,
    data_root: DataRoot = None,
    preset: Preset = "default",
    config: Path | None = None,
    fpr: float = 0.01,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    skip_unreadable: SkipUnreadable = False,
    restart: Switch = False,
    tensorboard: Switch = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    settings: Annotated[SettingFlags | None, Parameter(name="*", group=SETTINGS_GROUP)] = None,
) -> None:
    """Train a model on images of one class.

    Interrupted, the same command goes on where it stopped, with the same result.

    Parameters
    ----------
    source
        A folder of images (nested; class per folder; train/ and test/ or val/), a zip file of the
        same, a list file (path[,label] a line, or columns that its first line names, such as
        path,label,split), an IDX, .npy or .npz file, CIFAR-10's tar file, or the name of a data
        set: mnist, fashion_mnist, cifar10, coil100, digits.
    out
        The folder for model, log, settings and checkpoint.
    normal_class
        The class to learn, by name or number, where the source has classes. Without it, all
        images are taken for normal.
    protocol
        1: hold out 20 % of the class for `ocgan evaluate`. 2: learn the official training part.
        dev: 1 within the training part. Without it: learn all of the training part, or of a source
        that has no parts.
    preset
        default: the best found here; paper: the numbers of the paper; fast: paper, narrower and
        shorter, to try things.
    config
        A YAML file of settings.
    fpr
        The false-alarm rate of the verdict, calibrated on images that neither train nor validate.
    seed
        The same seed gives the same numbers on the same kind of CPU with as many threads.
    restart
        Start over in a folder that holds a model or a checkpoint.
    tensorboard
        Also log for TensorBoard, into the same folder.
    quiet
        Show no progress.
    as_json
        Print the summary as JSON.
    """
    from ..detector import NoveltyDetector

    root = None if data_root is None else absolute(str(data_root))
    check_apart(out, source)
    task = Task(absolute(source), normal_class, protocol, seed, root)
    detector = NoveltyDetector(
        preset,
        settings=settings_from(config, settings),
        fpr=fpr,
        random_state=seed,
        device=device,
        precision=precision,
        skip_unreadable=skip_unreadable,
    )
    images = task.training_images()
    terminal.note(f"learning from {images.description}")
    if not restart:
        _check_free(out)
    check_creatable(out)
    with ExitStack() as held:
        progress = _fit(
            detector, images, out, held, resume=not restart, quiet=quiet, tensorboard=tensorboard
        )
        if progress is not None:
            raise TrainingInterruptedError(
                f"interrupted in epoch {progress.epoch} of {progress.epochs}; the same command"
                f"{' without --restart' if restart else ''} goes on from there"
            )
        _save(detector, _with_class_named(task, images), images, out)
    _summarise(detector, out, as_json=as_json)


def _fit(
    detector: NoveltyDetector,
    images: Source,
    out: Path,
    held: ExitStack,
    *,
    resume: bool,
    quiet: bool,
    tensorboard: bool,
) -> Progress | None:
    """Fit with everything a run folder keeps; the folder is `held` for this process alone.

    On a signal, write a checkpoint and say where training stopped.
    """
    writer = _summary_writer() if tensorboard else None
    fitting = closing(detector.iter_fit(images, checkpoint=out / CHECKPOINT, resume=resume))
    with ExitStack() as stack:
        steps = stack.enter_context(fitting)
        progress = next(steps)  # reads the images; an interruption ends that at once
        interrupted = stack.enter_context(terminal.interruptible())
        _claim(out, held)
        if resume:
            _check_free(out)  # who had the folder until now may have finished
        describe_run(out, detector.config_, command_line())
        write_log(out, progress.history)
        terminal.note(*_inferred(detector), *_resumed(progress))
        purge_step = len(progress.history) + 1
        log_scalars = None if writer is None else _tensorboard(writer(out, purge_step=purge_step))
        display = stack.enter_context(terminal.display(quiet=quiet))
        display.show(progress)
        for progress in steps:
            display.show(progress)
            if progress.record is not None:
                write_log(out, progress.history)
                if log_scalars is not None:
                    log_scalars(progress)
            if interrupted:
                return progress
        if interrupted:
            terminal.note("the training was done already: writing the model")
    return None


def _with_class_named(task: Task, images: Source) -> Task:
    """Return the task with its class by name where it is one: a number means another elsewhere."""
    learned = set() if images.labels is None else {*images.labels.tolist()}
    return replace(task, normal_class=learned.pop()) if len(learned) == 1 else task


def _save(detector: NoveltyDetector, task: Task, images: Source, out: Path) -> None:
    """Write the model, and of what it is; a checkpoint is needed no longer."""
    about = {
        "task": task.to_dict(),
        "is_of_files": images.is_of_files,
        "command": command_line(),
        "environment": environment(),
    }
    detector.save(out, about=about)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _check_free(out: Path) -> None:
    """Refuse to replace a finished model unasked."""
    if (out / DESCRIPTION).exists() and not (out / CHECKPOINT).exists():
        raise UsageError(f"{str(out)!r} holds a model already: choose another --out, or --restart")


def _claim(out: Path, held: ExitStack) -> None:
    """Have the folder for this process alone until `held` ends."""
    if not held.enter_context(claimed(out / DESCRIPTION)):
        who = unsure_claim(out / DESCRIPTION) or "another ocgan train"
        raise UsageError(f"{str(out)!r} is in use by {who}: choose another --out, or wait")


def _inferred(detector: NoveltyDetector) -> list[str]:
    """Say what was made of the images; nothing is inferred in silence."""
    split, skipped = detector.split_, detector.skipped_
    lines = [
        f"{split.train} images train, {split.validation} choose the checkpoint, "
        f"{split.calibration} calibrate; {len(skipped)} unreadable",
        *(f"  {line}" for line in terminal.left_out(skipped)),
        f"images are {detector.rule_.describe(detector.config_.network_side)}",
    ]
    return [*lines, *detector.notes_]


def _resumed(progress: Progress) -> list[str]:
    if not progress.history and not progress.iteration:
        return []
    if len(progress.history) == progress.epochs:
        return ["going on from the checkpoint, where all epochs are done"]
    within = f", iteration {progress.iteration + 1} of {progress.iterations}"
    return [
        f"going on from the checkpoint, in epoch {progress.epoch} of {progress.epochs}"
        f"{within if progress.iteration else ''}"
    ]


def _summary_writer() -> Callable[..., SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(
            "--tensorboard needs the package: pip install 'pyocgan[tensorboard]'"
        ) from None
    return SummaryWriter


def _tensorboard(writer: SummaryWriter) -> Callable[[Progress], None]:
    def log(progress: Progress) -> None:
        record = progress.record
        assert record is not None
        for name, value in record.losses.items():
            writer.add_scalar(f"loss/{name}", value, record.epoch)
        writer.add_scalar("validation_error", record.validation_error, record.epoch)
        writer.flush()

    return log


def _summarise(detector: NoveltyDetector, out: Path, *, as_json: bool) -> None:
    split = detector.split_
    summary = {
        "model": str(out),
        "stage": detector.config_.stage,
        "n_train": split.train,
        "n_validation": split.validation,
        "n_calibration": split.calibration,
        "n_unreadable": len(detector.skipped_),
        "epochs": detector.config_.epochs,
        "best_epoch": detector.best_epoch_,
        "fpr": detector.fpr,
        "threshold": detector.threshold_,
        "oddest": detector.oddest_,
        "seconds": round(detector.seconds_, 1),
    }
    if as_json:
        print(terminal.json_text(summary))
        return
    terminal.note(
        f"the most unusual images that calibrate are {', '.join(detector.oddest_)}: are they good? "
        "(ocgan data suspects looks at all)"
    )
    print(
        f"{out}: trained in {detector.seconds_:.1f} s; networks of epoch {detector.best_epoch_} of "
        f"{detector.config_.epochs}; an image is novel above {detector.threshold_:.5g} "
        f"(false-alarm rate {detector.fpr:g})"
    )
