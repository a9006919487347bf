"""How `ocgan benchmark` shows its progress: as a live table, as lines, or not at all."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.console import Group as Panels
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import terminal

if TYPE_CHECKING:
    from ..benchmark import Cell, Outcome


@dataclass
class Silent:
    """Counts what has been done, for the other displays; shows nothing."""

    total: int
    to_do: int
    started: float = field(default_factory=time.monotonic)
    done: int = 0

    def show(self, outcome: Outcome) -> None:
        """Take note of a cell that has ended."""
        self.done += 1

    @property
    def left(self) -> str:
        """The time left, if all cells are alike."""
        seconds = (time.monotonic() - self.started) / max(self.done, 1) * (self.to_do - self.done)
        return terminal.duration(seconds)


class Lines(Silent):
    """A line for every cell."""

    def show(self, outcome: Outcome) -> None:
        """Print the line."""
        super().show(outcome)
        number = self.total - self.to_do + self.done
        terminal.note(
            f"[{number}/{self.total}] {outcome.cell}: {_describe(outcome)}  {self.left} left"
        )


class LiveTable(Silent):
    """A table with a row for every data set and method, redrawn in place."""

    def __init__(self, cells: Sequence[Cell], pending: Sequence[Cell], live: Live) -> None:
        super().__init__(len(cells), len(pending))
        self.live = live
        self.last = ""
        left = Counter(cell.group for cell in pending)
        totals = Counter(cell.group for cell in cells)
        self.groups = {group: [total - left[group], total] for group, total in totals.items()}
        live.update(self.drawn())

    def show(self, outcome: Outcome) -> None:
        """Redraw."""
        super().show(outcome)
        self.groups[outcome.cell.group][0] += outcome.result is not None
        self.last = f"{outcome.cell}: {_describe(outcome)}"
        self.live.update(self.drawn())

    def drawn(self) -> RenderableType:
        """Draw the present state."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("data set", "protocol", "method", "cells"):
            table.add_column(name, justify="right" if name == "cells" else "left")
        for (dataset, protocol, method), (done, total) in self.groups.items():
            count = Text(f"{done}/{total}", style="green" if done == total else "")
            table.add_row(Text(dataset), str(protocol), Text(method), count)
        state = f"{self.last}  {self.left} left" if self.done else "starting"
        return Panels(table, Text(state, style="dim"))


@contextmanager
def display(cells: Sequence[Cell], pending: Sequence[Cell], *, quiet: bool) -> Iterator[Silent]:
    """Give a live table on a terminal, plain lines otherwise, nothing where `quiet`."""
    if quiet:
        yield Silent(len(cells), len(pending))
    elif not sys.stderr.isatty():
        yield Lines(len(cells), len(pending))
    else:
        with Live(console=Console(stderr=True)) as live:
            yield LiveTable(cells, pending, live)


def follow(outcomes: Iterable[Outcome], shown: Silent) -> list[Outcome]:
    """Show cells as they end; return those that failed."""
    failed = []
    for outcome in outcomes:
        shown.show(outcome)
        if outcome.error is not None:
            failed.append(outcome)
    return failed


def _describe(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"failed: {outcome.error}"
    if outcome.result is None:
        return "another process has it"
    seconds = sum(outcome.result["seconds"].values())
    return f"AUROC {outcome.result['auroc']:.4f} in {seconds:.1f} s"
