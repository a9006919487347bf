"""Every field of `Config` as a flag, a variable of the environment and a key of a config file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import cyclopts
import yaml

from ..config import FIELDS, PRESETS, check_settings, field_type
from ..data.fetch import MIRROR_VARIABLE
from ..data.named import DATA_ROOT_VARIABLE
from ..errors import UsageError, unknown
from .flags import Whole

if TYPE_CHECKING:
    Preset = str
    SettingFlags = object
else:
    Preset = Literal[tuple(PRESETS)]

# Of a command, not of a model's training: they stand on its line.
FLAGS_ALONE = (
    "preset", "config", "out", "seed", "seeds", "device", "precision", "protocol", "data_root",
    "json", "quiet", "class", "fpr", "skip_unreadable", "restart", "tensorboard", "dataset",
    "method", "classes", "jobs", "executor", "stack", "overwrite", "dry_run", "parts", "picture",
    "heatmaps", "baselines", "no_baselines", "split", "results", "docs", "fail_on_novel",
)  # fmt: skip
OTHER_VARIABLES = (DATA_ROOT_VARIABLE, MIRROR_VARIABLE)  # of the environment: no settings

SETTINGS_GROUP = cyclopts.Group(
    "Settings",
    help="Each is also a key of the config file and, as in OCGAN_EPOCHS, a variable of the "
    "environment. A flag wins over the environment, that over the file, that over the preset. "
    "En, De: the auto-encoder; D_l, D_v: the discriminators of codes and of images; C: the "
    "classifier; T: a network that tells turned views apart; P: one that finds made-up flaws.",
)


def _flag_type(name: str) -> Any:
    """Return a type that the command line can show; the rest is words, typed by `merge`."""
    wanted = field_type(name)
    words = get_origin(wanted) is Literal and all(isinstance(c, str) for c in get_args(wanted))
    if wanted is int:
        return Whole
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


def merge(
    *,
    file: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Settle what the user set, flag over environment over config file, for `resolve`.

    `file` is YAML, its keys fields of `Config`; of `environment`, ``OCGAN_<FIELD>`` counts.
    """
    layers = (read_file(file), read_environment(environment or {}), flags or {})
    return {name: value for layer in layers for name, value in check_settings(layer).items()}


def read_file(path: str | Path | None) -> dict[str, Any]:
    """Read a YAML config file: a mapping from field names of `Config` to values."""
    if path is None:
        return {}
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader) or {}
    except UsageError as error:
        raise UsageError(f"the config file {str(path)!r}: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read the config file {str(path)!r}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, no date
        line = " ".join(str(error).split())
        raise UsageError(f"the config file {str(path)!r} is not YAML: {line}") from None
    if not isinstance(content, dict):
        raise UsageError(f"the config file {str(path)!r} must be lines such as epochs: 50")
    for key in content:
        _check_no_flag(key, f"{key} in the config file {str(path)!r}")
    return {str(key): value for key, value in content.items()}


def read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read ``OCGAN_<FIELD>`` variables; empty ones count as not set, others must be a field."""
    names = {f"OCGAN_{name.upper()}": name for name in FIELDS}
    for key, value in environment.items():
        if key.startswith("OCGAN_") and value and key not in {*names, *OTHER_VARIABLES}:
            _check_no_flag(key.removeprefix("OCGAN_").lower(), f"the variable {key}")
            raise unknown("variable", key, names)
    return {names[key]: value for key, value in environment.items() if key in names and value}


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping of different keys."""
        plain = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=deep) for key in plain]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise UsageError(f"{twice} is given twice")
        return super().construct_mapping(node, deep)


def _check_no_flag(name: str, said: str) -> None:
    if str(name).replace("-", "_") in FLAGS_ALONE:
        flag = str(name).replace("_", "-")
        raise UsageError(f"{said} is no setting: give --{flag} to a command that has it")
