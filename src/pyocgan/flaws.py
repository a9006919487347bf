"""What does not belong there? A network P that finds flaws, having learned from made-up ones.

P sees images of the class in which small regions show something else (`flaw_training`) and says of
every cell of 8×8 pixels whether it is part of one: mined negatives, but in a piece of an image.
Li et al., "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021,
tell pasted images from whole ones; Zavrtanik et al., "DRAEM", ICCV 2021, find the pixels.
Letters: B batch, K channels, H W pixels, h w cells.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from . import residual
from .config import Config

CELL = residual.STRIDE  # pixels of a side of what P judges as one
SUREST = 3  # cells that make an image's score
RARE = -3.0  # log-odds of a flaw before anything is learned (Lin et al., ICCV 2017)


class FlawFinder(nn.Module):
    """P: images → logits of a flaw in each cell, (B, K, H, W) in [-1, 1] → (B, ⌈H/8⌉, ⌈W/8⌉).

    Parameters
    ----------
    channels
        K.
    width
        Channels of the first convolution, which has a stride of 2; doubled twice.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = residual.trunk(channels, width)
        self.logits = nn.Conv2d(4 * width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(in_whole_cells(x).contiguous(memory_format=torch.channels_last))
        return self.logits(features)[:, 0]


def in_whole_cells(x: Tensor) -> Tensor:
    """Return images (B, K, H, W) enlarged, where it takes that, to sides of whole cells.

    Otherwise P would see an image end inside a cell there, and nowhere else.
    """
    size = [math.ceil(side / CELL) * CELL for side in x.shape[2:]]
    return x if size == [*x.shape[2:]] else F.interpolate(x, size, mode="bilinear")


def build(config: Config, channels: int, generator: torch.Generator) -> FlawFinder:
    """Build P for K = `channels`, initialised by `generator` as torch does, but for its bias."""
    P = residual.build(partial(FlawFinder, channels, config.flaw_width), generator)
    assert P.logits.bias is not None
    nn.init.constant_(P.logits.bias, RARE)
    return P


def l_flaws(P: FlawFinder, x: Tensor, flawed: Tensor) -> Tensor:
    """Cross-entropy of cells of images (B, K, H, W), `flawed` or not, (B, h, w) in {0, 1}: ()."""
    return F.binary_cross_entropy_with_logits(P(x), flawed)


def surest(logits: Tensor) -> Tensor:
    """Return how sure P is that an image is flawed, from logits (B, h, w): (B,), > 0.

    −log(1 − p) of the three surest cells, averaged: the evidence against there being no flaw.
    """
    found = F.softplus(logits.flatten(1))
    return found.topk(min(SUREST, found.shape[1])).values.mean(1)


def spread(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate −log(1 − p) of cells, from logits (B, h, w), to pixels: (B, H, W), > 0."""
    return F.interpolate(F.softplus(logits)[:, None], size, mode="bilinear")[:, 0]
