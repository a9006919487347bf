"""The named exceptions. The library raises them; only the command turns them into one line.

Each names what came in and what to do. ``exit_code`` is what ``ocgan`` returns for it. What may be
meant and may be a mistake is an `ImageWarning`, of which the command makes a note.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class OcganError(Exception):
    """Something went wrong at run time: a full disk, a folder that cannot be written."""

    exit_code = 1


class UsageError(OcganError, ValueError):
    """A setting, flag or key that does not exist or is out of its range."""

    exit_code = 2


class InputError(OcganError, ValueError):
    """There is nothing to read: no images, unreadable images, an array of the wrong kind."""

    exit_code = 3


class ModelError(OcganError):
    """A folder that is not a model, is damaged, or was written by a newer version."""

    exit_code = 1


class TrainingInterruptedError(OcganError):
    """Training was interrupted; a checkpoint was written first."""

    exit_code = 130


class ImageWarning(UserWarning):
    """Images that are perhaps not what they are taken for."""


def warn(*messages: str) -> None:
    """Warn of images, at the line that called the package."""
    package, level, frame = __name__.partition(".")[0], 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    for message in messages:
        warnings.warn(message, ImageWarning, stacklevel=level)


def system_reason(error: Exception) -> str:
    """Return what the system says of an error, or the error itself where it says nothing."""
    return str(getattr(error, "strerror", None) or error)


LISTED = 20  # names in a message at most


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """Write names for a message, ``most`` of them at most: ``"cat, dog, …"``."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def unknown(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """Build the error for an unknown name: quote it, suggest the nearest known one, list all.

    A long list is left out beside a suggestion.

    Parameters
    ----------
    kind
        What was named, for example ``"setting"``.
    given
        The name as it came in.
    known
        The names that exist.
    """
    names = [str(name) for name in known]
    close = get_close_matches(str(given), names, n=1, cutoff=0.6)
    if not close:
        hint = f"known: {listed(names)}"
    elif len(names) > LISTED:
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"did you mean {close[0]!r}? known: {listed(names)}"
    return UsageError(f"unknown {kind} {given!r}: {hint}")


def caught(work: Callable[[], T]) -> T | OcganError:
    """Do it, or return the error: whatever goes wrong with one of many leaves the others alone."""
    try:
        return work()
    except OcganError as error:
        return error
    except Exception as error:
        return OcganError(f"{type(error).__name__}: {' '.join(str(error).split())}")
