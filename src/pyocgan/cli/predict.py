"""`ocgan predict`: a model and images in, one line for each image out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from .. import model_folder
from ..data import Source, open_source
from ..data.decode import as_mode
from ..data.inferring import fitting_notes
from ..data.opening import holds_many
from ..errors import InputError, UsageError
from ..files import check_writable, open_text, replacing, shortened, write_bytes
from ..tasks import Task
from . import terminal
from .flags import AsJson, DataRoot, Device, Out, Switch
from .guards import check_outside, check_unread

if TYPE_CHECKING:
    from ..detector import NoveltyDetector

COLUMNS = ("path", "score", "p_value", "verdict")
NOVELTY_FOUND = 4
STDIN, STDOUT = "/dev/stdin", "/dev/stdout"  # the former is what the command makes of "-"
STARTS_OF_IMAGES = "\udc89PNG", "\udcff\udcd8\udcff"  # as surrogates, of bytes that are no text


def predict(
    model: Path,
    images: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    fpr: float | None = None,
    out: Out | None = None,
    as_json: AsJson = False,
    fail_on_novel: Switch = False,
    skip_unreadable: Switch = False,
    heatmaps: Path | None = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
) -> int:
    """Score images: path, novelty score, p-value, and the verdict normal or novel.

    Parameters
    ----------
    model
        A folder that `ocgan train` made.
    images
        Images, folders and list files; or one zip or array file, or the name of a data set. Of
        what has a test part, that part alone is scored; - reads paths from standard input, one a
        line or, as `find -print0` gives them, with a zero byte behind each.
    fpr
        False-alarm rate of the verdict (default: the model's).
    out
        Write there, whole or not at all, instead of on standard output (-).
    as_json
        Print JSON, one object a line, instead of CSV.
    fail_on_novel
        Exit with 4 if any image is novel, else with 3 if any could not be read.
    skip_unreadable
        Give images that cannot be read the verdict "unreadable" instead of stopping.
    heatmaps
        Draw each novel image into that folder, new or empty, as PNG, with what is unusual about
        it highlighted; named by its row in the output and its own name.
    """
    from ..detector import NoveltyDetector

    detector = NoveltyDetector.load(model, device=device)
    detector.skip_unreadable = skip_unreadable
    threshold = detector.calibrated().threshold(detector.fpr if fpr is None else fpr)
    counts = {"normal": 0, "novel": 0, "unreadable": 0}
    source = _open(images, data_root)
    read: list[str | Path] = [*images, *source.files, *model_folder.files(model)]
    out = None if out in (Path("-"), Path(STDIN), Path(STDOUT)) else out
    if out is not None:
        check_unread("--out", out, read)
    if heatmaps is not None:
        _check_empty(heatmaps)
        check_outside("--heatmaps", heatmaps, images)
        check_writable(heatmaps)
    terminal.note(f"scoring {source.description}", *fitting_notes(source, detector.rule_))
    terminal.note(*_known(detector.about_, source))
    with _writer(out, as_json=as_json) as write:
        judged = _judged(detector, source, threshold, with_heat=heatmaps is not None)
        for row, one in enumerate(judged):
            write((one.name, one.score, one.p_value, one.verdict))
            if heatmaps is not None and one.heat is not None:
                picture = heatmaps / f"{row + 1:04}-{shortened(Path(one.name).stem)}.png"
                _draw(picture, source, row, one.heat, bits=detector.rule_.bits)
            counts[one.verdict] += 1
    terminal.note(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if fail_on_novel and counts["novel"]:
        return NOVELTY_FOUND
    return InputError.exit_code if fail_on_novel and counts["unreadable"] else 0


@dataclass(frozen=True)
class _Judged:
    """What is said of one image, and where it is novel: (H, W). Unreadable ones have no score."""

    name: str
    verdict: str
    score: float | None = None
    p_value: float | None = None
    heat: NDArray[np.float32] | None = None


def _judged(
    detector: NoveltyDetector, source: Source, threshold: float, *, with_heat: bool
) -> Iterator[_Judged]:
    """Judge images in their order; note the reason where one cannot be read."""
    names, calibration = iter(source.names), detector.calibrated()
    for batch, scores in detector.score_batches(source):
        reasons, is_novel = dict(batch.skipped), scores > threshold
        heats: Iterator[NDArray[np.float32] | None] = repeat(None)
        if with_heat and is_novel.any():
            heats = iter(detector.heatmap(batch.pixels[is_novel]))
        scored = zip(scores, calibration.p_values(scores), is_novel, strict=True)
        for name in islice(names, len(batch) + len(batch.skipped)):
            if name in reasons:
                terminal.note(*terminal.left_out([(name, reasons[name])]))
                yield _Judged(name, "unreadable")
                continue
            score, p_value, novel = next(scored)
            verdict, heat = ("novel", next(heats)) if novel else ("normal", None)
            yield _Judged(name, verdict, float(score), float(p_value), heat)


def _known(about: Mapping[str, Any], source: Source) -> list[str]:
    """Say how many of the images lie where the model's own came from, as files of their own."""
    if not about.get("is_of_files"):
        return []
    task = Task.from_dict(about["task"])
    count = task.among_training_images(source)
    if not count:
        return []
    return [
        f"{count:,} of these {len(source):,} images are, by their paths, among those in "
        f"{task.source!r} that the model was made of, and whose scores are therefore too low to "
        "find mistakes among them; ocgan data suspects looks for these"
    ]


def _check_empty(folder: Path) -> None:
    """Refuse to draw among other files: heat maps of an earlier run would pass for this one's."""
    there = (path.name for path in folder.iterdir()) if folder.is_dir() else iter(())
    if found := next((name for name in there if not name.startswith(".")), None):
        raise UsageError(
            f"--heatmaps {str(folder)!r} holds files already, such as {found!r}, perhaps of an "
            "earlier run: choose a new folder, or empty it"
        )


def _open(images: list[str], data_root: Path | None) -> Source:
    if STDIN in images and len(images) > 1:
        raise UsageError("- stands for all images: name it alone")
    if images == [STDIN]:
        return open_source(_paths(sys.stdin.read()))
    if not images:
        raise UsageError("name the images to score")
    # A data set's test part, where it has one: its training part is what models learn from.
    opened = partial(open_source, split="test", data_root=data_root)
    if len(images) == 1:
        return opened(images[0]).with_paths()
    paths: list[str] = []
    for image in images:
        if not holds_many(image):
            paths.append(image)
            continue
        many = opened(image).with_paths()
        if not many.is_of_files:
            raise UsageError(f"the images of {image!r} are no files: name it alone")
        terminal.note(f"{image}: {many.description}")
        paths += many.names
    once: dict[str, str] = {}
    for path in paths:
        once.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - a link is an image of its own
    if again := len(paths) - len(once):
        verb = "is" if again == 1 else "are"
        terminal.note(f"{again} of the images {verb} named again: each is scored once")
    return open_source([*once.values()])


def _paths(text: str) -> list[str]:
    """Return the paths of standard input: one a line, or with a zero byte behind each."""
    if text.startswith(STARTS_OF_IMAGES):
        raise InputError("an image came on standard input, where paths of images are expected")
    text = text.removeprefix("\ufeff")
    lines = text.split("\0") if "\0" in text else text.replace("\r\n", "\n").split("\n")
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise InputError("no paths came on standard input")
    if folder := next(filter(os.path.isdir, paths), None):
        raise InputError(
            f"{folder!r} on standard input is a folder, where paths of images are expected: "
            "find -type f names files alone"
        )
    return paths


def _draw(path: Path, source: Source, row: int, heat: NDArray[np.float32], *, bits: int) -> None:
    """Draw one image, of which `bits` are in use where it has 16, under what speaks for novelty."""
    from ..figures import SHOWN, heat_picture, png_bytes

    image = as_mode(source.image(row, at_least=SHOWN), "RGB", bits)
    write_bytes(path, png_bytes(heat_picture(image, heat)))


@contextmanager
def _writer(out: Path | None, *, as_json: bool) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Give a function that writes one row."""
    if out is None:
        yield terminal.row_writer(sys.stdout, COLUMNS, as_json=as_json)
        return
    if out.is_char_device() or out.is_fifo():  # as /dev/null: nothing is replaced
        with open_text(out) as file:
            yield terminal.row_writer(file, COLUMNS, as_json=as_json)
        return
    with replacing(out) as temporary, open_text(temporary) as file:
        yield terminal.row_writer(file, COLUMNS, as_json=as_json)
