"""Images as oriented, locally pooled gradients, in which images of one class agree.

A squared error of pixels counts ink and punishes a shift by one pixel; half-rectified differences,
blurred and pooled, do neither. For images of up to 32 pixels the features are those of the baseline
`baselines.oriented_gradients`, but differentiable; for larger ones they stay as small.
Letters: B batch (and any dimensions before it), K channels, H W pixels, h w cells.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

CELLS = 16  # a side is pooled to at most so many cells, of two pixels or more


def oriented_gradients(x: Tensor) -> Tensor:
    """Return half-rectified differences right, left, down, up, pooled, of unit norm: (B, 4·K·h·w).

    `x` is (B, K, H, W) in any linear range: an offset or a factor changes nothing.
    """
    across, down = torch.zeros_like(x), torch.zeros_like(x)
    across[..., :-1] = x[..., 1:] - x[..., :-1]
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    maps = torch.cat([across.relu(), (-across).relu(), down.relu(), (-down).relu()], dim=-3)
    rows, columns = (
        torch.from_numpy(_pooling(side)).to(x.device, x.dtype) for side in x.shape[-2:]
    )
    return F.normalize((rows @ maps @ columns.T).flatten(-3), dim=-1)


def gradient_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """½‖φ(x) − φ(x̂)‖² for oriented gradients φ of unit norm, 1 − their cosine: (B,) in [0, 1]."""
    return 0.5 * (oriented_gradients(x) - oriented_gradients(x_hat)).square().sum(-1)


@lru_cache
def _pooling(side: int) -> NDArray[np.float64]:
    """The matrix that blurs `side` pixels and averages them in cells: (cells, side)."""
    cell = max(2, -(-side // CELLS))
    blur = gaussian_filter1d(np.eye(side), sigma=cell / 2, axis=0)
    cells = side // cell
    result: NDArray[np.float64] = blur[: cells * cell].reshape(cells, cell, side).mean(axis=1)
    return result
