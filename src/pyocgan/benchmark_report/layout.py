"""A table as it is shown, the same on the page and in Markdown: texts, and which are the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median

from .bootstrap import Interval
from .tables import MOST_COLUMNS, Row, Table, deviation

Intervals = Mapping[str, Interval | None]  # of the mean AUROC, by method

OCGAN, NETWORKS, FREE = "OCGAN, trained here", "other networks, trained here", "without training"
PRINTED = "printed in the paper"


@dataclass(frozen=True)
class Entry:
    """One number of a table: its text, a note under it, and whether it is the best measured."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One row as shown. ``name`` is empty for the printed numbers; ``note`` tells twins apart."""

    name: str
    title: str
    note: str
    seeds: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Grid:
    """A table as shown: column titles, the column of the mean, and lines under headings."""

    columns: tuple[str, ...]
    mean_column: int
    groups: tuple[tuple[str, tuple[Line, ...]], ...]


@dataclass(frozen=True)
class Column:
    """How one column is filled: ``of`` gives number and note of a row; no number, no best."""

    title: str
    of: Callable[[Row], tuple[float | None, str]]
    digits: int = 3
    smaller_is_better: bool = False
    printed: str = ""


def grid(table: Table, intervals: Intervals | None = None) -> Grid:
    """Lay a table out.

    Parameters
    ----------
    table
        A column for each class if these are at most `MOST_COLUMNS`, else figures over them.
    intervals
        With them, a column of the intervals of the mean.
    """
    columns = list(_columns(table, intervals))
    top = [_best(column, table.rows) for column in columns]
    titles = Counter(row.title for row in table.rows)
    parts = [(OCGAN, "ocgan"), (NETWORKS, "pyod"), (FREE, "baseline")]
    groups = [
        (heading, tuple(_line(row, columns, top, titles) for row in table.of_kind(kind)))
        for heading, kind in parts
    ]
    if table.printed:
        entries = tuple(Entry(column.printed) for column in columns)
        groups.insert(0, (PRINTED, (Line("", "OCGAN", "", "–", entries),)))
    heads = tuple(column.title for column in columns)
    shown = tuple(group for group in groups if group[1])
    return Grid(heads, heads.index("mean"), shown)


def _columns(table: Table, intervals: Intervals | None) -> Iterator[Column]:
    many = len(table.classes) > MOST_COLUMNS
    printed = table.printed.by_class if table.printed else ()
    texts = printed if len(printed) == len(table.classes) else [""] * len(table.classes)
    for name, text in zip(table.classes, texts, strict=True) if not many else ():
        yield Column(name, partial(_of_class, name), printed=text)
    if many:
        yield Column("lowest class", _lowest)
        yield Column("median class", lambda row: (median(_class_means(row).values()), ""))
    mean = table.printed.mean if table.printed else ""
    yield Column("mean", lambda row: (row.mean, _plus_minus(row.std, 4)), 4, printed=mean)
    if intervals is not None:
        yield Column("95\u202f% interval", lambda row: (None, interval_text(intervals[row.name])))
    if many:
        yield Column("AUPR", lambda row: (row.mean_over_classes("aupr"), ""))
        yield Column(
            "FPR at 95\u202f% TPR",
            lambda row: (row.mean_over_classes("fpr_at_95_tpr"), ""),
            smaller_is_better=True,
        )


def _of_class(name: str, row: Row) -> tuple[float, str]:
    values = row.values(name)
    return fmean(values), _plus_minus(deviation(values), 3)


def _class_means(row: Row) -> dict[str, float]:
    return {name: fmean(row.values(name)) for name in row.classes}


def _lowest(row: Row) -> tuple[float, str]:
    means = _class_means(row)
    name = min(means, key=lambda name: means[name])
    return means[name], f"class {name}"


def _best(column: Column, rows: Sequence[Row]) -> float | None:
    """Return the best number of a column, as it is printed."""
    numbers = [round(n, column.digits) for row in rows if (n := column.of(row)[0]) is not None]
    return (min if column.smaller_is_better else max)(numbers, default=None)


def _line(
    row: Row, columns: Sequence[Column], top: Sequence[float | None], titles: Mapping[str, int]
) -> Line:
    entries = []
    for column, best in zip(columns, top, strict=True):
        number, note = column.of(row)
        if number is None:
            entries.append(Entry(note))
        else:
            is_best = round(number, column.digits) == best
            entries.append(Entry(f"{number:.{column.digits}f}", note, is_best))
    note = row.name if titles[row.title] > 1 else ""  # presets that differ in a setting
    return Line(row.name, row.title, note, str(len(row.seeds)), tuple(entries))


def interval_text(interval: Interval | None) -> str:
    """Write an interval with four decimals; a dash where there is none."""
    return "–" if interval is None else f"{interval.low:.4f}–{interval.high:.4f}"


def _plus_minus(value: float | None, digits: int) -> str:
    return "" if value is None else f"± {value:.{digits}f}"
