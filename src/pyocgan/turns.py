"""Which way up? A network T that tells turned and mirrored images of the class apart.

An image of the class is recognised in each of its eight positions; a novel one looks wrong in most
of them. Training on the class's own geometry needs no second class: Golan and El-Yaniv, "Deep
anomaly detection using geometric transformations", NeurIPS 2018; Gidaris et al., ICLR 2018.
Letters: B batch, K channels, H W pixels, V views.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

# Each image is first moved a little, as a scanner or a camera would: radians, shares of the size.
ROTATION, SCALE, SHIFT = 0.1, 0.07, 0.05
SMALLEST = 0.01  # added to a surprise before its logarithm, as T is often quite sure


def views(x: Tensor) -> Tensor:
    """Return (V, B, K, H, W): the eight turned and mirrored images, four where H ≠ W."""
    turns = range(4) if x.shape[2] == x.shape[3] else (0, 2)
    return torch.stack([torch.rot90(y, k, (2, 3)) for y in (x, x.flip(3)) for k in turns])


class TurnClassifier(nn.Module):
    """T: images → logits of their position, (B, K, H, W) in [-1, 1] → (B, V)."""

    def __init__(self, channels: int, size: tuple[int, int], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, (h, w) = channels, size
        for after, stride in ((1, 1), (2, 2), (2, 1), (4, 2), (4, 2)):
            layers += [
                nn.Conv2d(before, after * width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after * width),
                nn.LeakyReLU(0.1),
            ]
            before, h, w = after * width, -(-h // stride), -(-w // stride)
        positions = 8 if size[0] == size[1] else 4
        self.features = nn.Sequential(*layers)
        self.logits = nn.Sequential(
            nn.Linear(before * h * w, 64), nn.ReLU(), nn.Linear(64, positions)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.features(x).flatten(1))
        return logits


def l_turns(T: nn.Module, x: Tensor) -> Tensor:
    """−log p(position | view), summed over views: (B,), ≥ 0. Golan and El-Yaniv, equation 1."""
    seen = views(x)
    position = torch.arange(len(seen), device=x.device).repeat_interleave(len(x))
    surprise = F.cross_entropy(T(seen.flatten(0, 1)), position, reduction="none")
    return surprise.view(len(seen), len(x)).sum(0)


def surprise(T: nn.Module, x: Tensor) -> Tensor:
    """Return how little the positions of an image look like the class's: (B,), > 0."""
    return l_turns(T, x) + SMALLEST


def update(
    T: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, generator: torch.Generator
) -> Tensor:
    """Step T on a batch of images, (B, K, H, W), each moved a little; return its loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = l_turns(T, moved(x, generator)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image rotated, scaled, sheared and shifted a little, edges repeated."""
    draws = torch.rand(6, len(x), device=x.device, generator=generator) * 2 - 1
    angle, (a, b), shear = ROTATION * draws[0], 1 + SCALE * draws[1:3], SCALE * draws[3]
    right, down = SHIFT * draws[4:]
    across = torch.stack([a * angle.cos() + shear, -b * angle.sin(), right], dim=1)
    along = torch.stack([a * angle.sin(), b * angle.cos(), down], dim=1)
    grid = F.affine_grid(torch.stack([across, along], dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def learning_rate(done: float, peak: float) -> float:
    """Rise to `peak` over the first fifth of training, then fall along a cosine to zero."""
    if done < 0.2:
        return peak * (0.1 + 4.5 * done)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8))
