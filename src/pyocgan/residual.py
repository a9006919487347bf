"""What T and P share: small residual networks, and how their learning rates go.

Letters: B batch, K channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .blank import blank

Network = TypeVar("Network", bound=nn.Module)

STRIDE = 8  # pixels from one place of what `trunk` makes to the next


class Residual(nn.Module):
    """Two 3×3 convolutions and a way around them (He et al., "Identity mappings", ECCV 2016).

    (B, before, H, W) → (B, after, H/stride, W/stride).
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv_1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv_2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.around = None
        if before != after:
            self.around = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm_1(x).relu()
        around = x if self.around is None else self.around(h)
        return around + self.conv_2(self.norm_2(self.conv_1(h)).relu())


def trunk(channels: int, width: int) -> nn.Sequential:
    """Return nine convolutions and the ways around some: images (B, K, H, W) → (B, 4·width, h, w).

    Of outputs, ≥ 0, there is one for `STRIDE` pixels of a side.
    """
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1, bias=False),
        Residual(width, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 2 * width, 1),
        Residual(2 * width, 4 * width, 2),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
    )


def build(make: Callable[[], Network], generator: torch.Generator) -> Network:
    """Return the network that `make` builds, initialised by `generator` as torch does."""
    network = blank(make)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_parameters()
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    return network


def set_learning_rate(optimizer: Optimizer, done: float) -> None:
    """Let an optimiser's rate follow training, of which the share `done` is over, in [0, 1].

    The rate that it was built with is the highest.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(done, optimizer.defaults["lr"])


def learning_rate(done: float, peak: float) -> float:
    """Rise to `peak` over the first fifth of training, then fall along a cosine to zero.

    `done` is the share of training that is over, in [0, 1].
    """
    if done < 0.2:
        return peak * (0.1 + 4.5 * done)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8))
