"""What the experiments share: the development split and its options, an AUROC, a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pyocgan.benchmark.images import Pool, open_pool
from pyocgan.config import check_settings


@dataclass(frozen=True)
class Development:
    """A data set under the protocol dev, the classes asked for, and the settings that differ."""

    pool: Pool
    classes: tuple[str, ...]
    settings: dict[str, Any]


def options_of(module: str, description: str | None, *, preset: str) -> argparse.ArgumentParser:
    """Return a parser with the options that choose data, classes, seed and settings."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    parser.add_argument("dataset")
    parser.add_argument("--classes", default="all", help="names or numbers, as 2,4,8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default=preset)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings")
    parser.add_argument("--data-root", type=Path)
    return parser


def read(options: argparse.Namespace) -> Development:
    """Read the images that the options of `options_of` choose."""
    settings = check_settings(dict(setting.split("=", 1) for setting in options.set))
    pool = open_pool(options.dataset, "dev", data_root=options.data_root, settings=settings)
    classes = pool.classes if options.classes == "all" else tuple(options.classes.split(","))
    return Development(pool, classes, settings)


def auroc(normal: NDArray[np.float64], novel: NDArray[np.float64]) -> float:
    """Return how well scores tell novel images from normal ones, in [0, 1]."""
    truth = np.repeat([False, True], [len(normal), len(novel)])
    return float(roc_auc_score(truth, np.concatenate([normal, novel])))


def head(titles: Sequence[str], columns: int) -> list[str]:
    """Return the two lines that begin a Markdown table; a title may span columns by ``" | "``."""
    return [f"| {' | '.join(titles)} |", "|---" * columns + "|"]
