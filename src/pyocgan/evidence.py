"""The sum of several scores, and what they need to be computed and compared.

Each score of `novelty` is standardised by its logarithm's mean and deviation over the validation
images, so that no anomaly and no test image counts; an image's novelty is their sum, each by
`config.score_scale` and weighted as `config.score_weights` says. A single score is as it is.
Letters: N images, n normal ones, B batch, K channels, H W pixels, S sides, V views, F
of T's features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from . import flaws, scoring, turns
from .config import SEARCHES, TURN_SCORES, Config
from .data.rule import averaged_down
from .images import to_pixels
from .networks import Networks
from .novelty import SCORES, USUAL, Batch, Normal, error_map, patch_distances

NORMAL_AMONG = 10_000  # normal images that are kept at most
PATCHES_AMONG = 5_000  # normal patches that are kept, one of each image at least
CERTAIN = 0.25  # of T: from there on its scores have their whole weight
SMALLEST_DISTANCE = 1e-3  # usual of patches at least: less than a grey level
SMALLEST_STD = 0.01  # of a logarithm: a few alike held-out images must not make a score count more
ROUNDING = 1e-5  # of a score, relative
LEAST_MARGIN = 1e-3  # of sums of deviations, which are near 0
TINY = 1e-12  # keeps the logarithm of a perfect score finite


class Evidence(nn.Module):
    """What scores need beside OCGAN's networks.

    Attributes
    ----------
    T : TurnClassifier or None
        Where ``"turns"`` or ``"views"`` is among the scores.
    P : FlawFinder or None
        Where ``"flaws"`` is.
    normal : Module
        A buffer for each space that a score needs: features of normal images, (n, …) float16;
        and `USUAL`, where patches are compared.
    mean, std : Tensor
        (number of scores,) of the logarithms over validation images.
    weights : Tensor
        (number of scores,) in their sum: `config.score_weights`, smaller for T's scores where T
        cannot tell which way up validation images are, as with washers.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor

    def __init__(
        self, config: Config, channels: int, size: tuple[int, int], *, seed: int = 0
    ) -> None:
        super().__init__()
        self.config, self.scores = config, config.scores
        generator = torch.Generator().manual_seed(seed)
        self.T = turns.build(config, channels, size, generator) if config.uses_turns else None
        self.P = flaws.build(config, channels, generator) if config.uses_flaws else None
        self.normal = nn.Module()
        spaces = (SCORES[name].space for name in self.scores)
        for space in dict.fromkeys(filter(None, spaces)):
            self.normal.register_buffer(space, torch.empty(0, dtype=torch.float16))
        if "patches" in self.scores:
            self.normal.register_buffer(USUAL, torch.empty(0))
        self.register_buffer("mean", torch.zeros(len(self.scores)))
        self.register_buffer("std", torch.ones(len(self.scores)))
        self.register_buffer("weights", _weights(config))

    @property
    def known(self) -> Normal:
        """What stands in `normal`, by name."""
        return dict(self.normal.named_buffers())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load a state whose number of normal images is not known before."""
        for name in self.known:
            kept = tensors.get(f"normal.{name}")
            if kept is not None:
                setattr(self.normal, name, torch.empty_like(kept))
        self.load_state_dict(tensors)


@scoring.exactly
def gather(
    evidence: Evidence,
    nets: Networks,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
) -> None:
    """Fill `evidence` from normal images, uint8 (N, H, W, K): those trained on, and others."""
    _keep_features(evidence, nets, train)
    if "patches" in evidence.scores:
        batches = _batches(evidence, nets, validation)
        found = torch.cat([patch_distances(batch) for batch in batches])
        setattr(evidence.normal, USUAL, found.mean(0).clamp(min=SMALLEST_DISTANCE))
    if len(evidence.scores) > 1:
        _standardise(evidence, nets, validation)


def _keep_features(evidence: Evidence, nets: Networks, train: NDArray[np.uint8]) -> None:
    """Keep normal images, or some from all over them, as features in each space."""
    kept: dict[str, list[Tensor]] = {space: [] for space in evidence.known if space != USUAL}
    draws = torch.Generator().manual_seed(0)
    for batch in _batches(evidence, nets, _evenly(train, NORMAL_AMONG)) if kept else ():
        for space, features in kept.items():
            features.append(_kept(space, getattr(batch, space), len(train), draws))
    for space, features in kept.items():
        setattr(evidence.normal, space, torch.cat(features))


def _standardise(evidence: Evidence, nets: Networks, validation: NDArray[np.uint8]) -> None:
    """Settle mean, deviation and weight of each score by held-out normal images."""
    rows, seen = [], []
    for batch in _batches(evidence, nets, validation):
        rows.append(_logarithms(_scores(evidence, batch)))
        if evidence.T is not None:
            seen.append(batch.seen)
    logs = torch.cat(rows)
    evidence.mean.copy_(logs.mean(0))
    evidence.std.copy_(logs.std(0, correction=0).clamp(min=SMALLEST_STD))
    evidence.weights.copy_(_weights(evidence.config))
    if evidence.T is not None and not set(evidence.scores) <= set(TURN_SCORES):
        trust = (turns.certainty(evidence.T, torch.cat(seen, 2)) / CERTAIN).clamp(max=1)
        for place, name in enumerate(evidence.scores):
            if name in TURN_SCORES:
                evidence.weights[place] *= trust


def _evenly(pixels: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Return `most` of the images at most, from all over them; all where they are no more."""
    if len(pixels) <= most:
        return pixels
    return pixels[np.linspace(0, len(pixels) - 1, most).astype(int)]


def _weights(config: Config) -> Tensor:
    weights = config.score_weights or [1.0] * len(config.scores)
    return torch.tensor(weights)


def _kept(space: str, features: Tensor, images: int, draws: torch.Generator) -> Tensor:
    """Return what is kept of a batch's features: all, but of patches some of each image."""
    if space == "patches":
        every = features.flatten(2)
        count = min(every.shape[2], max(1, PATCHES_AMONG // images))
        chosen = torch.rand(len(every), every.shape[2], generator=draws).topk(count).indices
        rows = torch.arange(len(every))[:, None]
        features = every.movedim(1, 2)[rows, chosen.to(every.device)].flatten(0, 1)
    return features.half()


def surplus(z: Tensor) -> Tensor:
    """Return what deviations z count above the usual: log(1 + log(1 + eᶻ)), > 0."""
    return F.softplus(z).log1p()


def _counted(config: Config, z: Tensor) -> Tensor:
    """Return what deviations count in the sum, by `config.score_scale`: as z, (N, scores).

    Nowhere steeper than z, which `above_rounding` relies on.
    """
    if config.score_scale == "linear":
        return z
    margins = [config.search_margin if name in SEARCHES else 0.0 for name in config.scores]
    return surplus(z - z.new_tensor(margins))


@scoring.exactly
def parts(evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what each score adds to the novelty of uint8 images (N, H, W, K).

    The one score that there is, (N, 1); or of several, (N, number of scores), each as deviations of
    its logarithm from the mean of validation images, by `config.score_scale`, times its
    weight.
    """
    found = _all_scores(evidence, nets, pixels)
    if len(evidence.scores) > 1:
        logs = _logarithms(found)
        deviations = (logs - evidence.mean.to(logs)) / evidence.std.to(logs)
        found = _counted(evidence.config, deviations) * evidence.weights.to(logs)
    return found.cpu().numpy()


def novelty_scores(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the novelty score of each image, (N,) float64: the sum of its `parts`."""
    return parts(evidence, nets, pixels).sum(1)


def above_rounding(evidence: Evidence, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise calibration scores by a little more than rounding can change an image's score.

    Rounding depends on how many images are scored at once: without this a copy of a calibration
    image could be novel alone and normal among others. P-values can only rise by it. The presets'
    scores stay within it; `codes` or `completion` alone, of images nearly all alike, may not.
    """
    if len(evidence.scores) == 1:
        return scores * (1 + ROUNDING)
    # A score's logarithm counts weight / std times in the sum, at most (`_counted`).
    times = float((evidence.weights / evidence.std).double().sum())
    return scores + max(LEAST_MARGIN, ROUNDING * times)


@scoring.exactly
def heatmaps(evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much each pixel speaks for novelty: (N, H, W) float32 ≥ 0.

    By the first of `SCORES` that is among them and says where; else the squared error of pixels.
    """
    maps_of = (kind.map for name, kind in SCORES.items() if name in evidence.scores)
    draw = next(filter(None, maps_of), error_map)
    maps = [draw(batch).cpu().numpy() for batch in _batches(evidence, nets, pixels)]
    return np.concatenate(maps)


@scoring.exactly
def reconstructions(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return De(En(x)) as images, uint8 (N, h, w, K), as large as the networks see them."""
    return np.concatenate([to_pixels(batch.x_hat) for batch in _batches(evidence, nets, pixels)])


def _all_scores(evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]) -> Tensor:
    """Return every score of every image: (N, number of scores) float64."""
    rows = [_scores(evidence, batch) for batch in _batches(evidence, nets, pixels)]
    return torch.cat(rows) if rows else torch.empty(0, len(evidence.scores), dtype=torch.float64)


def _scores(evidence: Evidence, batch: Batch) -> Tensor:
    """Return every score of every image of a batch: (B, number of scores) float64."""
    found = [SCORES[name].score(batch) for name in evidence.scores]
    return torch.stack([scoring.to_double(score) for score in found], dim=1)


def _logarithms(scores: Tensor) -> Tensor:
    return scores.clamp(min=TINY).log()


def _batches(evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8]) -> Iterator[Batch]:
    evidence.eval()
    nets.eval()
    for batch in scoring.batches(pixels, scoring.device_of(nets)):
        image = scoring.on_device(batch, nets)
        small = averaged_down(batch, evidence.config.network_side)
        x = image if small is batch else scoring.on_device(small, nets)
        yield Batch(image, x, nets, evidence.T, evidence.P, evidence.known, evidence.config)
