"""`ocgan predict`: a model and images in, one line for each image out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ..errors import InputError, UsageError
from . import terminal

if TYPE_CHECKING:
    from ..data import Source

COLUMNS = ("path", "score", "p_value", "verdict")
NOVELTY_FOUND = 4
STDIN = "/dev/stdin"  # what the command makes of "-"


def predict(
    model: Path,
    images: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    fpr: float | None = None,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    fail_on_novel: Annotated[bool, Parameter(negative="")] = False,
    skip_unreadable: Annotated[bool, Parameter(negative="")] = False,
    data_root: Path | None = None,
    device: str = "cpu",
) -> int:
    """Score images: path, novelty score, p-value, and the verdict normal or novel.

    Parameters
    ----------
    model
        A folder that `ocgan train` made.
    images
        Images, or one folder, zip, list or array file, or the name of a data set; - reads paths
        from standard input, one a line.
    fpr
        False-alarm rate of the verdict (default: the model's).
    out
        Write there instead of on standard output, whole or not at all.
    as_json
        Print JSON, one object a line, instead of CSV.
    fail_on_novel
        Exit with 4 if any image is novel.
    skip_unreadable
        Give images that cannot be read the verdict "unreadable" instead of stopping.
    data_root
        Where named data sets lie.
    device
        cpu, cuda or mps.
    """
    from ..detector import NoveltyDetector

    detector = NoveltyDetector.load(model, device=device)
    detector.skip_unreadable = skip_unreadable
    calibration = detector.calibrated()
    threshold = calibration.threshold(detector.fpr if fpr is None else fpr)
    counts = {"normal": 0, "novel": 0, "unreadable": 0}
    source = _open(images, data_root)
    terminal.note(f"scoring {source.description}")
    with _writer(out, as_json=as_json) as write:
        for batch, scores in detector.score_batches(source):
            p_values = calibration.p_values(scores)
            for name, score, p_value in zip(batch.names, scores, p_values, strict=True):
                verdict = "novel" if score > threshold else "normal"
                counts[verdict] += 1
                write((name, float(score), float(p_value), verdict))
            for name, reason in batch.skipped:
                counts["unreadable"] += 1
                terminal.note(f"left out: {name} ({reason})")
                write((name, None, None, "unreadable"))
    terminal.note(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return NOVELTY_FOUND if fail_on_novel and counts["novel"] else 0


def _open(images: list[str], data_root: Path | None) -> Source:
    from ..data import open_source

    if images == [STDIN]:
        images = [line.rstrip("\n") for line in sys.stdin if line.strip()]
        if not images:
            raise InputError("no paths came on standard input")
        return open_source(images)
    if not images:
        raise UsageError("name the images to score")
    folder = next((path for path in images if Path(path).is_dir()), None)
    if len(images) > 1 and folder is not None:
        raise UsageError(f"{folder!r} is a folder: name images, or one folder alone")
    if len(images) > 1:
        return open_source(images)
    # A data set's test part, where it has one: its training part is what models learn from.
    source = open_source(images[0], split="test", data_root=data_root)
    return _with_paths(source, Path(images[0]))


def _with_paths(source: Source, given: Path) -> Source:
    """Name images that are files by paths that can be passed on, not by their place in a folder."""
    folder = given if given.is_dir() else given.parent
    paths = tuple(str(folder / name) for name in source.names)
    return replace(source, names=paths) if Path(paths[0]).is_file() else source


@contextmanager
def _writer(out: Path | None, *, as_json: bool) -> Iterator[Callable[[tuple[Any, ...]], None]]:
    """Give a function that writes one row."""
    from ..files import replacing

    if out is None:
        yield _row_writer(sys.stdout, as_json=as_json)
        return
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield _row_writer(file, as_json=as_json)


def _row_writer(file: IO[str], *, as_json: bool) -> Callable[[tuple[Any, ...]], None]:
    if as_json:
        return lambda row: print(
            json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False), file=file
        )
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    return lambda row: rows.writerow(
        ["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in row]
    )
