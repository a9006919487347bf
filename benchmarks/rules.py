"""How well rules that see no anomaly choose among models, on the development split.

`python -m benchmarks.rules mnist --classes 2,8 --vary latent_size=4,16,64`: a model for each value,
looked at after every epoch. A rule knows images of the class alone: the validation error, or how
well the model tells validation images from negatives made of them. What the paper's score is worth
comes from other classes of the training images, which no rule sees. docs/reproduction.md uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pyocgan import scoring
from pyocgan.benchmark.images import Trial
from pyocgan.config import Config, check_settings, settle
from pyocgan.images import to_pixels
from pyocgan.training import Training

from .development import auroc, head, options_of, read

Pixels = NDArray[np.uint8]

VALIDATION_SHARE = 0.1
PASTED = 1 / 3  # of a side


@dataclass(frozen=True)
class Model:
    """One model after one epoch: what each rule thinks of it, and its AUROC on other classes."""

    value: str
    epoch: int
    validation_error: float
    rules: Mapping[str, float]  # the larger, the better
    auroc: float


def halves(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return images (N, H, W, K) with the right half of another of them."""
    glued, middle = images.copy(), images.shape[2] // 2
    glued[:, :, middle:] = _others(images, rng)[:, :, middle:]
    return glued


def pasted(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return images with a part of another one at another place.

    Li et al., "CutPaste: self-supervised learning for anomaly detection and localization", CVPR
    2021, who take the part from the same image.
    """
    glued = images.copy()
    h, w = (max(1, round(PASTED * side)) for side in images.shape[1:3])
    ends = images.shape[1] - h + 1, images.shape[2] - w + 1
    for image, other in zip(glued, _others(images, rng), strict=True):
        (a, b), (c, d) = rng.integers(ends), rng.integers(ends)
        image[a : a + h, b : b + w] = other[c : c + h, d : d + w]
    return glued


def turned(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return images turned by a quarter; by a half where H ≠ W."""
    quarters = 1 if images.shape[1] == images.shape[2] else 2
    return np.rot90(images, quarters, (1, 2)).copy()


NEGATIVES = {"halves": halves, "pasted": pasted, "turned": turned}


def _others(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Return for each image another one."""
    n = len(images)
    others: Pixels = images[(np.arange(n) + rng.integers(1, n, n)) % n]
    return others


def train(trial: Trial, config: Config, value: str, seed: int) -> list[Model]:
    """Train one model on a class; return what it is after each epoch."""
    rng = np.random.default_rng(seed)
    images = trial.train_pixels[rng.permutation(len(trial.train_pixels))]
    held = max(2, round(VALIDATION_SHARE * len(images)))
    validation = images[:held]
    negatives = {name: make(validation, rng) for name, make in NEGATIVES.items()}
    s = rng.uniform(-1, 1, (held, config.latent_size)).astype(np.float32)
    training = Training(config, images[held:], validation, seed=seed)
    score = partial(scoring.reconstruction_errors, training.nets, config=config)
    found = []
    for progress in training.run():
        if progress.record is None:
            continue
        negatives["decoded samples"] = to_pixels(scoring.decode(training.nets, s))
        epoch, error = progress.record.epoch, progress.record.validation_error
        rules = {"lowest validation error": -error, "last epoch": float(epoch)}
        normal = score(validation)
        rules |= {name: auroc(normal, score(made)) for name, made in negatives.items()}
        tested = score(trial.test_pixels)
        worth = auroc(tested[~trial.is_novel], tested[trial.is_novel])
        found.append(Model(value, epoch, error, rules, worth))
    return found


def chosen(models: Sequence[Model], rule: str) -> Model:
    """Return the model that a rule likes best; of equals, the first."""
    return max(models, key=lambda model: model.rules[rule])


def agreement(models: Sequence[Model], rule: str) -> float:
    """Return Spearman's rank correlation of a rule with the AUROC, in [−1, 1]; 0 for none."""
    liked, found = [model.rules[rule] for model in models], [model.auroc for model in models]
    if len(set(liked)) == 1:
        return 0.0
    return float(spearmanr(liked, found).statistic)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print as Markdown: the models at the end, and what each rule chooses."""
    parser = options_of("rules", __doc__, preset="fast")
    parser.add_argument("--vary", default="latent_size=4,16,64", metavar="NAME=VALUE,…")
    options = parser.parse_args(arguments)
    field, _, values = options.vary.partition("=")
    split = read(options)
    configs = {
        value: settle(
            options.preset, split.settings | check_settings({field: value}), split.pool.rule
        )
        for value in values.split(",")
    }
    trained: dict[str, list[Model]] = {name: [] for name in split.classes}
    for name, models in trained.items():
        trial = split.pool.trial(name, options.seed)
        for value, config in configs.items():
            models += train(trial, config, value, options.seed)
    print(models_table(field, trained), rules_table(field, trained), sep="\n\n")


def models_table(field: str, trained: Mapping[str, Sequence[Model]]) -> str:
    """A row a value: validation error and AUROC after the last epoch, for each class."""
    lines = head([field, *(f"{name}: error | AUROC" for name in trained)], 2 * len(trained) + 1)
    for value in dict.fromkeys(model.value for models in trained.values() for model in models):
        last = [[m for m in models if m.value == value][-1] for models in trained.values()]
        cells = [f"{m.validation_error:.4f} | {m.auroc:.4f}" for m in last]
        lines.append(f"| {' | '.join([value, *cells])} |")
    return "\n".join(lines)


def rules_table(field: str, trained: Mapping[str, Sequence[Model]]) -> str:
    """A row a rule: the AUROC of what it chooses, which that is, and how it ranks all models."""
    names = list(trained)
    lines = head(
        ["rule", *names, "mean", "rank correlation", f"{field}, epoch chosen"], len(names) + 4
    )
    rules = next(iter(trained.values()))[0].rules
    for rule in rules:
        picks = [chosen(models, rule) for models in trained.values()]
        ranks = np.mean([agreement(models, rule) for models in trained.values()])
        lines.append(_rule_line(rule, picks, f"{ranks:.2f}"))
    best = [max(models, key=lambda model: model.auroc) for models in trained.values()]
    lines.append(_rule_line("*best by the answers*", best, "1"))
    middle = [float(np.median([model.auroc for model in models])) for models in trained.values()]
    lines.append(f"| *median of all models* | {_with_mean(middle)} | | |")
    return "\n".join(lines)


def _rule_line(title: str, picks: Sequence[Model], ranks: str) -> str:
    which = "; ".join(f"{m.value}, {m.epoch}" for m in picks)
    return f"| {title} | {_with_mean([m.auroc for m in picks])} | {ranks} | {which} |"


def _with_mean(aurocs: Sequence[float]) -> str:
    return " | ".join(f"{one:.4f}" for one in (*aurocs, np.mean(aurocs)))


if __name__ == "__main__":
    main()
