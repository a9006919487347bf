"""What a command writes must not take the place of what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError


def check_unread(flag: str, out: Path, read: Iterable[str | Path]) -> None:
    """Refuse to write a file over one that the command reads.

    Raises
    ------
    UsageError
        `out`, the value of `flag`, is one of the files `read`.
    """
    if not out.is_file():
        return
    for path in read:
        with suppress(OSError, RuntimeError):  # gone, or no path
            if out.samefile(Path(path).expanduser()):
                raise UsageError(f"{flag} {str(out)!r} is read here: choose another file")


def check_apart(out: Path, source: str) -> None:
    """Refuse to write where the images are looked for: the name of a data set would be a folder.

    Raises
    ------
    UsageError
        The folder `out` is the path `source`.
    """
    with suppress(OSError, RuntimeError):  # ~nobody, a name too long: opening says so
        if out.resolve() == Path(source).expanduser().resolve():
            raise UsageError(
                f"--out {str(out)!r} is where the images are looked for: choose another folder"
            )


def check_outside(flag: str, out: Path, read: Iterable[str]) -> None:
    """Refuse to draw pictures into a folder of images: the next time they would be read, too.

    Raises
    ------
    UsageError
        `out`, the value of `flag`, is one of the folders `read`, or lies in one.
    """
    for given in read:
        with suppress(OSError, RuntimeError):
            folder = Path(given).expanduser().resolve()
            if folder.is_dir() and out.resolve().is_relative_to(folder):
                raise UsageError(
                    f"{flag} {str(out)!r} is in {given!r}, whose images are read: choose "
                    "another place"
                )
