"""Where numbers come from: machine, versions, time, the command and the code. No torch here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__


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


def commit() -> str:
    """Return the commit of this package's code, ``-dirty`` if it was changed since.

    ``"unknown"`` where the package is not under git.
    """
    package = Path(__file__).resolve().parent
    if not _git(package, "ls-files", "--", "__init__.py"):
        return "unknown"
    dirty = "-dirty" if _git(package, "status", "--porcelain", "--", ".") else ""
    return f"{_git(package, 'rev-parse', 'HEAD')}{dirty}"


@cache
def code() -> str:
    """Return the SHA-256 of this package's code."""
    files = sorted(Path(__file__).resolve().parent.rglob("*.py"))
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


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


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
