"""Images moved: mirrored, parts of them enlarged, bent, as T and P see them.

Letters: B batch, K channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


def half_mirrored(x: Tensor, draws: list[float]) -> Tensor:
    """Mirror those images (B, K, H, W) whose draw, in [0, 1), is below one half."""
    mirrored = torch.tensor(draws, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def enlarged(
    x: Tensor, share: Tensor | float, right: Tensor | float, down: Tensor | float
) -> Tensor:
    """Return a part of each image (B, K, H, W), a `share` of its sides, made as large as it.

    Its middle lies `right` and `down` of the image's, in halves of a side; numbers, or (B,).
    """
    rows = torch.zeros(len(x), 2, 3, device=x.device)
    rows[:, 0, 0] = rows[:, 1, 1] = share
    rows[:, 0, 2], rows[:, 1, 2] = right, down
    return sampled(x, rows)


def sampled(x: Tensor, rows: Tensor) -> Tensor:
    """Return images (B, K, H, W) under affine maps (B, 2, 3), interpolated, reflected outside.

    A map leads from places in the result to places in the image, both in [-1, 1].
    """
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 has no such fine places
        grid = F.affine_grid(rows, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
