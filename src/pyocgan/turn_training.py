"""How T of `turns` is trained: on images moved, mirrored and cropped, by AdamW or by Muon.

Letters as in `turns`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.optim import Optimizer

from .config import Config
from .moves import enlarged, half_mirrored
from .residual import set_learning_rate
from .turns import TurnClassifier, l_turns, seen

SHIFT = 0.1  # share of a side by which an image is moved at most
WHOLE = 1.05  # of its sides, a little more than all: what is scored lies within what T learned
WEIGHT_DECAY = 0.01  # of AdamW, as PyTorch has it
MOMENTUM = 0.9  # of Muon
ROUNDS = 4  # of Muon's Newton–Schulz iteration: roughly orthogonal is enough


def build_optimizers(T: TurnClassifier, config: Config) -> dict[str, Optimizer]:
    """Return what trains T, by name: AdamW, or Muon where it is a matrix but not the last one."""
    adam = partial(torch.optim.AdamW, lr=config.turn_learning_rate, weight_decay=WEIGHT_DECAY)
    if config.turn_muon_rate == 0:
        return {"turns": adam(T.parameters())}
    *others, last, bias = T.parameters()
    matrices = [weight for weight in others if weight.ndim > 1]
    rest = [weight for weight in others if weight.ndim <= 1]
    return {"turns": adam([*rest, last, bias]), "turns_muon": Muon(matrices, config.turn_muon_rate)}


def train(
    T: TurnClassifier,
    optimizers: Mapping[str, Optimizer],
    batches: Iterable[Tensor],
    done: float,
    generator: torch.Generator,
    config: Config,
) -> Tensor:
    """Step T on images, some batches (B, K, H, W) in [-1, 1], `config.turn_images` at a time.

    Parameters
    ----------
    optimizers
        Those of `build_optimizers`.
    done
        The share of training that is over, in [0, 1]; the learning rates follow it.
    generator
        On the images' device; draws how each is changed.

    Returns
    -------
    Tensor
        The mean loss of the steps, (). None is taken on a single image: batch normalisation
        needs two.
    """
    for optimizer in optimizers.values():
        set_learning_rate(optimizer, done)
    T.train()
    parts = (part for batch in batches for part in torch.split(batch, config.turn_images))
    losses = [
        update(T, optimizers.values(), part, generator, config) for part in parts if len(part) > 1
    ]
    return torch.stack(losses).mean()


def update(
    T: TurnClassifier,
    optimizers: Collection[Optimizer],
    x: Tensor,
    generator: torch.Generator,
    config: Config,
) -> Tensor:
    """Step T once on images (B ≥ 2, K, H, W), each changed as the settings say; return its loss."""
    T.zero_grad(set_to_none=True)
    if config.turn_crop < 1:
        x = cropped(x, generator, config.turn_crop)
    x = moved(x, generator, mirror=config.symmetry == "mirror")
    loss = l_turns(T, seen(T, x, mirror=False)[0]).mean()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    torch.clear_autocast_cache()  # in bfloat16 the next images would meet the weights as they were
    return loss.detach()


def cropped(x: Tensor, generator: torch.Generator, smallest: float) -> Tensor:
    """Return a part of each image, of `smallest` to `WHOLE` of its sides, anywhere, as large as it.

    `smallest` is in (0, 1]. Pixels are interpolated; what lies outside is reflected.
    """
    part, down, right = torch.rand(3, len(x), device=x.device, generator=generator)
    part = smallest + (WHOLE - smallest) * part
    room = (1 - part).clamp(min=0)
    return enlarged(x, part, room * (2 * right - 1), room * (2 * down - 1))


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
    return half_mirrored(shifted, draws[2]) if mirror else shifted


class Muon(torch.optim.Muon):
    """Jordan et al.'s Muon (2024), for convolutions too, whose filters are the rows of a matrix.

    A step moves every direction of the matrix alike, by the momentum's nearest orthogonal matrix,
    which torch's own, for matrices alone, finds in bfloat16 whatever the precision.
    """

    def __init__(self, weights: Sequence[nn.Parameter], peak: float) -> None:
        self.weights = tuple(weights)
        rows = [nn.Parameter(w.detach().flatten(1)) for w in weights]  # the same memory
        super().__init__(rows, lr=peak, weight_decay=0.0, momentum=MOMENTUM, ns_steps=ROUNDS)

    def step(self, closure: Any = None) -> Any:
        """Move the weights by the gradients that they have; there is no closure to ask again."""
        for rows, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            assert weight.grad is not None
            rows.grad = weight.grad.flatten(1)
        return super().step()  # type: ignore[no-untyped-call]
