"""Lists of images: a text file of ``path[,label]`` lines, or Python's list of paths."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from os import PathLike
from pathlib import Path

from ..errors import InputError, system_reason
from .source import Source, make_source
from .stores import Files

# First lines that name the columns, in any case.
_PATH_HEADERS = frozenset({"path", "file", "filename", "image"})
_LABEL_HEADERS = frozenset({"label", "class"})


def open_list_file(path: Path) -> Source:
    """Open a .txt, .csv or .tsv file of ``path[,label]`` lines, relative to the file's folder.

    A line of a .txt file that names an image as it stands is that path, even with a comma in it.

    Raises
    ------
    InputError
        The file is not text, or breaks `open_lines`' rules.
    """
    # Whole lines and no more: names may hold what else Unicode ends lines with, and in a quoted
    # one csv takes any line break.
    suffix, text = path.suffix.lower(), _text(path)
    lines: Iterable[str] = StringIO(text, newline="")
    if suffix == ".txt":
        lines = (_quoted_if_a_file(line, path.parent) for line in StringIO(text, newline=None))
    delimiter = "\t" if suffix == ".tsv" else ","
    return open_lines(lines, path.parent, f"list {path.name}", delimiter)


def open_lines(
    lines: Iterable[str], base: Path, where: str = "list", delimiter: str = ","
) -> Source:
    """Open the images named by ``path[,label]`` lines.

    Empty lines, lines that begin with ``#`` and a first line such as ``path,label`` or
    ``filename,class`` are passed over.

    Parameters
    ----------
    lines
        The lines.
    base
        The folder that relative paths start from.
    where
        What to call the list in messages.
    delimiter
        What stands between path and label.

    Raises
    ------
    InputError
        The list is empty, or only some lines carry a label, or a line has more than two fields.
    """
    rows = list(_rows(lines, where, delimiter))
    if not rows:
        raise InputError(f"{where} names no images: one path per line is expected")
    names = [name for name, _ in rows]
    labels = [label for _, label in rows if label]
    if labels and len(labels) < len(rows):
        raise InputError(
            f"{where} gives a label to {len(labels)} of {len(rows)} images: label all or none"
        )
    store = Files([base / name for name in names])
    return make_source(store, names, labels or None, f"{where} of")


def open_paths(paths: Sequence[str | PathLike[str]]) -> Source:
    """Open a Python list of image files.

    Raises
    ------
    InputError
        The list is empty.
    """
    if not paths:
        raise InputError("the list of images is empty")
    files = [Path(path) for path in paths]
    return make_source(Files(files), [str(path) for path in files], None, "list of")


def _text(path: Path) -> str:
    """Read UTF-8, and names in any other encoding as the system's files have them."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"list file {path} cannot be read: {system_reason(error)}") from None
    if "\0" in text:  # as in every line of UTF-16
        raise InputError(
            f"list file {path} is not UTF-8 text but holds zero bytes: save it as UTF-8"
        )
    return text


def _quoted_if_a_file(line: str, base: Path) -> str:
    """Keep csv from splitting the path of a file."""
    name = line.strip()
    # os.path, unlike Path.is_file, says False of a name that is too long.
    is_one = "," in name and os.path.isfile(base / name)  # noqa: PTH113
    return '"' + name.replace('"', '""') + '"' if is_one else line


def _fields(lines: Iterable[str], where: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:  # as of a quotation mark that nothing closes
        raise InputError(f"{where}, line {reader.line_num}: {error}") from None


def _rows(lines: Iterable[str], where: str, delimiter: str) -> Iterator[tuple[str, str]]:
    first = True
    for number, row in _fields(lines, where, delimiter):
        fields = [field.strip() for field in row]
        if not any(fields) or fields[0].startswith("#"):
            continue
        is_header, first = first and _is_header(fields), False
        if is_header:
            continue
        if len(fields) > 2 or not fields[0]:
            raise InputError(f"{where}, line {number}: {row!r} is not path{delimiter}label")
        label = fields[1] if len(fields) == 2 else ""
        if any("\udc80" <= character <= "\udcff" for character in label):  # goes into models
            raise InputError(
                f"{where}, line {number}: label {label!r} is not UTF-8: save it as such"
            )
        yield fields[0], label


def _is_header(fields: Sequence[str]) -> bool:
    match [field.casefold() for field in fields]:
        case [path]:
            return path in _PATH_HEADERS
        case [path, label]:
            return path in _PATH_HEADERS and label in _LABEL_HEADERS
    return False
