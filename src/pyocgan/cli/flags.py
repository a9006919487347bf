"""The types of flags that several commands have, and values that hold several, with commas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import UsageError

LARGEST_SEED = 2**32 - 1  # of NumPy and scikit-learn


def _whole_number(_: object, tokens: Sequence[cyclopts.Token]) -> int:
    """Read a whole number; cyclopts would round 2.6."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


Whole = Annotated[int, Parameter(converter=_whole_number)]
Seed = Annotated[Whole, Parameter(validator=Number(gte=0))]
Switch = Annotated[bool, Parameter(negative="")]  # off; there is no --no-…
AsJson = Annotated[bool, Parameter(name="--json", negative="")]
Quiet = Annotated[bool, Parameter(negative="", alias="-q")]
NormalClass = Annotated[str | None, Parameter(name=["--class", "-c"])]
Out = Annotated[Path, Parameter(alias="-o")]
Device = Annotated[str, Parameter(help="auto (cuda or cpu), cpu, cuda or mps.")]
Precision = Annotated[str, Parameter(help="auto, 32-true or bf16-mixed.")]
DataRoot = Annotated[
    Path | None,
    Parameter(
        help="Where named data sets lie (default: $OCGAN_DATA_ROOT, or the user's cache).",
    ),
]
SkipUnreadable = Annotated[
    Switch, Parameter(help="Leave out images that cannot be read, and list them.")
]


def comma_words(flag: str, text: str) -> list[str]:
    """Split a flag's value at its commas; each word once, in order."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError(f"{flag} {text!r} is empty: give one or more, with commas between them")
    return list(dict.fromkeys(words))


def comma_numbers(flag: str, text: str) -> list[int]:
    """Split a flag's value at its commas into whole numbers, ascending."""
    words = comma_words(flag, text)
    if not all(w.isdecimal() and len(w) <= 10 and int(w) <= LARGEST_SEED for w in words):
        raise UsageError(
            f"{flag} {text!r} must be whole numbers from 0 to {LARGEST_SEED}, such as 0,1,2"
        )
    return sorted({int(word) for word in words})


def read_classes(text: str) -> list[str] | None:
    """Read --classes: None for all."""
    return None if text == "all" else comma_words("--classes", text)


def read_seeds(text: str | None) -> list[int] | None:
    """Read --seeds of results that there are: None for all that occur."""
    return None if text is None else comma_numbers("--seeds", text)
