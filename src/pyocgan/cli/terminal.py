"""What the command says on standard error: notes, progress, tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ..training import Progress as TrainingProgress
    from ..training import Record

PIPE_WIDTH = 10_000  # columns: a pipe has no width
PLAIN_LINE_SECONDS = 10.0  # at most one line of progress in that time, where there is no terminal


def note(*lines: str) -> None:
    """Say something about the work, on standard error; that nobody reads it is no error."""
    with suppress(BrokenPipeError):
        for line in lines:
            print(line, file=sys.stderr, flush=True)


def json_text(content: Any) -> str:
    """Write JSON; a file's name that is no text is escaped, and comes back as Python reads it."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(content)
    return text


def display(*, quiet: bool = False) -> Silent:
    """Return a live display on a terminal, plain lines otherwise, nothing where `quiet`."""
    if quiet:
        return Silent()
    return Live() if sys.stderr.isatty() else Lines()


class Silent(ExitStack):
    """Shows nothing of the training; the others show it as it goes."""

    def show(self, progress: TrainingProgress) -> None:
        """Show nothing."""


class Lines(Silent):
    """A line for an epoch, but not more than one every few seconds; for logs and pipes."""

    def __init__(self) -> None:
        super().__init__()
        self.started = self.shown = time.monotonic()
        self.first: float | None = None

    def show(self, progress: TrainingProgress) -> None:
        """Print a line when an epoch has ended."""
        done = (progress.epoch - 1 + progress.iteration / progress.iterations) / progress.epochs
        self.first = done if self.first is None else self.first
        if progress.record is None:
            return
        now = time.monotonic()
        last = progress.epoch == progress.epochs
        if last or now - self.shown >= PLAIN_LINE_SECONDS:
            self.shown = now
            left = (now - self.started) / max(done - self.first, 1e-9) * (1 - done)
            rest = "" if last else f"  {_duration(left)} left"
            note(_describe(progress.record, progress.epochs) + rest)


class Live(Silent):
    """A bar with the validation error of the last epoch: all losses would not fit a line."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("·"),
            TimeRemainingColumn(),
            TextColumn("left  [dim]{task.fields[error]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("training", total=None, error="")

    def __enter__(self) -> Self:
        self.enter_context(self.bar)
        return self

    def show(self, progress: TrainingProgress) -> None:
        """Move the bar."""
        done = (progress.epoch - 1) * progress.iterations + progress.iteration
        self.bar.update(
            self.task,
            description=f"epoch {progress.epoch}/{progress.epochs}",
            completed=done,
            total=progress.epochs * progress.iterations,
        )
        if progress.record is not None:
            self.bar.update(self.task, error=_validation(progress.record))


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on standard output; columns of numbers stand right."""
    rows = list(rows)
    result = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, name in enumerate(header):
        is_number = index > 0 and all(_is_number(row[index]) for row in rows)
        if is_number:
            result.add_column(name, justify="right", no_wrap=True)
        else:
            result.add_column(name, overflow="fold")
    for row in rows:
        result.add_row(*row)
    # Without a terminal rich would wrap at 80 columns.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)  # names as they are
    with console.capture() as capture:
        console.print(result)
    print(*(line.rstrip() for line in capture.get().splitlines()), sep="\n")


def _is_number(text: str) -> bool:
    return text.strip("−-–—%").replace(",", "").replace(".", "", 1).isdigit() or not text


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Let a termination signal do what Ctrl-C does, which ends the processes of joblib, too."""
    import signal

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Collect the first interrupt or termination signal instead of dying from it.

    Gives a list that holds the signal's number once it has come. A second signal acts as usual.
    """
    import signal

    received: list[int] = []
    chosen = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in chosen}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, _: object) -> None:
        received.append(number)
        restore()
        note("interrupted: finishing this iteration and writing a checkpoint …")

    for number in chosen:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()


def _describe(record: Record, epochs: int) -> str:
    mark = "*" if record.best else " "
    return f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}  {_losses(record)}{mark}"


def _losses(record: Record) -> str:
    parts = [f"{name} {value:.4f}" for name, value in record.losses.items()]
    return "  ".join([*parts, _validation(record)])


def _validation(record: Record) -> str:
    return f"validation {record.validation_error:.5f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
