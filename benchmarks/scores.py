"""What each score of a preset is worth on the development split, and sums of some of them.

`python -m benchmarks.scores mnist --classes 2,4,8`: a row a class with the AUROC of each score
alone, of the preset's sum, and of each `--sum`. No test image is read: a fifth of a class's
training images and as many of other training classes are told apart. docs/research.md uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pyocgan.benchmark.images import Trial
from pyocgan.calibration import ANY_FPR
from pyocgan.detector import NoveltyDetector

from .development import options_of, read

Row = dict[str, float]
Columns = dict[str, NDArray[np.float64]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit a detector to each class, and print the table as Markdown."""
    parser = options_of("scores", __doc__, preset="default")
    parser.add_argument(
        "--sum",
        nargs="*",
        default=[],
        metavar="WEIGHT*NAME+…",
        help="sums of standardised scores, as neighbours+0.3*gradients",
    )
    options = parser.parse_args(arguments)
    split = read(options)
    rows: list[Row] = []
    for name in split.classes:
        detector = NoveltyDetector(
            options.preset, settings=split.settings, fpr=ANY_FPR, random_state=options.seed
        )
        rows.append(_measure(detector, split.pool.trial(name, options.seed), options.sum))
        if len(rows) == 1:
            print("| class |", " | ".join(rows[0]), "|")
            print("|---" * (len(rows[0]) + 1) + "|")
        print(_line(name, rows[-1]), flush=True)
    print(_line("mean", {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}))


def _measure(detector: NoveltyDetector, trial: Trial, sums: Sequence[str]) -> Row:
    evidence = detector.fit(trial.train_pixels).evidence_
    weights, evidence.weights = evidence.weights, torch.ones_like(evidence.weights)
    alone: Columns = {**detector.score_parts(trial.test_pixels)}
    columns = alone | {"sum": np.stack(list(alone.values()), 1) @ weights.cpu().numpy()}
    columns |= {text: _sum(text, alone) for text in sums}
    return {key: float(roc_auc_score(trial.is_novel, score)) for key, score in columns.items()}


def _sum(text: str, alone: Columns) -> NDArray[np.float64]:
    """Return the sum that ``"neighbours+0.3*gradients"`` asks for."""
    terms = [term.rpartition("*") for term in text.split("+")]
    total: NDArray[np.float64] = np.sum(
        [float(weight or 1) * alone[name] for weight, _, name in terms], axis=0
    )
    return total


def _line(name: str, row: Row) -> str:
    return " | ".join([f"| {name}", *(f"{value:.4f}".lstrip("0") for value in row.values())]) + " |"


if __name__ == "__main__":
    main()
