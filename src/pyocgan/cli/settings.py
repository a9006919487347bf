"""Every field of `Config` as a flag: the command, config files and the environment agree."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import cyclopts

from ..config import FIELDS, PRESETS, field_type, merge

if TYPE_CHECKING:
    Preset = str
    SettingFlags = object
else:
    Preset = Literal[tuple(PRESETS)]
SETTINGS_GROUP = cyclopts.Group(
    "Settings",
    help="Each is also a key of the config file and, as in OCGAN_EPOCHS, a variable of the "
    "environment; flag over environment over file over preset. En, De: the auto-encoder; D_l, D_v: "
    "the discriminators of codes and of images; C: the classifier; T: a network that tells turned "
    "views apart; P: one that finds made-up flaws.",
)


def whole_number(_: object, tokens: Sequence[cyclopts.Token]) -> int:
    """Read a whole number; cyclopts would round 2.6."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no whole number") from None


WHOLE = cyclopts.Parameter(converter=whole_number)


def _flag_type(name: str) -> Any:
    """Return a type that the command line can show; the rest is words, typed by `merge`."""
    wanted = field_type(name)
    words = get_origin(wanted) is Literal and all(isinstance(c, str) for c in get_args(wanted))
    if wanted is int:
        return Annotated[int, WHOLE]
    return wanted if wanted is float or words else str


def _flags() -> type:
    fields: list[tuple[str, Any, Any]] = [
        (
            name,
            Annotated[_flag_type(name) | None, cyclopts.Parameter(help=f.metadata["help"])],
            dataclasses.field(default=None),
        )
        for name, f in FIELDS.items()
    ]
    flags = dataclasses.make_dataclass("SettingFlags", fields, kw_only=True)
    flags.__module__ = __name__  # cyclopts looks no further at what claims to be of `types`
    return flags


if not TYPE_CHECKING:
    SettingFlags = _flags()


def settings_from(config: Path | None, flags: Any) -> dict[str, Any]:
    """Return what the user set: flag over environment over config file."""
    given = {k: v for k, v in vars(flags).items() if v is not None} if flags is not None else {}
    return merge(file=config, environment=os.environ, flags=given)
