"""Checked downloads of the named data sets, through pooch.

pooch writes to a temporary file, compares the checksum and only then puts the file in its place,
and downloads no file that is already there and right.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OcganError, UsageError
from .named import NamedSet, RemoteFile, named_folder, require_named

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MIRROR_VARIABLE = "OCGAN_MIRROR"


def fetch(
    name: str,
    data_root: str | os.PathLike[str] | None = None,
    *,
    base_url: str | None = None,
    progress: bool = False,
) -> Path:
    """Download the official files of a named data set.

    Parameters
    ----------
    name
        A key of `NAMED`.
    data_root
        The set goes into ``<data_root>/<name>/``; by default below $OCGAN_DATA_ROOT or the user's
        cache.
    base_url
        A mirror to use in place of the official host, with files at ``<base_url>/<name>/<file>``,
        as they lie in a data root; by default $OCGAN_MIRROR.
    progress
        Show a progress bar on stderr.

    Returns
    -------
    The folder of the set. For a set that needs no download, nothing is written.

    Raises
    ------
    UsageError
        There is no set of that name, or the mirror is no address of the web.
    OcganError
        No connection, a file that the host does not have, a wrong checksum, or no room.
    """
    data_set = require_named(name)
    folder = named_folder(data_set, data_root)
    mirror = base_url or os.environ.get(MIRROR_VARIABLE)
    for file in data_set.files:
        _fetch_file(file, _address(file, data_set, mirror), folder, progress)
    return folder


def _address(file: RemoteFile, data_set: NamedSet, mirror: str | None) -> str:
    return f"{mirror.rstrip('/')}/{data_set.name}/{file.name}" if mirror else file.url


def _fetch_file(file: RemoteFile, url: str, folder: Path, progress: bool) -> None:
    import pooch

    with _one_line_errors(url, folder), _silent(pooch.get_logger()), _bar(file, progress) as bar:
        download = pooch.HTTPDownloader(progressbar=bar)
        pooch.retrieve(url, file.checksum, file.name, folder, downloader=download)


@contextmanager
def _one_line_errors(url: str, folder: Path) -> Iterator[None]:
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidSchema, MissingSchema

    try:
        yield
    except HTTPError as error:
        answer = str(error).partition(" for url")[0]  # "404 Client Error: Not Found"
        raise OcganError(f"{url}: the host answers {answer}") from error
    except (MissingSchema, InvalidSchema) as error:  # of a mirror: official addresses have one
        raise UsageError(
            f"{url}: the address lacks http:// or https://: "
            f"begin the mirror (${MIRROR_VARIABLE}) with one of them"
        ) from error
    except RequestException as error:
        raise OcganError(
            f"{url}: no connection ({type(error).__name__}): check the network, "
            f"or name a mirror in ${MIRROR_VARIABLE}"
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise OcganError(
            f"{url}: the download does not have the official checksum and was discarded"
        ) from error
    except OSError as error:
        raise OcganError(f"cannot write into {folder}: {error.strerror or error}") from error


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's remarks off stderr."""
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _bar(file: RemoteFile, wanted: bool) -> Iterator[_PoochBar | bool]:
    if not wanted:
        yield False
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:])
    with Progress(*columns, DownloadColumn(), console=Console(stderr=True)) as shown:
        yield _PoochBar(shown, shown.add_task(file.name, total=None))


class _PoochBar:
    """The four names by which pooch drives a progress bar."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown = shown
        self._task = task

    @property
    def total(self) -> float | None:
        """Bytes expected."""
        return self._shown.tasks[self._task].total

    @total.setter
    def total(self, count: float | None) -> None:
        self._shown.update(self._task, total=count)

    def update(self, count: int) -> None:
        """Count bytes that came in."""
        self._shown.advance(self._task, count)

    def reset(self) -> None:
        """Start again from nothing; pooch then counts the whole file once more."""
        self._shown.reset(self._task, total=self.total)

    def close(self) -> None:
        """Do nothing: the context manager ends the bar."""
