"""Numbers in, charts out, as `figures` draws pictures: for a style and a width, as PNG. No pyplot.

Only letters that matplotlib's font lacks come from a font of the machine's, one of `FALLBACKS`.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unicodedata import category

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from .figures import DENSITY, NARROW, WIDE, Style, font, png_bytes

AXIS_ROOM = 60  # CSS pixels left of a chart's columns
FONT = "DejaVu Sans"
FALLBACKS = (  # of Linux, macOS and Windows, for what DejaVu lacks: Chinese, Japanese, Korean, …
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "NanumGothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Garuda",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Nirmala UI",
)
LABEL_SIZE, LONGEST_LABEL = 11, 23  # CSS pixels, characters of a column's name
BINS = 40  # of a histogram
_DPI = 100 * DENSITY  # one inch of a chart is 100 CSS pixels, one point 1.39


@dataclass(frozen=True)
class Panel:
    """One method's novelty scores in `histograms`.

    ``scores`` (N,) larger = more novel, ``labels`` (N,) class names, ``threshold`` in score units
    or None, ``color`` the name of a colour of `Style`.
    """

    title: str
    scores: NDArray[np.float64]
    labels: NDArray[np.str_]
    threshold: float | None
    color: str


@dataclass(frozen=True)
class Series:
    """One method's AUROCs in `strip_chart`: a value in 0 … 1 (or None) for every column."""

    title: str
    values: Sequence[float | None]
    color: str
    marker: str


@dataclass(frozen=True)
class Curve:
    """One method's line in `roc_chart`: detection rates, (n,) in 0 … 1, at common false alarms.

    ``color`` is the name of a colour of `Style`; a curve without a title is drawn thin.
    """

    title: str
    rates: NDArray[np.float64]
    color: str
    dashed: bool = False


def histograms(
    panels: Sequence[Panel],
    classes: Sequence[str],
    normal_class: str,
    style: Style,
    width: int = WIDE,
) -> bytes:
    """Draw a histogram of the scores of each class: the normal class filled, the others outlined.

    Each panel has one line for each class, all on one axis of scores, the same for all panels. A
    panel's threshold is a line across them; the share of each class beyond it stands at the right.

    Returns
    -------
    bytes
        A PNG picture.
    """
    wide = width > NARROW
    with _drawn_in(style):
        figure = Figure(figsize=(width / 100, 4.5 if wide else 8.8))
        figure.set_layout_engine("constrained", wspace=0.08, hspace=0.06)
        shape = (1, len(panels)) if wide else (len(panels), 1)
        axes = figure.subplots(*shape, squeeze=False).ravel()
        edges = _edges(np.concatenate([panel.scores for panel in panels]))
        for ax, panel in zip(axes, panels, strict=True):
            _ridges(ax, panel, edges, classes, normal_class, style)
        return _chart_png(figure)


def strip_chart(
    series: Sequence[Series],
    columns: Sequence[str],
    style: Style,
    width: int = WIDE,
    joined: tuple[int, int] | None = None,
    boxed: Sequence[NDArray[np.float64]] = (),
) -> bytes:
    """Draw AUROCs as marks: a column for each class and, last, one for all; a mark for each method.

    Methods of the same title share one entry of the legend.

    Parameters
    ----------
    joined
        Two indices into `series`: in each column their marks stand left and right of the middle,
        with a line from the first to the second.
    boxed
        For each column, in its order, AUROCs to draw a box over, behind the marks.

    Returns
    -------
    bytes
        A PNG picture.
    """
    with _drawn_in(style):
        figure = Figure(figsize=(width / 100, 3.6), layout="constrained")
        ax = figure.subplots()
        places = np.arange(len(columns), dtype=np.float64)
        for place, values in zip(places, boxed, strict=False):
            _box(ax, values, place, "vertical", style["rule"])
        aside = dict(zip(joined or (), (-0.15, 0.15), strict=False))
        for order, one in enumerate(series):
            new = one.title not in {before.title for before in series[:order]}
            _marks(ax, places + aside.get(order, 0.0), one, style, order, new)
        if joined:
            ends = [_floats(series[index].values) for index in joined]
            sides = [places - 0.15, places + 0.15]
            ax.plot(sides, ends, color=style["muted"], linewidth=1, zorder=2)
        _auroc_axis(ax, columns, np.concatenate([_floats(one.values) for one in series]), style)
        _legend(figure)
        return _chart_png(figure)


def roc_chart(
    curves: Sequence[Curve], false_alarms: NDArray[np.float64], style: Style, width: int = WIDE
) -> bytes:
    """Draw ROC curves twice: as usual, and with false alarms from 0.1 % on a log scale.

    Parameters
    ----------
    false_alarms
        (n,) false-alarm rates in 0 … 1, ascending.

    Returns
    -------
    bytes
        A PNG picture.
    """
    wide = width > NARROW
    with _drawn_in(style):
        figure = Figure(figsize=(width / 100, 4.4 if wide else 7.2), layout="constrained")
        axes = figure.subplots(*((1, 2) if wide else (2, 1)))
        for ax, scale, first in zip(axes, ("linear", "log"), (0.0, 1e-3), strict=True):
            for curve in curves:
                _roc_curve(ax, curve, false_alarms, style)
            ax.plot(false_alarms, false_alarms, color=style["rule"], linewidth=1, zorder=1)
            ax.set(xscale=scale, xlim=(first, 1), ylim=(0, 1), xlabel="false-alarm rate")
            ax.set_ylabel("detection rate")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.grid(color=style["rule"], linewidth=0.7)
            ax.set_axisbelow(True)
        handles, titles = axes[0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside upper left", ncols=2 if wide else 1)
        return _chart_png(figure)


def _roc_curve(ax: Axes, curve: Curve, false_alarms: NDArray[np.float64], style: Style) -> None:
    ax.plot(
        false_alarms,
        curve.rates,
        color=style[curve.color],
        linewidth=1.7 if curve.title else 0.7,
        alpha=1 if curve.title else 0.55,
        linestyle="--" if curve.dashed else "-",
        label=curve.title or None,
        zorder=3 if curve.title else 2,
    )


def box_chart(series: Sequence[Series], style: Style, width: int = WIDE) -> bytes:
    """Draw a box for each method over its AUROCs: quartiles, median, whiskers to the extremes.

    Parameters
    ----------
    series
        ``values`` are the AUROCs of the classes; markers are not used.

    Returns
    -------
    bytes
        A PNG picture.
    """
    with _drawn_in(style):
        size = width / 100, 0.75 + 0.3 * len(series)
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        for place, one in enumerate(reversed(series)):
            _box(ax, _floats(one.values), place, "horizontal", style[one.color])
        _titles(ax, [one.title for one in reversed(series)], width)
        ax.set_xlabel("AUROC of a class")
        ax.grid(axis="x", color=style["rule"], linewidth=0.7)
        ax.set_axisbelow(True)
        return _chart_png(figure)


def _box(
    ax: Axes,
    values: NDArray[np.float64],
    place: float,
    orientation: Literal["vertical", "horizontal"],
    color: str,
) -> None:
    """Draw a box: quartiles, median, whiskers to the extremes; upright, wide enough for marks."""
    line = {"color": color, "linewidth": 1.3}
    ax.boxplot(
        [values],
        positions=[place],
        orientation=orientation,
        whis=(0, 100),
        widths=0.5 if orientation == "horizontal" else 0.8,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops=line | {"linewidth": 2.6},
        manage_ticks=False,
        zorder=1,
    )


def bar_chart(
    series: Sequence[Series], columns: Sequence[str], style: Style, width: int = WIDE
) -> bytes:
    """Draw AUROCs as bars that begin at 0.5, guessing: a group for each column, with numbers.

    Returns
    -------
    bytes
        A PNG picture.
    """
    with _drawn_in(style):
        count = len(series)
        size = width / 100, 1.1 + 0.24 * len(columns) * (count + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        ax = figure.subplots()
        places = np.arange(len(columns), dtype=np.float64)[::-1] * (count + 0.6)
        for order, one in enumerate(series):
            bars, values = places + count - 1 - order, _floats(one.values)
            ax.barh(bars, values - 0.5, 0.86, left=0.5, color=style[one.color], label=one.title)
            for place, value in zip(bars, values, strict=True):
                if np.isfinite(value):
                    ax.text(max(value, 0.5) + 0.006, place, f"{value:.3f}", va="center")
        _titles(ax, columns, width, places + (count - 1) / 2)
        ax.set(xlim=(0.5, 1.06), xlabel="mean AUROC")
        ax.set_xticks(np.arange(0.5, 1.01, 0.1))
        _legend(figure)
        return _chart_png(figure)


def _titles(
    ax: Axes,
    titles: Sequence[str],
    width: int,
    places: NDArray[np.float64] | None = None,
) -> None:
    """Put titles at the left, broken into lines on a phone."""
    room = 40 if width > NARROW else 16
    lines = [textwrap.fill(drawable(title), room) for title in titles]
    ax.set_yticks(range(len(titles)) if places is None else places, lines)


def _ridges(
    ax: Axes,
    panel: Panel,
    edges: NDArray[np.float64],
    classes: Sequence[str],
    normal_class: str,
    style: Style,
) -> None:
    for line, name in enumerate(classes):
        base = len(classes) - 1 - line
        scores = panel.scores[panel.labels == name]
        ax.axhline(base, color=style["rule"], linewidth=0.7, zorder=1)
        if not len(scores):
            continue
        filled = name == normal_class
        _ridge(ax, scores, edges, base, style[panel.color if filled else "ink"], filled)
        if panel.threshold is not None:
            share = f"{100 * (scores > panel.threshold).mean():.0f}\u202f%"
            ax.text(1.13, base + 0.14, share, transform=ax.get_yaxis_transform(), ha="right")
    _score_axis(ax, panel, edges, style)
    ax.set_ylim(-0.05, len(classes))
    places = [len(classes) - 1 - line + 0.3 for line in range(len(classes))]
    ax.set_yticks(places, list(map(drawable, classes)))
    for name, label in zip(classes, ax.get_yticklabels(), strict=True):
        if name == normal_class:
            label.set(color=style[panel.color], fontweight="bold")


def _ridge(
    ax: Axes,
    scores: NDArray[np.float64],
    edges: NDArray[np.float64],
    base: float,
    color: str,
    filled: bool,
) -> None:
    """Draw one histogram standing on `base`, 0.86 high, no wider than its scores."""
    counts = np.histogram(scores, edges)[0]
    first, last = np.flatnonzero(counts)[[0, -1]]
    heights = base + 0.86 * counts[first : last + 1] / counts.max()
    line = 0 if filled else 0.9
    ax.stairs(
        heights,
        edges[first : last + 2],
        baseline=base,
        fill=filled,
        color=color,
        linewidth=line,
        zorder=3,
    )


def _edges(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bin edges over all scores: equal on a log scale where scores span more than a factor 20."""
    low, high = float(scores.min()), float(scores.max())
    if low > 0 and high > 20 * low:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _score_axis(ax: Axes, panel: Panel, edges: NDArray[np.float64], style: Style) -> None:
    logarithmic = not np.isclose(edges[1] - edges[0], edges[-1] - edges[-2])
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.margins(x=0.03)
    ax.set_xlabel("novelty score" + (" (log scale)" if logarithmic else ""))
    ax.set_title(panel.title, loc="left", color=style[panel.color])
    if panel.threshold is not None:
        ax.axvline(panel.threshold, color=style[panel.color], linewidth=1.3, zorder=4)
        ax.text(1.13, 1.0, "flagged", transform=ax.transAxes, color=style["muted"], ha="right")


def _marks(
    ax: Axes, places: NDArray[np.float64], one: Series, style: Style, order: int, new: bool
) -> None:
    ax.scatter(
        places,
        _floats(one.values),
        s=110 if one.marker == "_" else 42,
        marker=one.marker,
        color=style[one.color],
        linewidths=1.2,
        label=one.title if new else None,
        zorder=3 + order,
        clip_on=False,
    )


def _legend(figure: Figure) -> Legend:
    """Put a legend above, in three columns or as many as fit the width."""
    for columns in (3, 2, 1):
        legend = figure.legend(loc="outside upper left", ncols=columns)
        figure.draw_without_rendering()
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return legend


def _auroc_axis(
    ax: Axes, columns: Sequence[str], values: NDArray[np.float64], style: Style
) -> None:
    lowest = float(np.nanmin(values)) if np.isfinite(values).any() else 0.0
    ax.set_ylim(min(0.9, np.floor(lowest * 20 - 0.2) / 20), 1)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    _name_columns(ax, columns)
    ax.set_ylabel("AUROC")
    ax.axvline(len(columns) - 1.5, color=style["rule"], linewidth=0.7)
    ax.grid(axis="y", color=style["rule"], linewidth=0.7)
    ax.set_axisbelow(True)


def _name_columns(ax: Axes, columns: Sequence[str]) -> None:
    """Write names side by side where they fit, else shortened and slanting."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    room = (100 * figure.get_figwidth() - AXIS_ROOM) / len(columns)
    names = list(map(drawable, columns))
    if all(font(LABEL_SIZE).getlength(name) / DENSITY < room for name in names):
        ax.set_xticks(range(len(names)), names)
        return
    half = (LONGEST_LABEL - 1) // 2
    short = [n if len(n) <= LONGEST_LABEL else f"{n[:half]}…{n[-half:]}" for n in names]
    ax.set_xticks(range(len(names)), short, rotation=50, ha="right", rotation_mode="anchor")


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Turn missing values into not-a-number, which charts leave out."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def drawable(text: str) -> str:
    """Replace what no font can take: line breaks, and bytes of a name that are no text."""
    undrawn = ("Cc", "Cs", "Zl", "Zp")  # control, surrogate, line and paragraph separator
    return "".join("\ufffd" if category(letter) in undrawn else letter for letter in text)


def undrawable(texts: Iterable[str]) -> str:
    """Return the letters of `texts` that no font here has: charts show boxes in their place."""
    fonts = [get_font(findfont(family)) for family in _families()]
    return "".join(
        letter
        for letter in sorted(set(drawable("".join(texts))))
        if letter.isprintable() and not any(font.get_char_index(ord(letter)) for font in fonts)
    )


def _families() -> list[str]:
    installed = set(fontManager.get_font_names())
    return [FONT, *(name for name in FALLBACKS if name in installed)]


@contextmanager
def _drawn_in(style: Style) -> Iterator[None]:
    """Put matplotlib's settings in force, and say nothing of letters: `undrawable` names them."""
    with matplotlib.rc_context(_rc(style)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        yield


def _rc(style: Style) -> dict[Any, Any]:
    """Give matplotlib's settings for every chart, in force only while one is drawn."""
    plain = dict.fromkeys(("xtick.color", "ytick.color", "axes.labelcolor"), style["muted"])
    sides = {f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")}
    return {
        "font.family": _families(),
        "text.parse_math": False,  # a class may be called $x$
        "font.size": 8.3,
        "axes.titlesize": 9.6,
        "axes.titleweight": "bold",
        "axes.titlepad": 9,
        "text.color": style["ink"],
        "xtick.labelcolor": style["ink"],
        "ytick.labelcolor": style["ink"],
        "ytick.major.size": 0,
        "xtick.major.size": 3,
        "figure.facecolor": style["paper"],
        "axes.facecolor": style["paper"],
        "legend.frameon": False,
        "legend.handletextpad": 0.3,
        "legend.columnspacing": 1.6,
        **plain,
        **sides,
    }


def _chart_png(figure: Figure) -> bytes:
    figure.set_dpi(_DPI)
    size = FigureCanvasAgg(figure).get_width_height()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=_DPI)
    drawn = Image.frombytes("RGBA", size, buffer.getvalue()).convert("RGB")
    # 256 colours are plenty for lines and text, at a third of the size.
    return png_bytes(drawn.quantize(256, dither=Image.Dither.NONE))
