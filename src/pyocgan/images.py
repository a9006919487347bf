"""The one place that knows the value range of images: uint8 outside, [-1, 1] inside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_range(pixels: Tensor) -> Tensor:
    """Return uint8 (N, H, W, K) as x in [-1, 1], float32 (N, K, H, W)."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0


def to_pixels(x: Tensor) -> NDArray[np.uint8]:
    """Return x in [-1, 1], (N, K, H, W), as uint8 (N, H, W, K), rounded."""
    pixels = ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
