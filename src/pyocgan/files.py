"""Atomic writes: a file or model folder is there whole, or as it was before."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import OcganError, UsageError, system_reason

# What numpy and zipfile raise for bytes that are not an .npz, or no longer one.
NPZ_DAMAGE = (ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
LONGEST = 200  # bytes of a name; systems take 255
STREAMS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


def expanded(path: str | Path) -> Path:
    """Return a path with ~ as a shell would have it.

    Raises
    ------
    UsageError
        As ~nobody, where there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{str(path)!r} names no user's folder: write ./{path}") from None


def shortened(name: str) -> str:
    """Cut a name that is too long for a file's, with something before and after it."""
    encoded = name.encode("utf-8", errors="surrogateescape")
    return name if len(encoded) <= LONGEST else encoded[:LONGEST].decode("utf-8", errors="ignore")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes `path`'s place, else it goes.

    Raises
    ------
    OcganError
        When the folder cannot be written, or `path` is no plain file, such as /dev/null; the
        message names the path and the system's reason.
    """
    with _temporary(path) as (temporary, target, mode):
        try:
            yield temporary
            with temporary.open("r+b") as written:  # to write: Windows asks for it
                os.fsync(written.fileno())
            temporary.chmod(mode)
            temporary.replace(target)
        except OSError as error:
            if error.filename is not None and Path(error.filename) != temporary:
                raise  # of another file, which is read meanwhile
            raise OcganError(f"cannot write {str(path)!r}: {system_reason(error)}") from None


@contextlib.contextmanager
def _temporary(path: Path, named: Path | None = None) -> Iterator[tuple[Path, Path, int]]:
    """Make a file beside the one to write, which goes at the end; give both, and its rights.

    Messages quote `path`, or what is `named` in its place.
    """
    refused = f"cannot write {str(named or path)!r}"
    if path.parent in STREAMS:  # a link to a file, perhaps, as where a shell wrote < file
        raise OcganError(f"{refused}: it is no plain file")
    try:
        path = path.resolve()  # what a link points to is replaced, not the link
        if path.parent.exists() and not path.parent.is_dir():
            raise OcganError(f"{refused}: {str(path.parent)!r} is no folder")
        if path.exists() and not path.is_file():
            raise OcganError(f"{refused}: it is there and is no plain file")
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_UMASK
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise OcganError(f"{refused}: {system_reason(error)}") from None
    temporary = Path(name)
    try:
        yield temporary, path, mode
    finally:
        temporary.unlink(missing_ok=True)


def open_text(path: Path) -> IO[str]:
    """Open a UTF-8 text file to write into; names of files pass as they are, even if no text."""
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


class CsvWriter:
    """Rows of CSV that end in a line feed; a name with any line break in it is quoted."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._rows = csv.writer(self)  # which quotes what stands in its line ends

    def row(self, values: Iterable[Any]) -> None:
        """Write one row."""
        self._rows.writerow(values)

    def write(self, line: str) -> None:
        """Take a line from `csv`."""
        self._file.write(line.removesuffix("\r\n") + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file whole or not at all; what is no text becomes a JSON escape."""
    write_bytes(path, content.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all; not-a-number is refused, since JSON has none."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    write_text(path, text + "\n")


def check_writable(folder: Path) -> None:
    """Make `folder` and try a write in it, so that hours of training do not end in an error."""
    with _temporary(folder / ".writable", folder):
        pass


def check_replaceable(path: Path) -> None:
    """Make the folder of a file that is written later, and try to; the file stays as it is."""
    with _temporary(path):
        pass


def check_creatable(folder: Path) -> None:
    """Try a write in `folder`, or where it would be made; nothing is made."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    with _temporary(there / ".writable", folder):
        pass


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written as JSON")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()  # asked once: it can only be asked by changing it, for all threads
