"""Claims: which process makes a file, when several work on the same folder.

A claim is a file created with O_EXCL, so that one process alone gets it. The first is ``….claim0``.
If its process has died, whoever creates ``….claim1`` takes over, and so on: nothing is ever
deleted in order to be claimed, so two processes cannot both think that they took over.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

from .errors import OcganError
from .origin import now

CLAIM = re.compile(r"\.claim\d+")  # the suffix of a claim; a file of the user's may be x.claims
WRITING_SECONDS = 10.0  # a claim without content is being written, if it is not older


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Try to claim the file `path` for this process, and give the claim back at the end.

    Gives False where another living process, or any process of another host, holds it.
    """
    mine = _take(path)
    try:
        yield mine is not None
    finally:
        if mine is not None and _is_own(mine):
            for claim in _claims(path):
                if _number(claim) <= _number(mine):
                    claim.unlink(missing_ok=True)


def is_claimed(path: Path) -> bool:
    """Say whether a living process, or any process of another host, holds the file `path`."""
    claims = _claims(path)
    return bool(claims) and not _is_stale(claims[-1])


def unsure_claim(path: Path) -> str | None:
    """Describe a claim on the file `path` whose process may have died; None where there is none.

    Processes of another host cannot be looked up here; nor, without Linux's /proc, can one tell
    whether a process's number has been used again.
    """
    claims = _claims(path)
    holder = _read(claims[-1]) if claims else None
    if holder is None or (holder["host"] == socket.gethostname() and holder["started"]):
        return None
    return (
        f"process {holder['pid']} of host {holder['host']!r} since {holder['time']}; if it has "
        f"ended, delete {str(claims[-1])!r}"
    )


def _take(path: Path) -> Path | None:
    claims = _claims(path)
    if claims and not _is_stale(claims[-1]):
        return None
    number = _number(claims[-1]) + 1 if claims else 0
    claim = path.with_suffix(f".claim{number}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OcganError(f"cannot write {str(path.parent)!r}: {error.strerror}") from None
    try:
        with claim.open("x", encoding="utf-8") as file, _removed_on_error(claim):
            json.dump(_holder(), file)
            file.flush()
    except FileExistsError:
        return None
    except OSError as error:
        raise OcganError(f"cannot write {str(claim)!r}: {error.strerror}") from None
    if claims and not _is_stale(claims[-1]):  # who took over has given back all claims meanwhile
        claim.unlink(missing_ok=True)
        return None
    return claim


@contextmanager
def _removed_on_error(claim: Path) -> Iterator[None]:
    """Leave no claim without content behind, as on a full disk."""
    try:
        yield
    except OSError:
        claim.unlink(missing_ok=True)
        raise


class _Holder(TypedDict):
    """What a claim says."""

    pid: int
    host: str
    time: str
    started: str | None


def _holder() -> _Holder:
    """Describe this process, as its claims do."""
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "time": now(), "started": _started(pid)}


def _is_own(claim: Path) -> bool:
    """Say whether a claim is this process's: its own may have been deleted, and made by another."""
    with suppress(OSError):  # what nobody can read is nobody's to delete
        holder = _read(claim)
        return holder is not None and {**holder, "time": ""} == {**_holder(), "time": ""}
    return False


def _claims(path: Path) -> list[Path]:
    """All claims on a file, the one that counts last."""
    beside = (file for file in path.parent.glob("*.claim*") if file.stem == path.stem)
    return sorted((file for file in beside if CLAIM.fullmatch(file.suffix)), key=_number)


def _number(claim: Path) -> int:
    return int(claim.suffix.removeprefix(".claim"))


def _is_stale(claim: Path) -> bool:
    """Say whether the claim's process has died; of another host's process nobody can know."""
    holder = _read(claim)
    if holder is None:
        return _age(claim) > WRITING_SECONDS
    if holder["host"] != socket.gethostname():
        return False
    return not _is_alive(holder["pid"]) or _started(holder["pid"]) != holder["started"]


def _read(claim: Path) -> _Holder | None:
    """Read who holds a claim; None while it is being written, and once it is gone."""
    try:
        holder = json.loads(claim.read_text(encoding="utf-8"))
        return {
            "pid": int(holder["pid"]),
            "host": str(holder["host"]),
            "time": str(holder["time"]),
            "started": holder["started"],
        }
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _age(claim: Path) -> float:
    """Seconds since a claim was made; 0 where it has just gone: its file is free at another try."""
    try:
        return time.time() - claim.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # there, os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return True


def _started(pid: int) -> str | None:
    """When a process started, in Linux's clock ticks: tells it from a later one of the same pid."""
    try:
        # After the name in parentheses, which may hold spaces, the 20th field.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
