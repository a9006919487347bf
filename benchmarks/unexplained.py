"""What kept reconstruction errors are worth beside how much there is to reconstruct.

`python -m benchmarks.unexplained mnist --methods paper-ae-epochs15,paper-epochs15`: from the scores
that `ocgan benchmark` keeps of every image, a row a class with the AUROC of the error as it is, and
of the share of the image's variance that it leaves unexplained. Nothing is trained.
docs/reproduction.md uses it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pyocgan.benchmark import Pool, open_pool, read_scores
from pyocgan.benchmark.results import group_folder, read_result
from pyocgan.errors import InputError
from pyocgan.images import to_range
from pyocgan.tasks import Protocol

from .development import head

Cell = tuple[str, int]  # class and seed
Both = tuple[float, float]  # AUROC of the error, and of the share unexplained

PROTOCOLS: dict[str, Protocol] = {str(protocol): protocol for protocol in get_args(Protocol)}
FLAT = 1e-6  # variance of an image of one colour, at least


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the cells, and print both AUROC as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unexplained", description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--protocol", default="2", choices=PROTOCOLS)
    parser.add_argument("--methods", required=True, help="folders of results, comma-separated")
    parser.add_argument("--cells", type=Path, default=Path("results/cells"))
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args(arguments)
    protocol = PROTOCOLS[options.protocol]
    pool = open_pool(options.dataset, protocol, data_root=options.data_root)
    columns = {}
    for method in options.methods.split(","):
        folder = group_folder(options.cells, options.dataset, protocol, method)
        columns[method] = dict(measure(path, pool) for path in sorted(folder.glob("*.json")))
        if not columns[method]:
            parser.error(f"no results in {folder}: ocgan benchmark writes them")
    print(table(columns))


def measure(path: Path, pool: Pool) -> tuple[Cell, Both]:
    """Return class and seed of a result file, and what its scores are worth in both ways."""
    result, kept = read_result(path), read_scores(path)
    cell = result["class"], result["seed"]
    trial = pool.trial(*cell)
    if not np.array_equal(kept["index"], trial.test_index):
        raise InputError(f"{path} was measured on other images than those of {pool.name}")
    return cell, both(kept["score"], trial.test_pixels, kept["is_novel"])


def both(
    error: NDArray[np.float64], pixels: NDArray[np.uint8], is_novel: NDArray[np.bool_]
) -> Both:
    """Return the AUROC of mean squared errors (N,), and of them divided by variances.

    Of images (N, H, W, K) in [-1, 1]; a variance is about the image's own mean.
    """
    x = to_range(torch.from_numpy(pixels)).double().flatten(1)
    variance = x.var(1, correction=0).clamp(min=FLAT).numpy()
    return float(roc_auc_score(is_novel, error)), float(roc_auc_score(is_novel, error / variance))


def table(columns: Mapping[str, Mapping[Cell, Both]]) -> str:
    """A row a class and seed: for each method, the error and the share unexplained."""
    titles = ["class, seed", *(f"{method}: error | unexplained" for method in columns)]
    lines = head(titles, 2 * len(columns) + 1)
    for name, seed in dict.fromkeys(cell for worth in columns.values() for cell in worth):
        found = [worth.get((name, seed)) for worth in columns.values()]
        lines.append(_line(f"{name}, {seed}", found))
    means = [np.mean(list(worth.values()), axis=0) for worth in columns.values()]
    return "\n".join([*lines, _line("mean", means)])


def _line(name: str, found: Iterable[Sequence[float] | None]) -> str:
    cells = [
        " | ".join(f"{value:.4f}" for value in pair) if pair is not None else " | "
        for pair in found
    ]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
