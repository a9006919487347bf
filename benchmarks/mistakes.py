"""How well wrong images are found among those that are to be learned.

`python -m benchmarks.mistakes mnist --classes 8,4`: of each class some training images, among which
3 % are of other classes. They are ranked by a model of all of them, by `pyocgan.suspicion`, and by
methods without training, for which they are dealt out likewise. Cells are average precision, and
how many of the N wrong ones are among the first 2·N. No test image is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from pyocgan.baselines import BASELINES, Scorer
from pyocgan.benchmark.images import Pool
from pyocgan.calibration import ANY_FPR
from pyocgan.data import Images
from pyocgan.detector import NoveltyDetector
from pyocgan.mistakes import PARTS, held_out_scores, unfitted

from .development import head, options_of, read


def main(arguments: Sequence[str] | None = None) -> None:
    """Rank the images of each class in every way, and print a table as Markdown."""
    parser = options_of("mistakes", __doc__, preset="default")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--wrong", type=int, default=12)
    parser.add_argument("--parts", type=int, default=PARTS)
    options = parser.parse_args(arguments)
    split = read(options)
    titles = [
        "",
        "learned, then ranked",
        "`suspicion`",
        *(title for title, _ in BASELINES.values()),
    ]
    print("\n".join(head(titles, len(titles))), flush=True)
    for name in split.classes:
        images, is_wrong = mixed(split.pool, name, options.images, options.wrong, options.seed)
        detector = NoveltyDetector(
            options.preset, settings=split.settings, fpr=ANY_FPR, random_state=options.seed
        )
        makers: list[Callable[[], Scorer]] = [partial(unfitted, detector)]
        makers += [make for _, make in BASELINES.values()]
        ranked = [detector.fit(images.pixels).novelty_scores(images.pixels)]
        ranked += [held_out_scores(make, images, options.parts, options.seed) for make in makers]
        print(" | ".join([f"| {name}", *(_cell(one, is_wrong) for one in ranked)]), "|", flush=True)


def mixed(
    pool: Pool, name: str, count: int, wrong: int, seed: int
) -> tuple[Images, NDArray[np.bool_]]:
    """Draw `count` training images, `wrong` of them of other classes than `name`, and say which."""
    everything, rng = pool.images[0], np.random.default_rng(seed)
    assert everything.labels is not None
    is_other = everything.labels != pool.sources[0].class_name(name)
    right = rng.permutation(np.flatnonzero(~is_other))[: count - wrong]
    rows = np.concatenate([right, rng.permutation(np.flatnonzero(is_other))[:wrong]])
    rows = rng.permutation(rows)
    names = tuple(everything.names[row] for row in rows)
    return Images(everything.pixels[rows], names, None), is_other[rows]


def _cell(scores: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> str:
    precision = average_precision_score(is_wrong, scores)
    first = np.argsort(-scores, kind="stable")[: 2 * is_wrong.sum()]
    return f"{precision:.3f}, {is_wrong[first].sum()} of {is_wrong.sum()}".lstrip("0")


if __name__ == "__main__":
    main()
