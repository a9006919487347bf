"""Networks held still, in whole or in part, while others learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen_statistics(*networks: nn.Module) -> Iterator[None]:
    """Normalise by the batch as in training, but leave the running statistics as they are.

    Scores are taken with De's running statistics. They must be those of reconstructions, so
    decoded uniform samples, and mining, pass through here.
    """
    norms = [
        module
        for network in networks
        for module in network.modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def frozen_weights(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through the networks to their input, but to no weight."""
    weights = [weight for network in networks for weight in network.parameters()]
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight, requires_grad in zip(weights, before, strict=True):
            weight.requires_grad_(requires_grad)
