"""Write docs/commands.md: what ``ocgan COMMAND --help`` prints, for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "",
    "demo",
    "train",
    "predict",
    "evaluate",
    "benchmark",
    "benchmark summarise",
    "report",
    "data",
    "data fetch",
    "data describe",
    "data suspects",
    "info",
    "completion",
)
PAGE = Path(__file__).parent / "commands.md"


def help_text(command: str) -> str:
    """Return the help of one command, 90 columns wide."""
    environment = os.environ | {"COLUMNS": "90", "NO_COLOR": "1", "TERM": "dumb"}
    arguments = [sys.executable, "-m", "pyocgan", *command.split(), "--help"]
    result = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return "\n".join(line.rstrip() for line in result.stdout.strip("\n").splitlines())


def page() -> str:
    """Return the whole page."""
    parts = ["# The command `ocgan`", "", "Made by `make docs`; a test keeps it true.", ""]
    for command in COMMANDS:
        parts += ["## `" + f"ocgan {command}".strip() + "`"]
        parts += ["", "```text", help_text(command), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
