"""The page of a benchmark: every table with its sentence, intervals, pictures and origin.

One self-contained file; the same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from .. import charts
from ..benchmark.results import read_scores
from ..charts import Curve, Series
from ..errors import InputError, unknown
from ..figures import NARROW, STYLES, Style
from ..files import write_text
from ..pages import Picture, picture, render
from . import bootstrap
from .bootstrap import Interval
from .examples import KINDS, Gallery, gallery
from .layout import Grid, grid
from .paper_numbers import FULL, OCGAN, SOURCE, STAGES, TableKey
from .tables import MOST_COLUMNS, Paths, Row, Table, best, read_cells
from .verdict import (
    PRESETS_TEXT,
    Origin,
    Verdict,
    caveats,
    data_seen,
    headline,
    notes,
    on_seeds,
    origins,
    sentences,
    verdict,
)

Floats = NDArray[np.float64]
Files = Mapping[tuple[TableKey, str], Paths]

# False-alarm rates at which ROC curves are averaged: dense near 0, for the log scale.
FALSE_ALARMS = np.union1d(np.linspace(0, 1, 201), np.geomspace(1e-3, 1, 121))

COLORS = {"ocgan": "accent", "pyod": "other", "baseline": "muted"}
MARKERS = {"pyod": "D", "baseline": "_"}
LEGEND = {"pyod": "other networks", "baseline": "without training"}


@dataclass(frozen=True, eq=False)
class Measured:
    """What the scores of a table's images give, by method."""

    means: Mapping[str, Floats]  # mean AUROCs of (R,) resamples, drawn alike for all methods
    roc: Mapping[str, Floats]  # detection rates at `FALSE_ALARMS`

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """The intervals of the means; None where all resamples are equal."""
        return {name: Interval.of(values) for name, values in self.means.items()}


@dataclass(frozen=True, eq=False)
class Tested:
    """The scores of a cell's normal and novel images, and which images of the data set they are."""

    normal: Floats
    novel: Floats
    normal_rows: NDArray[np.int64]
    novel_rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Section:
    """What the page shows of one table."""

    table: Table
    grid: Grid
    verdict: Verdict
    headline: str
    sentences: str
    notes: Sequence[str]
    on_seeds: Sequence[str]
    caveats: Sequence[str]
    origins: Sequence[Origin]
    data: Sequence[str]
    pictures: Mapping[str, Sequence[Picture]]
    gallery: Gallery | None

    @property
    def anchor(self) -> str:
        """The section's id on the page."""
        return f"{self.table.dataset}-protocol{self.table.protocol}"


def write_benchmark_page(
    folder: Path,
    out: Path | None = None,
    *,
    data_root: Path | None = None,
    method: str | None = None,
    classes: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Build the page of a benchmark.

    Parameters
    ----------
    folder
        What ``ocgan benchmark --out`` wrote.
    out
        Where ``index.html`` goes; None: into `folder`.
    data_root
        Where named data sets lie; with it, the page shows the images judged best and worst.
    method
        Whose judgement that is; None: of each table's best OCGAN, or best method.
    classes, seeds
        What must be there, as in `benchmark.summarise`.
    progress
        Is told what is worked on, and which letters of class names cannot be drawn.

    Raises
    ------
    InputError
        Results are missing, damaged, or not of their scores; the message names the file or cell.
    UsageError
        No table has `method`.
    """
    tables, files = read_cells(folder, classes, seeds)
    names = {row.name for table in tables for row in table.rows}
    if method is not None and method not in names:
        raise unknown("method", method, sorted(names))
    if letters := charts.undrawable(name for table in tables for name in table.classes):
        progress(
            f"no font here has {letters!r}, and pictures show boxes instead: install one, such as "
            "Noto Sans CJK"
        )
    sections = []
    for table in tables:
        progress(table.title)
        shown = _shown_row(table, method)
        paths = files[table.key, shown.name]
        images = gallery(table, shown, paths, data_root) if data_root else None
        sections.append(_section(table, files, images))
    page = render(
        "benchmark.html.j2",
        sections=sections,
        overview=[_overview(section) for section in sections],
        presets=PRESETS_TEXT,
        kinds=KINDS,
        source=SOURCE,
        absent=_absent(tables),
        resamples=bootstrap.RESAMPLES,
        most_images=bootstrap.MOST_IMAGES,
    )
    path = (out or folder) / "index.html"
    write_text(path, page)
    return path


def _absent(tables: Sequence[Table]) -> list[str]:
    """Name what the paper prints numbers for and nobody measured."""
    here = {table.key for table in tables}
    return [Table(*key, (), ()).title for key in OCGAN if key not in here]


def _shown_row(table: Table, method: str | None) -> Row:
    named = [row for row in table.rows if row.name == method]
    return best(named) or best(table.presets) or best(table.rows) or table.rows[0]


def _section(table: Table, files: Files, images: Gallery | None) -> Section:
    measured = _measure(table, {row.name: files[table.key, row.name] for row in table.rows})
    found = verdict(table, measured.means)
    drawings = _drawings(table, measured)
    return Section(
        table=table,
        grid=grid(table, measured.intervals),
        verdict=found,
        headline=headline(found),
        sentences=sentences(table, found),
        notes=notes(table),
        on_seeds=on_seeds(table),
        caveats=caveats(table),
        origins=origins(table),
        data=data_seen(table),
        pictures={
            name: [picture(theme, draw) for theme in STYLES] for name, draw in drawings.items()
        },
        gallery=images,
    )


def _overview(section: Section) -> tuple[Section, str, Sequence[Row | None]]:
    printed, found = section.table.printed, section.verdict
    return section, printed.mean if printed else "", (found.papers, found.ours, found.free)


# --- scores of single images ----------------------------------------------------------------------


def _measure(table: Table, files: Mapping[str, Paths]) -> Measured:
    """Read every image's score once, for intervals and ROC curves."""
    means = {row.name: np.zeros(bootstrap.RESAMPLES) for row in table.rows}
    rates = {row.name: np.zeros(len(FALSE_ALARMS)) for row in table.rows}
    for row in table.rows:
        share = 1 / len(row.cells)
        for cell, figures in row.cells.items():
            tested = _tested(files[row.name][cell], figures["auroc"])
            means[row.name] += share * bootstrap.resampled_aurocs(
                tested.normal, tested.novel, tested.normal_rows, tested.novel_rows
            )
            rates[row.name] += share * detection_rates(tested.normal, tested.novel)
    return Measured(means, rates)


def _tested(path: Path, recorded: float) -> Tested:
    """Read the scores of normal and of novel images; they must give the recorded AUROC."""
    scores = read_scores(path)
    is_novel = scores["is_novel"].astype(bool)
    normal, novel = (scores["score"][mask].astype(np.float64) for mask in (~is_novel, is_novel))
    if not len(normal) or not len(novel):
        raise InputError(f"{str(path.with_suffix('.npz'))!r} lacks normal or novel images")
    found = bootstrap.auroc(normal, novel)
    if not abs(found - recorded) < 1e-5:
        raise InputError(
            f"the scores beside {str(path)!r} give an AUROC of {found:.6f}, the result says "
            f"{recorded:.6f}"
        )
    rows = scores["index"].astype(np.int64)
    return Tested(normal, novel, rows[~is_novel], rows[is_novel])


def detection_rates(normal: Floats, novel: Floats) -> Floats:
    """Return the ROC curve of a cell at `FALSE_ALARMS`."""
    truth = np.repeat([0, 1], [len(normal), len(novel)])
    false_alarms, hits, _ = roc_curve(truth, np.concatenate([normal, novel]))
    # Where the curve stands upright, the rate is the highest: interp takes the last of equals.
    return np.asarray(np.interp(FALSE_ALARMS, false_alarms, hits), np.float64)


# --- pictures -------------------------------------------------------------------------------------


def _drawings(table: Table, measured: Measured) -> dict[str, Callable[[Style, int], bytes]]:
    """Give, by name, how each picture is drawn for a style and a width."""
    many = len(table.classes) > MOST_COLUMNS
    drawings: dict[str, Callable[[Style, int], bytes]] = {
        "classes": partial(_draw_boxes if many else _draw_strip, table),
        "roc": partial(_draw_roc, table, measured),
    }
    for number, ablation in enumerate(table.ablations()):
        drawings[f"ablation{number}"] = partial(_draw_ablation, table, ablation)
    return drawings


def _draw_strip(table: Table, style: Style, width: int) -> bytes:
    """Draw every method and seed as a mark for each class, OCGAN on top, then what is printed.

    Behind them is a box over the methods without training.
    """
    series = [_marks(table, row, seed) for row in reversed(table.rows) for seed in row.seeds]
    if table.printed and len(table.printed.by_class) == len(table.classes):
        printed = [float(text) for text in (*table.printed.by_class, table.printed.mean)]
        series.append(Series("printed", printed, "ink", "x"))
    columns = table.classes if width > NARROW else _short(table.classes)
    free = table.of_kind("baseline")
    boxed = [np.array([np.mean(row.values(name)) for row in free]) for name in table.classes]
    boxed.append(np.mean(boxed, axis=0))
    return charts.strip_chart(series, [*columns, "mean"], style, width, boxed=boxed)


def _marks(table: Table, row: Row, seed: int) -> Series:
    """Return a row's marks; of OCGAN's presets the best is a dot, others are triangles."""
    values = [row.cells[name, seed]["auroc"] for name in table.classes]
    values.append(float(np.mean(values)))
    if row.kind != "ocgan":
        return Series(LEGEND[row.kind], values, COLORS[row.kind], MARKERS[row.kind])
    if row.is_part:
        return Series("parts of OCGAN", values, "accent", "+")
    if row is best(table.presets):
        return Series(row.title, values, "accent", "o")
    title = row.title if len(table.presets) == 2 else "other presets"
    return Series(title, values, "accent", "^")


def _short(classes: Sequence[str]) -> Sequence[str]:
    """Shorten class names for a phone, twelve side by side, if that tells them apart."""
    short = [name[:3] for name in classes]
    return short if len(set(short)) == len(classes) else classes


def _draw_boxes(table: Table, style: Style, width: int) -> bytes:
    series = [
        Series(
            row.title,
            [value for name in table.classes for value in row.values(name)],
            COLORS[row.kind],
            "",
        )
        for row in table.rows
    ]
    return charts.box_chart(series, style, width)


def _draw_roc(table: Table, measured: Measured, style: Style, width: int) -> bytes:
    """Draw all curves thin, and the best of each kind thick and by name."""
    kinds = (table.presets, table.of_kind("pyod"), table.of_kind("baseline"))
    named = {row.name for rows in kinds if (row := best(rows))}
    curves = [
        Curve(
            f"{row.title}, {row.mean:.4f}" if row.name in named else "",
            measured.roc[row.name],
            "ink" if row.kind == "baseline" and row.name in named else COLORS[row.kind],
            dashed=row.kind == "baseline" and row.name in named,
        )
        for row in table.rows
    ]
    return charts.roc_chart(curves, FALSE_ALARMS, style, width)


def _draw_ablation(table: Table, ablation: Mapping[str, Row], style: Style, width: int) -> bytes:
    measured = [row.mean for row in ablation.values()]
    series = [Series(ablation[FULL].title, measured, "accent", "")]
    if table.has_printed_ablation:
        printed = [float(number) for _, number in STAGES.values()]
        series.insert(0, Series("printed", printed, "muted", ""))
    return charts.bar_chart(series, [title for title, _ in STAGES.values()], style, width)
