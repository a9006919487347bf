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
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from .files import write_json, write_text
from .origin import environment

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
