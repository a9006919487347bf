"""`ocgan demo`: the paper's motivating problem, on images that come with the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def demo(*, out: Annotated[Path, Parameter(alias="-o")] = Path("demo")) -> None:
    """Show why OCGAN: train it and an auto-encoder on the digit 8 alone."""
