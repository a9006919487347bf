"""Networks whose numbers are still to come: to be drawn by a generator of their own, or loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def blank(make: Callable[[], Network]) -> Network:
    """Return what `make` builds, on the CPU, with whatever numbers lie in memory there.

    torch draws a network's first numbers from one generator that all threads share, with the
    user's own program; nothing is drawn here.
    """
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu")
