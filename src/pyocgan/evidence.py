"""Several scores of one image, and their sum.

The paper scores by the squared error of pixels alone. The other scores here are computed from the
same networks or from the normal images themselves, each in one short function. Each is standardised
by its logarithm's mean and deviation over held-out normal images, so that no anomaly and no test
image counts; the novelty score is their sum, weighted as `config.score_weights` says. A single
score is returned as it is.
Letters: B batch, K channels, H W pixels, h w cells, n normal images, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import projection, scoring, turns
from .config import Config, Score
from .gradients import gradient_error, gradient_error_maps, gradient_maps, spread
from .networks import Networks

NORMAL_AMONG = 10_000  # normal images that are kept at most
TINY = 1e-12  # keeps the logarithm of a perfect score finite

Normal = Mapping[str, Tensor]  # features of normal images, by space

# Which features of normal images a score needs.
SPACES: dict[Score, str] = {
    "neighbours": "gradients",
    "windows": "gradients",
    "codes": "codes",
    "views": "views",
}


class Evidence(nn.Module):
    """What scores need beside OCGAN's networks.

    Attributes
    ----------
    T : TurnClassifier or None
        Where ``"turns"`` or ``"views"`` is among the scores.
    normal : Module
        A buffer for each of `SPACES` that is needed: features of normal images, (n, …) float16.
    mean, std : Tensor
        (number of scores,) of the logarithms over held-out normal images.
    weights : Tensor
        (number of scores,) in their sum.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor

    def __init__(
        self, config: Config, channels: int, size: tuple[int, int], *, seed: int = 0
    ) -> None:
        super().__init__()
        self.scores = config.scores
        self.T = None
        if config.uses_turns:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.T = turns.TurnClassifier(channels, size, config.turn_width)
        self.normal = nn.Module()
        for space in dict.fromkeys(SPACES[name] for name in self.scores if name in SPACES):
            self.normal.register_buffer(space, torch.empty(0, dtype=torch.float16))
        self.register_buffer("mean", torch.zeros(len(self.scores), dtype=torch.float64))
        self.register_buffer("std", torch.ones(len(self.scores), dtype=torch.float64))
        weights = torch.tensor(
            config.score_weights or [1.0] * len(self.scores), dtype=torch.float64
        )
        self.register_buffer("weights", weights, persistent=False)

    @property
    def normal_spaces(self) -> list[str]:
        """The names of the buffers in `normal`."""
        return [name for name, _ in self.normal.named_buffers()]

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load a state whose number of normal images is not known before."""
        for space in self.normal_spaces:
            kept = tensors.get(f"normal.{space}")
            if kept is not None:
                setattr(self.normal, space, torch.empty_like(kept))
        self.load_state_dict(tensors)


@dataclass(frozen=True)
class _Batch:
    """Images, and each thing that scores look at, computed when first asked for."""

    x: Tensor  # (B, K, H, W) in [-1, 1]
    codes: Tensor  # En(x), (B, d) in (-1, 1)
    x_hat: Tensor  # De(En(x)), as x
    T: turns.TurnClassifier | None
    config: Config

    @cached_property
    def gradients(self) -> Tensor:
        """Oriented gradients, (B, 4·K, h, w), of unit norm."""
        return gradient_maps(self.x, self.config)

    @cached_property
    def seen(self) -> Tensor:
        """What T sees in the image's positions, (V, B, F)."""
        assert self.T is not None
        return turns.seen(self.T, self.x)

    @property
    def views(self) -> Tensor:
        """The same side by side, (B, V·F)."""
        return turns.features(self.seen)


# ---- each score, (B,) ≥ 0 ------------------------------------------------------------------------


def error(batch: _Batch, normal: Normal) -> Tensor:
    """‖x − De(En(x))‖², the paper's score (section 3.3)."""
    return scoring.pixel_error(batch.x, batch.x_hat)


def gradients(batch: _Batch, normal: Normal) -> Tensor:
    """The error of the same reconstruction in oriented gradients."""
    return gradient_error(batch.x, batch.x_hat, batch.config)


def neighbours(batch: _Batch, normal: Normal) -> Tensor:
    """Distance of oriented gradients to the plane of the nearest normal images."""
    return _distance(batch.gradients, normal["gradients"])


def windows(batch: _Batch, normal: Normal) -> Tensor:
    """The same in four overlapping windows, each with neighbours of its own; the mean.

    Parts of an image that are each like some normal image, but of different ones, are less novel
    than one part that is like none.
    """
    pairs = zip(corners(batch.gradients), corners(normal["gradients"]), strict=True)
    return torch.stack([_distance(part, normal_part) for part, normal_part in pairs]).mean(0)


def codes(batch: _Batch, normal: Normal) -> Tensor:
    """Distance of the code En(x) to the plane of the nearest normal codes, in the latent cube."""
    return _distance(batch.codes, normal["codes"])


def surprise(batch: _Batch, normal: Normal) -> Tensor:
    """How little the image's positions look like the class's to T."""
    assert batch.T is not None
    return turns.surprise(batch.T, batch.seen)


def views(batch: _Batch, normal: Normal) -> Tensor:
    """Distance to the plane of the nearest normal images in what T sees in all positions.

    Features of a network trained to tell an image's positions apart, in all of them: Tack et al.,
    "CSI: novelty detection via contrastive learning on distributionally shifted instances",
    NeurIPS 2020, who use cosine similarity.
    """
    return _distance(batch.views, normal["views"])


FUNCTIONS: dict[Score, Callable[[_Batch, Normal], Tensor]] = {
    "error": error,
    "gradients": gradients,
    "neighbours": neighbours,
    "windows": windows,
    "codes": codes,
    "turns": surprise,
    "views": views,
}


# ---- where, (B, H, W) ≥ 0 ------------------------------------------------------------------------


def error_map(batch: _Batch, normal: Normal) -> Tensor:
    """The squared error of each pixel, averaged over channels; its mean is the score."""
    return (batch.x - batch.x_hat).square().mean(1)


def gradients_map(batch: _Batch, normal: Normal) -> Tensor:
    """What surrounds each pixel adds to the error in oriented gradients; sums to the score."""
    return _spread(gradient_error_maps(batch.x, batch.x_hat, batch.config), batch)


def neighbours_map(batch: _Batch, normal: Normal) -> Tensor:
    """What surrounds each pixel adds to the squared distance; sums to the score's square."""
    return _spread(_residual_map(batch.gradients, normal["gradients"]), batch)


def windows_map(batch: _Batch, normal: Normal) -> Tensor:
    """The same by windows, averaged where they overlap."""
    found = torch.zeros_like(batch.gradients[:, 0])
    windows = torch.zeros_like(found)
    pairs = zip(corners(batch.gradients), corners(normal["gradients"]), strict=True)
    places = zip(corners(found[:, None]), corners(windows[:, None]), strict=True)
    for (part, normal_part), (place, count) in zip(pairs, places, strict=True):
        place += _residual_map(part, normal_part)[:, None]
        count += 1
    return _spread(found / windows, batch)


# The score that says best where an image is novel comes first.
MAPS: dict[Score, Callable[[_Batch, Normal], Tensor]] = {
    "windows": windows_map,
    "neighbours": neighbours_map,
    "gradients": gradients_map,
    "error": error_map,
}


def _residual_map(maps: Tensor, normal: Tensor) -> Tensor:
    """Return the squared residual of each cell: (B, h, w) of maps (B, C, h, w)."""
    left = projection.residual(maps.flatten(1), normal.flatten(1))
    return left.view(maps.shape).square().sum(1)


def _spread(cells: Tensor, batch: _Batch) -> Tensor:
    return spread(cells, (batch.x.shape[2], batch.x.shape[3]))


def corners(maps: Tensor) -> list[Tensor]:
    """Return the four windows of maps (B, C, h, w) of ¾ of each side, one in every corner."""
    h, w = (max(1, side * 3 // 4) for side in maps.shape[2:])
    return [maps[:, :, rows, columns] for rows in _ends(h) for columns in _ends(w)]


def _ends(length: int) -> tuple[slice, slice]:
    return slice(length), slice(-length, None)


def _distance(phi: Tensor, normal: Tensor) -> Tensor:
    return projection.distance(phi.flatten(1), normal.flatten(1))


# ---- their sum -----------------------------------------------------------------------------------


@torch.no_grad()
def gather(
    evidence: Evidence,
    nets: Networks,
    train: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
    config: Config,
) -> None:
    """Fill `evidence` from normal images, uint8 (N, H, W, K): those trained on, and others."""
    evidence.eval()
    kept: dict[str, list[Tensor]] = {space: [] for space in evidence.normal_spaces}
    if kept:
        for batch in _batches(evidence, nets, train[:: -(-len(train) // NORMAL_AMONG)], config):
            for space, features in kept.items():
                features.append(getattr(batch, space).half())
    for space, features in kept.items():
        setattr(evidence.normal, space, torch.cat(features))
    if len(evidence.scores) > 1:
        logs = _all_logs(evidence, nets, held_out, config)
        std = logs.std(0, correction=0)
        evidence.mean, evidence.std = logs.mean(0), torch.where(std > 1e-6, std, 1.0)


@torch.no_grad()
def parts(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> NDArray[np.float64]:
    """Return what each score adds to the novelty of uint8 images (N, H, W, K).

    The one score that `config.scores` names, (N, 1); or of several, (N, number of scores), each as
    deviations of its logarithm from the mean of held-out normal images, times its weight.
    """
    logs = _all_logs(evidence, nets, pixels, config)
    if logs.shape[1] == 1:
        found = logs.exp()
    else:
        found = (logs - evidence.mean) / evidence.std * evidence.weights
    result: NDArray[np.float64] = found.cpu().numpy()
    return result


def novelty_scores(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> NDArray[np.float64]:
    """Return the novelty score of each image, (N,) float64: the sum of its `parts`."""
    result: NDArray[np.float64] = parts(evidence, nets, pixels, config).sum(1)
    return result


@torch.no_grad()
def heatmaps(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> NDArray[np.float32]:
    """Return how much each pixel speaks for novelty: (N, H, W) float32 ≥ 0.

    By the first of `MAPS` that is among the scores; else the squared error of pixels.
    """
    evidence.eval()
    normal = dict(evidence.normal.named_buffers())
    draw = next((draw for name, draw in MAPS.items() if name in evidence.scores), error_map)
    maps = [draw(batch, normal).cpu().numpy() for batch in _batches(evidence, nets, pixels, config)]
    return np.concatenate(maps) if maps else np.empty((0, *pixels.shape[1:3]), np.float32)


def _all_logs(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> Tensor:
    """Return the logarithm of every score of every image: (N, number of scores) float64."""
    evidence.eval()
    normal = dict(evidence.normal.named_buffers())
    every = [
        [FUNCTIONS[name](batch, normal).double() for name in evidence.scores]
        for batch in _batches(evidence, nets, pixels, config)
    ]
    logs = [torch.stack(scores, dim=1).clamp(min=TINY).log() for scores in every]
    return torch.cat(logs) if logs else torch.empty(0, len(evidence.scores), dtype=torch.float64)


def _batches(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> Iterator[_Batch]:
    for x, codes, x_hat in scoring.passes(nets, pixels, config):
        yield _Batch(x, codes, x_hat, evidence.T, config)
