"""Several scores of one image, and their sum.

The paper scores by the squared error of pixels alone. The other scores here are computed from the
same networks or from the normal images themselves. Each is standardised by its logarithm's mean and
deviation over held-out normal images, so that no anomaly and no test image weighs them; the
novelty score is the sum. A single score is returned as it is.
Letters: B batch, K channels, H W pixels, n normal images, D features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import scoring, turns
from .config import Config
from .gradients import gradient_error, oriented_gradients
from .networks import Networks

NEIGHBOURS = 5
NEIGHBOURS_AMONG = 10_000  # normal images that are kept at most
TINY = 1e-12  # keeps the logarithm of a perfect score finite


class Evidence(nn.Module):
    """What scores need beside OCGAN's networks.

    Attributes
    ----------
    T : TurnClassifier or None
        Where ``"turns"`` is among the scores.
    neighbours : Tensor
        (n, D) float16, features of normal images, where ``"neighbours"`` is among the scores.
    mean, std : Tensor
        (number of scores,) of the logarithms over held-out normal images.
    """

    neighbours: Tensor
    mean: Tensor
    std: Tensor

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
        self.register_buffer("neighbours", torch.empty(0, 0, dtype=torch.float16))
        self.register_buffer("mean", torch.zeros(len(self.scores), dtype=torch.float64))
        self.register_buffer("std", torch.ones(len(self.scores), dtype=torch.float64))

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load a state whose number of neighbours is not known before."""
        if "neighbours" in tensors:
            self.neighbours = torch.empty_like(tensors["neighbours"])
        self.load_state_dict(tensors)


@torch.no_grad()
def gather(
    evidence: Evidence,
    nets: Networks,
    train: NDArray[np.uint8],
    held_out: NDArray[np.uint8],
    config: Config,
) -> None:
    """Fill `evidence` from normal images, uint8 (N, H, W, K): those trained on, and others."""
    if "neighbours" in evidence.scores:
        kept = train[:: -(-len(train) // NEIGHBOURS_AMONG)]
        batches = scoring.batches(kept, next(nets.parameters()).device)
        evidence.neighbours = torch.cat([oriented_gradients(x) for x in batches]).half()
    if len(evidence.scores) > 1:
        logs = _all_scores(evidence, nets, held_out, config).clamp(min=TINY).log()
        std = logs.std(0, correction=0)
        evidence.mean, evidence.std = logs.mean(0), torch.where(std > 1e-6, std, 1.0)


@torch.no_grad()
def novelty_scores(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> NDArray[np.float64]:
    """Return the novelty score of each image, (N,) float64, for uint8 images (N, H, W, K).

    The one score that `config.scores` names, or the sum of several, each as deviations of its
    logarithm from the mean of held-out normal images.
    """
    scores = _all_scores(evidence, nets, pixels, config)
    if scores.shape[1] > 1:
        scores = ((scores.clamp(min=TINY).log() - evidence.mean) / evidence.std).sum(
            1, keepdim=True
        )
    result: NDArray[np.float64] = scores[:, 0].cpu().numpy()
    return result


def _all_scores(
    evidence: Evidence, nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> Tensor:
    """Return every score of every image: (N, number of scores) float64, ≥ 0."""
    evidence.eval()
    batches = [
        torch.stack([_score(name, evidence, x, x_hat) for name in evidence.scores], dim=1)
        for x, x_hat in scoring.reconstructions(nets, pixels, config)
    ]
    empty = torch.empty(0, len(evidence.scores), dtype=torch.float64)
    return torch.cat(batches) if batches else empty


def _score(name: str, evidence: Evidence, x: Tensor, x_hat: Tensor) -> Tensor:
    """Return one score of a batch: (B,) float64."""
    if name == "error":
        return scoring.pixel_error(x, x_hat)
    if name == "gradients":
        return gradient_error(x, x_hat).double()
    if name == "neighbours":
        return neighbour_distance(x, evidence.neighbours)
    assert evidence.T is not None  # "turns"
    return turns.surprise(evidence.T, x).double()


def neighbour_distance(x: Tensor, neighbours: Tensor) -> Tensor:
    """Mean distance to the five nearest normal images in oriented gradients (baseline)."""
    phi, among = oriented_gradients(x), min(NEIGHBOURS, len(neighbours))
    rows = torch.cdist(phi, neighbours.to(x.dtype)).topk(among, largest=False).indices
    # Again, exactly: cdist's matrix product loses small distances to rounding.
    distances: Tensor = (phi[:, None] - neighbours[rows]).norm(dim=2)
    return distances.double().mean(1)
