"""Which way up? A network T that tells turned images of the class apart.

An image of the class is recognised in each of its four positions; a novel one looks wrong in most
of them. Training on the class's own geometry needs no second class: Golan and El-Yaniv, "Deep
anomaly detection using geometric transformations", NeurIPS 2018; Gidaris et al., ICLR 2018.
Letters: B batch, K channels, H W pixels, S sides (an image, and mirrored), V views, F of what T
sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from .blank import blank
from .config import Config

SHIFT = 0.1  # share of a side by which an image is moved at most, in training
WHOLE = 1.05  # of its sides, a little more than all: what is scored lies within what T learned
LARGEST = 32  # pixels of a side that T looks at
SMALLEST = 0.01  # added to a surprise before its logarithm, as T is often quite sure


def turned(x: Tensor) -> Tensor:
    """Return (V, B, K, H, W): images turned by quarters, upright first; by halves where H ≠ W."""
    quarters = range(4) if x.shape[2] == x.shape[3] else (0, 2)
    return torch.stack([torch.rot90(x, k, (2, 3)) for k in quarters])


class Residual(nn.Module):
    """Two 3×3 convolutions and a way around them (He et al., "Identity mappings", ECCV 2016)."""

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
        around: Tensor = x if self.around is None else self.around(h)
        change: Tensor = self.conv_2(self.norm_2(self.conv_1(h)).relu())
        return around + change


class TurnClassifier(nn.Module):
    """T: images → logits of their position, (B, K, H, W) in [-1, 1] → (B, V)."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, hidden: int = 0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1, bias=False),
            Residual(width, width, 1),
            Residual(width, 2 * width, 2),
            Residual(2 * width, 2 * width, 1),
            Residual(2 * width, 4 * width, 2),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
        )
        positions = 4 if size[0] == size[1] else 2
        self.logits: nn.Module = nn.Linear(hidden or 4 * width, positions)
        # What is seen before a hidden layer is less bent to the question that T is asked: Sohn et
        # al., "Learning and evaluating representations for deep one-class classification", 2021.
        if hidden:
            layers = nn.Linear(4 * width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
            self.logits = nn.Sequential(*layers, self.logits)

    def seen(self, x: Tensor) -> Tensor:
        """Return what the convolutions make of an image: (B, 4·width), ≥ 0.

        Large images are averaged down first: which way is up shows in small ones too.
        """
        if max(x.shape[2:]) > LARGEST:
            scale = LARGEST / max(x.shape[2:])
            x = F.interpolate(x, [round(scale * side) for side in x.shape[2:]], mode="area")
        features: Tensor = self.features(x.contiguous(memory_format=torch.channels_last))
        return features.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.seen(x))
        return logits


def build(
    config: Config, channels: int, size: tuple[int, int], generator: torch.Generator
) -> TurnClassifier:
    """Build T for K = `channels` and (H, W) = `size`, initialised by `generator` as torch does."""
    T = blank(lambda: TurnClassifier(channels, size, config.turn_width, config.turn_hidden))
    for module in T.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            bound = module.in_features**-0.5
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_parameters()
    return T


def l_turns(T: TurnClassifier, x: Tensor) -> Tensor:
    """−log p(position | view), summed over views: (B,), ≥ 0. Golan and El-Yaniv, equation 1."""
    return _loss(T, seen(T, x, mirror=False)[0])


def seen(T: TurnClassifier, x: Tensor, *, mirror: bool) -> Tensor:
    """Return what T sees in each position of images (B, K, H, W): (S, V, B, F), ≥ 0.

    With `mirror`, where a mirrored image is of the class as well, in those of the mirrored one too.
    """
    sides = [turned(side) for side in ((x, x.flip(3)) if mirror else (x,))]
    return torch.stack([T.seen(v.flatten(0, 1)).view(*v.shape[:2], -1) for v in sides])


def surprise(T: TurnClassifier, h: Tensor) -> Tensor:
    """Return how little positions look like the class's, from what T saw, (S, V, B, F): (B,), > 0.

    The mean over sides.
    """
    return torch.stack([_loss(T, side) for side in h]).mean(0) + SMALLEST


def features(h: Tensor) -> Tensor:
    """Return what T saw, (S, V, B, F), as one vector an image: (B, V·F).

    The mean over sides, each position with unit norm, positions side by side.
    """
    return F.normalize(h.mean(0), dim=2).transpose(0, 1).flatten(1)


def certainty(T: TurnClassifier, h: Tensor) -> Tensor:
    """Return how far T tells positions apart, (): 1 knows them, 0 is no better than guessing."""
    views = h.shape[1]
    guessing = views * math.log(views)
    return (1 - (surprise(T, h) - SMALLEST).mean() / guessing).clamp(min=0)


def _loss(T: TurnClassifier, h: Tensor) -> Tensor:
    v, b, _ = h.shape
    position = torch.arange(v, device=h.device).repeat_interleave(b)
    loss = F.cross_entropy(T.logits(h.flatten(0, 1)), position, reduction="none")
    return loss.view(v, b).sum(0)


class Muon(torch.optim.Muon):
    """Jordan et al.'s Muon (2024), for convolutions too, whose filters are the rows of a matrix.

    A step moves every direction of the matrix alike, by the momentum's nearest orthogonal matrix;
    torch's own takes matrices only.
    """

    def __init__(self, weights: Sequence[nn.Parameter], peak: float) -> None:
        self.weights = tuple(weights)
        rows = [nn.Parameter(w.detach().flatten(1)) for w in weights]  # the same memory
        super().__init__(rows, lr=peak, weight_decay=0.0, momentum=0.9, ns_steps=4)

    def step(self, closure: Any = None) -> Any:
        """Move the weights by the gradients that they have."""
        for rows, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            assert weight.grad is not None
            rows.grad = weight.grad.flatten(1)
        return super().step(closure)  # type: ignore[no-untyped-call]


def build_optimizers(T: TurnClassifier, config: Config) -> dict[str, torch.optim.Optimizer]:
    """Return what trains T, by name: Adam, or Muon where it is a matrix but not the last one."""
    *others, last, bias = T.parameters()
    with_muon = config.turn_muon_rate > 0
    matrices = [weight for weight in others if weight.ndim > 1] if with_muon else []
    rest = [weight for weight in others if weight.ndim <= 1 or not with_muon]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "turns": torch.optim.AdamW([*rest, last, bias], lr=config.turn_learning_rate)
    }
    if with_muon:
        optimizers["turns_muon"] = Muon(matrices, config.turn_muon_rate)
    return optimizers


def update(
    T: TurnClassifier,
    optimizers: Iterable[torch.optim.Optimizer],
    x: Tensor,
    generator: torch.Generator,
    config: Config,
) -> Tensor:
    """Step T on images (B, K, H, W), each cropped, moved and mirrored as the settings say.

    Return its loss.
    """
    T.zero_grad(set_to_none=True)
    some = cropped(x, generator, config.turn_crop) if config.turn_crop < 1 else x
    loss = l_turns(T, moved(some, generator, mirror=config.symmetry == "mirror")).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()
    torch.clear_autocast_cache()  # in bfloat16 the next images would meet the weights as they were
    return loss.detach()


def cropped(x: Tensor, generator: torch.Generator, smallest: float) -> Tensor:
    """Return a part of each image, of `smallest` to `WHOLE` of its sides, anywhere, as large as it.

    What lies outside is reflected.
    """
    part, down, right = torch.rand(3, len(x), device=x.device, generator=generator)
    part = smallest + (WHOLE - smallest) * part
    room = (1 - part).clamp(min=0)
    rows = torch.zeros(len(x), 2, 3, device=x.device)
    rows[:, 0, 0] = rows[:, 1, 1] = part
    rows[:, 0, 2], rows[:, 1, 2] = room * (2 * right - 1), room * (2 * down - 1)
    grid = F.affine_grid(rows, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def moved(x: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Return each image shifted by up to `SHIFT` of its sides, with `mirror` half of them mirrored.

    Whole pixels, so that images stay as sharp as they are when scored; reflected at the edges.
    """
    h, w = x.shape[2:]
    up, left = max(1, round(SHIFT * h)), max(1, round(SHIFT * w))
    padded = F.pad(x, (left, left, up, up), mode="reflect")
    draws = torch.rand(3, len(x), device=x.device, generator=generator).tolist()
    rows = (int(draw * (2 * up + 1)) for draw in draws[0])
    columns = (int(draw * (2 * left + 1)) for draw in draws[1])
    shifted = torch.stack(
        [y[:, a : a + h, b : b + w] for y, a, b in zip(padded, rows, columns, strict=True)]
    )
    if not mirror:
        return shifted
    mirrored = torch.tensor(draws[2], device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted)


def learning_rate(done: float, peak: float) -> float:
    """Rise to `peak` over the first fifth of training, then fall along a cosine to zero."""
    if done < 0.2:
        return peak * (0.1 + 4.5 * done)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8))
