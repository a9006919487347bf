"""Lists of images: a text file of ``path[,label]`` lines, or Python's list of paths.

A column of a list may say which images train and which are for testing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from os import PathLike
from pathlib import Path

from ..errors import InputError, listed, system_reason
from .source import Source, beside_text, make_source
from .stores import Files
from .tree import is_image_name, part_named, parts_among, parts_asked_for

# First lines that name the columns, in any case.
_PATH_HEADERS = frozenset({"path", "file", "filename", "image"})
_LABEL_HEADERS = frozenset({"label", "class"})
_PART_HEADERS = frozenset({"split", "set", "subset", "part", "partition"})

SHOWN_COLUMNS = 6  # of a line that is not understood
MOST_COLUMNS = 30  # of what may be said of an image; beyond, it is the image
PIXELS_ADVICE = ": tables of pixels are not read; save them as .npy or .npz, (N, H, W) uint8"


def open_list_file(path: Path, split: str = "all") -> Source:
    """Open a .txt, .csv or .tsv file of ``path[,label]`` lines, relative to the file's folder.

    `split` is as in `open_lines`. A line of a .txt file that names an image as it stands is that
    path, even with a comma in it.

    Raises
    ------
    InputError
        The file is not text, or breaks `open_lines`' rules.
    """
    # Whole lines and no more: names may hold what else Unicode ends lines with, and in a quoted
    # one csv takes any line break.
    suffix, text, where = path.suffix.lower(), _text(path), f"list {path.name}"
    lines: Iterable[str] = StringIO(text, newline="")
    if suffix == ".txt":
        lines = (_quoted_if_a_file(line, path.parent) for line in StringIO(text, newline=None))
    delimiter = "\t" if suffix == ".tsv" else ","
    if suffix == ".csv" and _has_semicolons(text, where):
        delimiter = ";"  # as Excel writes where the comma parts whole numbers from decimals
    return open_lines(lines, path.parent, where, delimiter, split)


def open_lines(
    lines: Iterable[str],
    base: Path,
    where: str = "list",
    delimiter: str = ",",
    split: str = "all",
) -> Source:
    """Open the images named by ``path[,label]`` lines.

    Empty lines and lines that begin with ``#`` are passed over. A first line such as ``path,label``
    or ``id,filename,class,split`` names columns, of which those of the path, the label and the part
    count. Parts are called as folders are, see `tree.arrange`: train and test, or val for test.

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
    split
        ``"train"``, ``"test"`` or ``"all"``; without meaning where no column names parts.

    Raises
    ------
    InputError
        The list is empty, or the part asked for; or only some lines carry a label, or a line has
        more than two fields and the first one names no columns, or a line lacks one that it names.
    """
    rows, columns = _rows(lines, base, where, delimiter)
    if not rows:
        raise InputError(f"{where} names no images: one path per line is expected")
    labelled = sum(bool(row.label) for row in rows)
    if 0 < labelled < len(rows):
        raise InputError(
            f"{where} gives a label to {labelled} of {len(rows)} images: label all or none"
        )
    parts = parts_among({row.part for row in rows})
    kept = _of_part(rows, parts, split, where)
    names, labels = [row.path for row in kept], [row.label for row in kept if row.label]
    is_part = bool(parts) and split != "all"
    opening = f"{part_named(split, parts)} part of {where}:" if is_part else f"{where} of"
    source = make_source(Files([base / name for name in names]), names, labels or None, opening)
    notes = beside_text(sum(row.part not in parts for row in rows) if parts else 0)
    if columns and (others := columns.passed_over(has_parts=bool(parts))):
        notes += f" (columns passed over: {listed(others, 6)})"
    return replace(source, description=source.description + notes)


def open_paths(paths: Sequence[str | PathLike[str]]) -> Source:
    """Open a Python list of image files.

    Raises
    ------
    InputError
        The list is empty.
    """
    if not paths:
        raise InputError("the list of images is empty")
    given = map(Path, paths)
    files = [path.expanduser() if path.parts[:1] == ("~",) else path for path in given]
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


def _has_semicolons(text: str, where: str) -> bool:
    """Say whether the first line names columns with semicolons between them."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    _, first = next(_fields([next(lines, "")], where, ";"), (1, []))
    return len(first) > 1 and _columns(first) is not None


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


@dataclass(frozen=True)
class _Columns:
    """What the first line calls the columns, and where path, label and part stand."""

    names: tuple[str, ...]
    path: int
    label: int | None
    part: int | None

    def passed_over(self, *, has_parts: bool) -> list[str]:
        """Name the columns that do not count; one of parts counts if it has some."""
        counting = {self.path, self.label, self.part if has_parts else None}
        return [name for place, name in enumerate(self.names) if name and place not in counting]


@dataclass(frozen=True)
class _Row:
    """One image; label and part are "" where there is none."""

    path: str
    label: str
    part: str = ""


def _rows(
    lines: Iterable[str], base: Path, where: str, delimiter: str
) -> tuple[list[_Row], _Columns | None]:
    """Return what is said of each image, and what line 1 says."""
    columns: _Columns | None = None
    rows: list[_Row] = []
    first = True
    for number, row in _fields(lines, where, delimiter):
        fields = [field.strip() for field in row]
        if not any(fields) or _is_comment(fields, columns):
            continue
        is_first, first = first, False
        # os.path as above: whatever the first line says, a file is an image.
        if is_first and not os.path.isfile(base / fields[0]):  # noqa: PTH113
            named = _columns(fields)
            if named is not None:
                columns = named if len(fields) > 1 else None
                continue
        picked = _picked(fields, columns)
        if picked is None:
            expected = f"is not path{delimiter}label"
            if columns is not None:
                expected = f"lacks some of what the first line names ({listed(columns.names, 6)})"
            is_pixels = columns is None and len(row) > MOST_COLUMNS
            advice = PIXELS_ADVICE if is_pixels else ""
            said = f"[{listed([*map(repr, row)], SHOWN_COLUMNS)}]"
            raise InputError(f"{where}, line {number}: {said} {expected}{advice}")
        if any("\udc80" <= character <= "\udcff" for character in picked.label):  # goes into models
            raise InputError(
                f"{where}, line {number}: label {picked.label!r} is not UTF-8: save it as such"
            )
        rows.append(picked)
    return rows, columns


def _of_part(
    rows: Sequence[_Row], parts: Mapping[str, str], split: str, where: str
) -> Sequence[_Row]:
    """Keep the rows of a part, or of all parts; all rows where there are no parts."""
    if not parts:
        return rows
    if kept := [row for row in rows if parts.get(row.part) in parts_asked_for(split)]:
        return kept
    found = listed(sorted({row.part for row in rows}), SHOWN_COLUMNS)
    raise InputError(f"{where} names no images in its {split} part, but in {found} alone")


def _is_comment(fields: Sequence[str], columns: _Columns | None) -> bool:
    place = columns.path if columns else 0
    return place < len(fields) and fields[place].startswith("#")


def _columns(fields: Sequence[str]) -> _Columns | None:
    """Return what a first line says of columns; None where it names no path, but an image."""
    names = [field.strip().casefold() for field in fields]
    path, label, part = (
        next((place for place, name in enumerate(names) if name in headers), None)
        for headers in (_PATH_HEADERS, _LABEL_HEADERS, _PART_HEADERS)
    )
    is_image = any(map(is_image_name, names)) or (
        len(names) == 2 and path == 1 and label != 0 and names[0] != ""
    )
    if path is None or is_image:
        return None
    return _Columns(tuple(fields), path, label, part)


def _picked(fields: Sequence[str], columns: _Columns | None) -> _Row | None:
    """Return what a line says of its image; None where it does not fit, or names none."""
    if columns is None:
        path, label, *others = *fields, "", ""
        return _Row(path, label) if path and not any(others) else None
    places = (columns.path, columns.label, columns.part)
    if len(fields) <= max(place or 0 for place in places):
        return None
    path, label, part = ("" if place is None else fields[place] for place in places)
    return _Row(path, label, part.casefold()) if path else None
