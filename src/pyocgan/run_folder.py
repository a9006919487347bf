"""A run folder explains itself: settings before training, then the log, then the model.

=======================  ======================================================================
config.yaml              every setting, resolved; ``ocgan train --config`` takes it back
command.txt              the exact command
environment.json         versions, machine, time
log.jsonl                one line an epoch
checkpoint.safetensors   while training is unfinished: where it goes on
model.json, weights-…    the model
=======================  ======================================================================
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from . import __version__
from .files import write_json, write_text

if TYPE_CHECKING:
    from .config import Config
    from .training import Record

LOG = "log.jsonl"


def describe_run(folder: Path, config: Config, command: Sequence[str]) -> None:
    """Write what is known before training: settings, command, environment."""
    settings = yaml.safe_dump(config.to_dict(), sort_keys=False, default_flow_style=None)
    write_text(folder / "config.yaml", settings)
    write_text(folder / "command.txt", shlex.join(command) + "\n")
    write_json(folder / "environment.json", environment())


def write_log(folder: Path, history: Sequence[Record]) -> None:
    """Write the whole log, one JSON object an epoch; so a resumed run has no line twice."""
    lines = [json.dumps(asdict(record)) + "\n" for record in history]
    write_text(folder / LOG, "".join(lines))


def environment() -> dict[str, Any]:
    """Return versions, machine and time, as a result file names them."""
    packages = ("torch", "numpy", "scikit-learn", "Pillow")
    return {
        "created": now(),
        "pyocgan": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "machine": machine(),
        "platform": platform.platform(),
    }


def now() -> str:
    """Return the time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine() -> str:
    """Return the number and kind of processors, such as "2 × AMD EPYC"."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} × {_processor()}"


def command_line() -> list[str]:
    """Return this process's command as a user would type it."""
    name = Path(sys.argv[0]).name
    return ["ocgan" if name == "__main__.py" else name, *sys.argv[1:]]  # python -m pyocgan


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
