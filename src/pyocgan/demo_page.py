"""The page of ``ocgan demo``: files in, page out; a copied folder gives the same page.

It reads ``demo.json`` (numbers and text) and ``demo.npz`` (images and scores) and nothing else, and
writes ``index.html`` and four pictures beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import charts, figures
from .errors import InputError
from .figures import NARROW, STYLES, WIDE, Style
from .files import NPZ_DAMAGE, write_bytes
from .pages import Draw, format_duration, picture, render

Arrays = Mapping[str, NDArray[Any]]

_NETWORKS = {"ae": "other", "ocgan": "accent"}  # problem first, then answer; with their colours
_IMAGE_ARRAYS = {"inputs": 5, "ae": 5, "ocgan": 5, "walk": 5, "samples_ae": 4, "samples_ocgan": 4}


@dataclass(frozen=True)
class Method:
    """One row of the AUROC table. AUROCs and rates are in 0 … 1; None where not measured."""

    key: str
    title: str
    subtitle: str
    trained: bool
    auroc: Mapping[str, float | None]
    auroc_all: float | None
    threshold: float | None
    false_alarm_rate: float | None
    detection_rate: float | None

    @property
    def mean(self) -> float | None:
        """Mean AUROC over the classes; None when one is missing, for it would not compare."""
        values = [value for value in self.auroc.values() if value is not None]
        complete = values and len(values) == len(self.auroc)
        return sum(values) / len(values) if complete else None


@dataclass(frozen=True)
class Demo:
    """What ``demo.json`` says; ``facts`` are the lines of its last section."""

    title: str
    normal_class: str
    classes: tuple[str, ...]
    methods: Mapping[str, Method]
    n_train: int
    n_test: Mapping[str, int]
    fpr: float | None
    protocol: str
    facts: tuple[tuple[str, str], ...]

    @property
    def novel_classes(self) -> tuple[str, ...]:
        """Every class but the normal one, in order."""
        return tuple(name for name in self.classes if name != self.normal_class)


def write_demo_page(folder: Path) -> Path:
    """Build the page of ``ocgan demo`` from the files in `folder`.

    Parameters
    ----------
    folder
        Holds ``demo.json`` and ``demo.npz``. ``reconstructions.png``, ``scores.png``,
        ``walk.png``, ``auroc.png`` and ``index.html`` are written into it, each whole or not at
        all, the page last.

    Returns
    -------
    Path
        ``folder/index.html``.

    Raises
    ------
    InputError
        When one of the two files is missing, damaged or not what a demo writes.
    OcganError
        When `folder` cannot be written.
    """
    folder = Path(folder)
    demo = _read_demo(folder / "demo.json")
    arrays = _read_arrays(folder / "demo.npz", demo)
    drawings = _drawings(demo, arrays)
    files = {name: draw(STYLES["light"], WIDE) for name, draw in drawings.items()}
    pictures = {
        name: [picture("light", draw, files[name]), picture("dark", draw)]
        for name, draw in drawings.items()
    }
    for name in ("reconstructions", "scores", "walk", "auroc"):
        write_bytes(folder / f"{name}.png", files[name])
    page = render("demo.html.j2", **_context(demo, arrays), pictures=pictures)
    write_bytes(folder / "index.html", page.encode())
    return folder / "index.html"


# --- reading ------------------------------------------------------------------------------------


def _read_demo(path: Path) -> Demo:
    try:
        return _demo(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except KeyError as error:
        raise InputError(f"{str(path)!r} is not a demo's: {error} is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from None


def _demo(raw: dict[str, Any]) -> Demo:
    normal, classes = str(raw["normal_class"]), tuple(map(str, raw["classes"]))
    novel = [name for name in classes if name != normal]
    methods = {one["key"]: _method(one, novel) for one in raw["methods"]}
    if normal not in classes:
        raise ValueError(f"normal_class {normal!r} is not among the classes")
    for key in _NETWORKS:
        methods[key]  # a demo without one of its two networks has nothing to show: KeyError
    return Demo(
        title=str(raw["title"]),
        normal_class=normal,
        classes=classes,
        methods=methods,
        n_train=int(raw["n_train"]),
        n_test={str(name): int(count) for name, count in raw["n_test"].items()},
        fpr=_number(raw.get("fpr")),
        protocol=str(raw.get("protocol") or ""),
        facts=_facts(raw, normal),
    )


def _method(raw: dict[str, Any], novel: Sequence[str]) -> Method:
    return Method(
        key=str(raw["key"]),
        title=str(raw["title"]),
        subtitle=str(raw.get("subtitle") or ""),
        trained=bool(raw.get("trained", False)),
        auroc={name: _number(raw["auroc"].get(name)) for name in novel},
        auroc_all=_number(raw.get("auroc_all")),
        threshold=_number(raw.get("threshold")),
        false_alarm_rate=_number(raw.get("false_alarm_rate")),
        detection_rate=_number(raw.get("detection_rate")),
    )


def _number(value: object) -> float | None:
    """Read an optional number: None and not-a-number are both "not measured"."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value) if math.isfinite(value) else None


def _facts(raw: Mapping[str, Any], normal: str) -> tuple[tuple[str, str], ...]:
    """Collect the lines of "How this was made": those that the file has something for."""
    others = sum(int(count) for name, count in raw["n_test"].items() if name != normal)
    counts = [
        f"{int(raw[key]):,} {purpose}"
        for key, purpose in (
            ("n_train", "to train"),
            ("n_validation", "to choose the checkpoint"),
            ("n_calibration", "to set the threshold"),
        )
        if raw.get(key) is not None
    ]
    tests = f"{int(raw['n_test'].get(normal, 0)):,} of {normal} and {others:,} of other digits"
    seconds = _number(raw.get("seconds"))
    lines = {
        "Command": raw.get("command"),
        "Time": None if seconds is None else format_duration(seconds),
        "Machine": raw.get("machine"),
        "Versions": ", ".join(
            f"{name} {text}" for name, text in (raw.get("versions") or {}).items()
        ),
        "Seed": raw.get("seed"),
        "Data": raw.get("dataset_note") or raw.get("dataset"),
        f"Images of {normal}": ", ".join(counts),
        "Test images": tests,
        "Created": str(raw.get("created") or "").replace("T", " ").replace("Z", " UTC"),
    }
    return tuple((name, str(text)) for name, text in lines.items() if text not in (None, ""))


def _read_arrays(path: Path, demo: Demo) -> Arrays:
    """Read and check ``demo.npz``; pickled objects in it are refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except NPZ_DAMAGE as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    faults = _faults(arrays, demo)
    if faults:
        raise InputError(f"{str(path)!r} is not a demo's: {faults[0]}")
    return arrays


def _faults(arrays: Arrays, demo: Demo) -> list[str]:
    """Say what is wrong with the arrays of a demo; empty when nothing is."""
    needed = [*_IMAGE_ARRAYS, "labels", *(f"scores_{key}" for key in _NETWORKS)]
    missing = [name for name in needed if name not in arrays]
    if missing:
        return [f"array {missing[0]!r} is missing"]
    faults = [
        f"array {name!r} has shape {arrays[name].shape} and type {arrays[name].dtype}; "
        f"wanted uint8 images with {axes} axes, 1 or 3 channels last"
        for name, axes in _IMAGE_ARRAYS.items()
        if not _is_images(arrays[name], axes)
    ]
    shape = (len(demo.classes), *arrays["inputs"].shape[1:])
    faults += [
        f"array {name!r} has shape {arrays[name].shape}; wanted {shape}"
        for name in ("inputs", "ae", "ocgan")
        if arrays[name].shape != shape
    ]
    if arrays["labels"].dtype.kind != "U":
        faults.append(f"array 'labels' has type {arrays['labels'].dtype}; wanted text")
    count = arrays["labels"].shape
    for key in _NETWORKS:
        scores = arrays[f"scores_{key}"]
        if scores.shape != count or scores.ndim != 1 or not scores.size:
            faults.append(f"{scores.shape} scores of {key!r} for {count} labels")
        elif scores.dtype.kind != "f" or not np.isfinite(scores).all():
            faults.append(f"not every score of {key!r} is a finite number")
    return faults


def _is_images(array: NDArray[Any], axes: int) -> bool:
    images = array.dtype == np.uint8 and array.ndim == axes
    return images and array.size > 0 and array.shape[-1] in (1, 3)


# --- what the page says -------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Who is ahead in the mean AUROC: ``"ocgan"``, ``"free"`` (no training) or ``"level"``."""

    ahead: str
    free: Method


@dataclass(frozen=True)
class Cell:
    """One number of a table, and whether it is the best of its column."""

    value: float | None
    best: bool


@dataclass(frozen=True)
class Row:
    """One method's line of the AUROC table: every novel class, the mean, all at once."""

    method: Method
    cells: tuple[Cell, ...]


def _context(demo: Demo, arrays: Arrays) -> dict[str, object]:
    networks = [demo.methods[key] for key in _NETWORKS]
    free = [one for one in demo.methods.values() if not one.trained]
    scored = [one for one in free if one.auroc_all is not None]
    rows = _rows(demo)
    return {
        "demo": demo,
        "ae": demo.methods["ae"],
        "ocgan": demo.methods["ocgan"],
        "best_free_all": max(scored, key=lambda one: one.auroc_all or 0, default=None),
        "flagged": [one for one in networks if None not in (one.detection_rate, one.threshold)],
        "distances": {key: _distances(demo, arrays, key) for key in _NETWORKS},
        "groups": [
            (f"trained on {demo.n_train:,} images", [row for row in rows if row.method.trained]),
            ("without training", [row for row in rows if not row.method.trained]),
        ],
        "verdict": _verdict(demo.methods["ocgan"], free),
    }


def _rows(demo: Demo) -> list[Row]:
    """Build the AUROC table; equal as printed is equally best."""
    methods = list(demo.methods.values())
    table = [(*one.auroc.values(), one.mean, one.auroc_all) for one in methods]
    best = [
        max((round(value, 3) for value in column if value is not None), default=None)
        for column in zip(*table, strict=True)
    ]
    return [
        Row(
            method,
            tuple(
                Cell(value, value is not None and round(value, 3) == top)
                for value, top in zip(line, best, strict=True)
            ),
        )
        for method, line in zip(methods, table, strict=True)
    ]


def _verdict(ocgan: Method, free: Sequence[Method]) -> Verdict | None:
    """Compare OCGAN with the best method without training; None where a mean is not known."""
    known = [(one.mean, one) for one in free if one.mean is not None]
    if ocgan.mean is None or not known:
        return None
    best, method = max(known, key=lambda pair: pair[0])
    lead = round(ocgan.mean - best, 3)  # a lead that three decimals do not show is none
    return Verdict("ocgan" if lead > 0 else "free" if lead < 0 else "level", method)


def _distances(demo: Demo, arrays: Arrays, key: str) -> tuple[float, float]:
    """Mean absolute difference from the input, in grey levels: (normal class, other classes)."""
    difference = np.abs(arrays[key].astype(np.int16) - arrays["inputs"])
    normal = demo.classes.index(demo.normal_class)
    others = np.delete(difference, normal, axis=0)
    return float(difference[normal].mean()), float(others.mean())


# --- pictures -----------------------------------------------------------------------------------


def _drawings(demo: Demo, arrays: Arrays) -> dict[str, Draw]:
    """Give, by name, how each picture is drawn for a style and a width."""
    return {
        "reconstructions": partial(_draw_reconstructions, demo, arrays),
        "scores": partial(_draw_scores, demo, arrays),
        "auroc": partial(_draw_auroc, demo),
        "walk": partial(_draw_grid, arrays["walk"]),
        "samples_ocgan": partial(_draw_grid, _square(arrays["samples_ocgan"])),
        "samples_ae": partial(_draw_grid, _square(arrays["samples_ae"])),
    }


def _draw_reconstructions(demo: Demo, arrays: Arrays, style: Style, width: int) -> bytes:
    titles = {key: demo.methods[key].title for key in _NETWORKS}
    if width <= NARROW:
        titles["ae"] = "AE"
    rows = [("Input", "muted", arrays["inputs"])]
    rows += [(titles[key], color, arrays[key]) for key, color in _NETWORKS.items()]
    return figures.png_bytes(
        figures.reconstruction_table(rows, demo.classes, demo.normal_class, style, width)
    )


def _draw_scores(demo: Demo, arrays: Arrays, style: Style, width: int) -> bytes:
    panels = [
        charts.Panel(
            demo.methods[key].title,
            arrays[f"scores_{key}"],
            arrays["labels"],
            demo.methods[key].threshold,
            color,
        )
        for key, color in _NETWORKS.items()
    ]
    return charts.histograms(panels, demo.classes, demo.normal_class, style, width)


def _draw_auroc(demo: Demo, style: Style, width: int) -> bytes:
    grey = [one for one in demo.methods.values() if one.key not in _NETWORKS]
    marks = [(one, one.title if one.trained else "without training", "muted", "_") for one in grey]
    for key, marker in (("ae", "D"), ("ocgan", "o")):
        marks.append((demo.methods[key], demo.methods[key].title, _NETWORKS[key], marker))
    series = [
        charts.Series(title, [*one.auroc.values(), one.auroc_all], color, marker)
        for one, title, color, marker in marks
    ]
    joined = (len(series) - 2, len(series) - 1)
    return charts.strip_chart(series, [*demo.novel_classes, "all"], style, width, joined)


def _draw_grid(images: figures.Images, style: Style, width: int) -> bytes:
    """Draw a table of images; of the style only the paper between them is used."""
    cell = 320 / images.shape[1]
    return figures.png_bytes(figures.image_grid(images, cell, gap=2, paper=style["paper"]))


def _square(images: figures.Images) -> figures.Images:
    """Lay n images out as a square table: (n, H, W, K) -> (r, r, H, W, K), r² the largest <= n."""
    side = math.isqrt(len(images))
    return images[: side * side].reshape(side, side, *images.shape[1:])
