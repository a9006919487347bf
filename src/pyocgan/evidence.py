"""Several scores of one image, and their sum.

The paper scores by the squared error of pixels alone. The other scores here are computed from the
same networks or from the normal images themselves. Each is standardised by its logarithm's mean and
deviation over held-out normal images, so that no anomaly and no test image weighs them; the
novelty score is the sum. A single score is returned as it is.

Where the normal images nearest to an image are known, each score is also compared with theirs: an
error that is usual in one region of the class is large in another (the local scaling of Breunig et
al., "LOF: identifying density-based local outliers", SIGMOD 2000, to a power, `config.locality`).
Letters: B batch, K channels, H W pixels, n normal images, D features.
"""

from __future__ import annotations

import math

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
LEAST = math.log(10)  # below the median: what copies of an image, at distance 0, count as
TINY = 1e-12  # keeps the logarithm of a perfect score finite


class Evidence(nn.Module):
    """What scores need beside OCGAN's networks.

    Attributes
    ----------
    T : TurnClassifier or None
        Where ``"turns"`` is among the scores.
    neighbours : Tensor
        (n, D) float16, features of normal images, where ``"neighbours"`` is among the scores.
    local : Tensor
        (n, number of scores), the logarithms of those images' own scores; empty without locality.
    mean, std : Tensor
        (number of scores,) of the logarithms over held-out normal images.
    """

    neighbours: Tensor
    local: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, config: Config, channels: int, size: tuple[int, int], *, seed: int = 0
    ) -> None:
        super().__init__()
        self.scores, self.locality = config.scores, config.locality
        self.T = None
        if config.uses_turns:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.T = turns.TurnClassifier(channels, size, config.turn_width)
        self.register_buffer("neighbours", torch.empty(0, 0, dtype=torch.float16))
        self.register_buffer("local", torch.empty(0, len(self.scores), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(len(self.scores), dtype=torch.float64))
        self.register_buffer("std", torch.ones(len(self.scores), dtype=torch.float64))

    @property
    def compares_locally(self) -> bool:
        """Whether scores are compared with those of the nearest normal images."""
        return self.locality > 0 and "neighbours" in self.scores

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load a state whose number of neighbours is not known before."""
        for name in ("neighbours", "local"):
            if name in tensors:
                setattr(self, name, torch.empty_like(tensors[name]))
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
        evidence.neighbours = torch.cat([oriented_gradients(x, config) for x in batches]).half()
        if evidence.compares_locally:
            local = _all_logs(evidence, nets, kept, config, themselves=True)
            evidence.local = local.maximum(local.median(0).values - LEAST)
    if len(evidence.scores) > 1:
        logs = _all_logs(evidence, nets, held_out, config)
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
    logs = _all_logs(evidence, nets, pixels, config)
    if logs.shape[1] == 1:
        scores = logs[:, 0].exp()
    else:
        scores = ((logs - evidence.mean) / evidence.std).sum(1)
    result: NDArray[np.float64] = scores.cpu().numpy()
    return result


def _all_logs(
    evidence: Evidence,
    nets: Networks,
    pixels: NDArray[np.uint8],
    config: Config,
    *,
    themselves: bool = False,
) -> Tensor:
    """Return the logarithm of every score of every image: (N, number of scores) float64.

    With `themselves`, the images are the neighbours; none is then among its own.
    """
    evidence.eval()
    pairs = scoring.reconstructions(nets, pixels, config)
    batches = [_logs(evidence, x, x_hat, config, themselves) for x, x_hat in pairs]
    empty = torch.empty(0, len(evidence.scores), dtype=torch.float64)
    return torch.cat(batches) if batches else empty


def _logs(evidence: Evidence, x: Tensor, x_hat: Tensor, config: Config, themselves: bool) -> Tensor:
    """Return the logarithms of a batch's scores: (B, number of scores) float64."""
    scores = {}
    if "error" in evidence.scores:
        scores["error"] = scoring.pixel_error(x, x_hat)
    if "gradients" in evidence.scores:
        scores["gradients"] = gradient_error(x, x_hat, config).double()
    if "neighbours" in evidence.scores:
        distances, rows = nearest(
            oriented_gradients(x, config), evidence.neighbours, without_first=themselves
        )
        scores["neighbours"] = distances.double().mean(1)
    if evidence.T is not None:
        scores["turns"] = turns.surprise(evidence.T, x).double()
    logs = torch.stack([scores[name] for name in evidence.scores], dim=1).clamp(min=TINY).log()
    if evidence.compares_locally and not themselves:
        logs -= evidence.locality * evidence.local[rows].mean(1)
    return logs


def nearest(
    phi: Tensor, neighbours: Tensor, *, without_first: bool = False
) -> tuple[Tensor, Tensor]:
    """Return distances to the five nearest neighbours, and which they are: (B, 5) twice.

    `phi` are features of images (B, D), `neighbours` those of normal ones (n, D). `without_first`
    leaves the nearest one out, which is the image itself where it is among the neighbours.
    """
    among = min(NEIGHBOURS + without_first, len(neighbours))
    rows = torch.cdist(phi, neighbours.to(phi.dtype)).topk(among, largest=False).indices
    rows = rows[:, without_first:] if among > 1 else rows
    # Again, exactly: cdist's matrix product loses small distances to rounding.
    return (phi[:, None] - neighbours[rows]).norm(dim=2), rows
