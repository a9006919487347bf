"""What the command says: notes and progress on standard error, tables on standard output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

from rich.cells import cell_len
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

from ..files import CsvWriter

if TYPE_CHECKING:
    from ..training import Progress as TrainingProgress
    from ..training import Record

GAP = 2  # columns of a terminal between those of a table
TEXT_WIDTH = 20  # columns of a terminal that a text gets at least; what is longer is folded
PIPE_WIDTH = 10_000  # columns: a pipe has no width
PLAIN_LINE_SECONDS = 10.0  # at most one line of progress in that time, where there is no terminal


def note(*lines: str) -> None:
    """Say something about the work, on standard error; that nobody reads it is no error."""
    with suppress(BrokenPipeError):
        for line in lines:
            print(line, file=sys.stderr, flush=True)


def left_out(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Say which images were left out, and why: a line each, of name and reason."""
    return [f"left out: {name} ({reason})" for name, reason in skipped]


def json_text(content: Any) -> str:
    """Write JSON; a file's name that is no text is escaped, and comes back as Python reads it."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(content)
    return text


def row_writer(
    file: IO[str], columns: Sequence[str], *, as_json: bool
) -> Callable[[Sequence[Any]], None]:
    """Return a function that writes one row: as CSV, columns first, or as an object of JSON."""
    if as_json:
        return lambda row: print(json_text(dict(zip(columns, row, strict=True))), file=file)
    rows = CsvWriter(file)
    rows.row(columns)
    return lambda row: rows.row(
        ["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in row]
    )


def duration(seconds: float | None) -> str:
    """Write a time as 2:05 or 1:02:05; ``"unknown"`` for None."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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
            rest = "" if last else f"  {duration(left)} left"
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


def table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, names: int = 1
) -> None:
    """Print a table on standard output; columns of numbers stand right.

    The first `names` columns say what a row is. On a terminal that is too narrow for the others,
    those that do not fit follow below, with the names again: nothing is cut off.
    """
    texts = zip(header, *rows, strict=True)
    columns = [_Column(name, cells, index == 0) for index, (name, *cells) in enumerate(texts)]
    # Without a terminal rich would wrap at 80 columns.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)  # names as they are
    for number, block in enumerate(_blocks(columns[:names], columns[names:], console.width)):
        if number:
            print()
        _print_block(console, "" if number else title, block)


class _Column:
    """A column of a table: its name, its cells, and how wide it is at least."""

    def __init__(self, name: str, cells: Sequence[str], is_first: bool) -> None:
        self.name, self.cells = name, cells
        self.is_text = is_first or not all(map(_is_number, cells))
        width = max(map(cell_len, (name, *cells)))
        self.width = min(width, TEXT_WIDTH) if self.is_text else width


def _blocks(names: list[_Column], others: list[_Column], room: int) -> list[list[_Column]]:
    """Share columns out to blocks that fit `room`, each beginning with `names`."""
    blocks = [names]
    for column in others:
        wider = [*blocks[-1], column]
        fits = _width(wider) <= room or blocks[-1] == names
        blocks[-1:] = [wider] if fits else [blocks[-1], [*names, column]]
    return blocks


def _width(block: Sequence[_Column]) -> int:
    return sum(column.width for column in block) + GAP * (len(block) - 1)


def _print_block(console: Console, title: str, block: Sequence[_Column]) -> None:
    result = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0)
    )
    for column in block:
        if column.is_text:
            result.add_column(column.name, overflow="fold", min_width=column.width)
        else:
            result.add_column(column.name, justify="right", no_wrap=True)
    for row in zip(*(column.cells for column in block), strict=True):
        result.add_row(*row)
    console.width = max(console.width, _width(block))  # rich would cut off what is too wide
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
        note("interrupted: saving how far it is; once more stops at once …")

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
