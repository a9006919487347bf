"""Which way up? A network T that tells turned images of the class apart.

An image of the class is recognised in each of its four positions; a novel one looks wrong in most
of them. Training on the class's own geometry needs no second class: Golan and El-Yaniv, "Deep
anomaly detection using geometric transformations", NeurIPS 2018; Gidaris et al., ICLR 2018.
Letters: B batch, K channels, H W pixels, S sides (an image, and mirrored), V views, F of what T
sees.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from . import residual
from .config import Config
from .moves import enlarged

LARGEST = 32  # pixels of a side that T looks at
OFFSET = 0.01  # added to a surprise before its logarithm, as T is often quite sure


def turned(x: Tensor) -> Tensor:
    """Return (V, B, K, H, W): images turned by quarters, upright first; by halves where H ≠ W."""
    quarters = range(4) if x.shape[2] == x.shape[3] else (0, 2)
    return torch.stack([torch.rot90(x, k, (2, 3)) for k in quarters])


class TurnClassifier(nn.Module):
    """T: images → logits of their position, (B, K, H, W) in [-1, 1] → (B, V).

    Parameters
    ----------
    channels, size
        K, and (H, W).
    width
        Channels of the first convolution, which has a stride of 2; doubled twice.
    hidden
        Width of a layer between what is seen, (B, 4·width), and the logits; 0 leaves it out.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int, hidden: int = 0) -> None:
        super().__init__()
        self.features = residual.trunk(channels, width)
        positions = 4 if size[0] == size[1] else 2
        self.logits: nn.Module = nn.Linear(hidden or 4 * width, positions)
        # Features before a hidden layer depend less on T's own task: Sohn et al., "Learning and
        # evaluating representations for deep one-class classification", 2021.
        if hidden:
            layers = nn.Linear(4 * width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
            self.logits = nn.Sequential(*layers, self.logits)

    def look(self, x: Tensor) -> Tensor:
        """Return what the convolutions make of images: (B, K, H, W) → (B, 4·width), ≥ 0.

        Large images are averaged down first: which way is up shows in small ones too.
        """
        if max(x.shape[2:]) > LARGEST:
            scale = LARGEST / max(x.shape[2:])
            x = F.interpolate(x, [round(scale * side) for side in x.shape[2:]], mode="area")
        features: Tensor = self.features(x.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.look(x))


def build(
    config: Config, channels: int, size: tuple[int, int], generator: torch.Generator
) -> TurnClassifier:
    """Build T for K = `channels` and (H, W) = `size`, initialised by `generator` as torch does."""
    make = partial(TurnClassifier, channels, size, config.turn_width, config.turn_hidden)
    return residual.build(make, generator)


def middle(x: Tensor, share: float) -> Tensor:
    """Return the middle of images (B, K, H, W), a `share` in (0, 1] of their sides, as large."""
    return x if share == 1 else enlarged(x, share, right=0, down=0)


def seen(T: TurnClassifier, x: Tensor, *, mirror: bool) -> Tensor:
    """Return what T sees in each position of images (B, K, H, W): (S, V, B, F), ≥ 0.

    With `mirror`, where a mirrored image is of the class as well, in those of the mirrored one too.
    """
    sides = [turned(side) for side in ((x, x.flip(3)) if mirror else (x,))]
    return torch.stack([T.look(v.flatten(0, 1)).view(*v.shape[:2], -1) for v in sides])


def l_turns(T: TurnClassifier, h: Tensor) -> Tensor:
    """−log p(position | view), summed over views, from what T saw of one side (V, B, F): (B,), ≥ 0.

    Golan and El-Yaniv, equation 1.
    """
    v, b, _ = h.shape
    position = torch.arange(v, device=h.device).repeat_interleave(b)
    loss = F.cross_entropy(T.logits(h.flatten(0, 1)), position, reduction="none")
    return loss.view(v, b).sum(0)


def surprise(T: TurnClassifier, h: Tensor) -> Tensor:
    """Return how little positions look like the class's, from what T saw, (S, V, B, F): (B,), > 0.

    The mean over sides.
    """
    return _mean_loss(T, h) + OFFSET


def _mean_loss(T: TurnClassifier, h: Tensor) -> Tensor:
    """Return `l_turns` of what T saw, (S, V, B, F), averaged over sides: (B,), ≥ 0."""
    return torch.stack([l_turns(T, side) for side in h]).mean(0)


def side_by_side(h: Tensor) -> Tensor:
    """Return what T saw, (S, V, B, F), as one vector an image: (B, V·F).

    The mean over sides, each position with unit norm, positions side by side.
    """
    return F.normalize(h.mean(0), dim=2).transpose(0, 1).flatten(1)


def certainty(T: TurnClassifier, h: Tensor) -> Tensor:
    """Return how far T tells positions apart, (): 1 knows them, 0 is no better than guessing."""
    views = h.shape[1]
    guessing = views * math.log(views)
    return (1 - _mean_loss(T, h).mean() / guessing).clamp(min=0)
