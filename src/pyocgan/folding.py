"""k networks of the same form folded into one, for `stacked`: a layer of all k is one operation.

Outside, a tensor of k models has a first dimension of k: images (k, B, K, H, W), codes (k, B, d).
Inside a folded network the models lie side by side in the channels, (B, k·K, H, W): convolutions
have k groups, fully connected layers are a batched product, and all that goes channel by channel,
as batch normalisation does, stays as it is. A weight or statistic of the whole is the models' own
ones, one after the other along the first dimension. So no model can see another.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .networks import Decoder, Encoder, Networks

Generators = torch.Generator | Sequence[torch.Generator]  # of a model; of a stack, one a model


def fold(networks: Sequence[Networks]) -> Networks:
    """Fold k models into one, in training mode, with a copy of their weights and statistics.

    The result is for `algorithm.iterate`; its networks take and give tensors of k models.
    """
    k = len(networks)
    folded = copy.deepcopy(networks[0]).train()
    folded.zero_grad(set_to_none=True)
    for path, layer in list(folded.named_modules()):
        _fold_layer(folded, path, layer, k)
    for whole, *parts in zip(tensors(folded), *map(tensors, networks), strict=True):
        whole.data = join(parts)
    for name, network in list(folded.named_children()):
        has_logits = not isinstance(network, (Encoder, Decoder))
        setattr(folded, name, _Folded(network, k, has_logits=has_logits))
    return folded


def tensors(module: nn.Module) -> list[Tensor]:
    """List weights and statistics, in the same order for a model and for what it is folded to."""
    return [*module.parameters(), *module.buffers()]


def join(parts: Sequence[Tensor]) -> Tensor:
    """Put the models' tensors one after the other; a count is the same for all."""
    first = parts[0].detach()
    return torch.cat([part.detach() for part in parts]) if first.dim() else first.clone()


def part_of(whole: Tensor, model: int, k: int) -> Tensor:
    """Return the view of one model's part of a tensor made by `join`."""
    whole = whole.detach()
    return whole.chunk(k)[model] if whole.dim() else whole


def draw(source: Callable[..., Tensor], like: Tensor, generator: Generators) -> Tensor:
    """Draw in the shape of a tensor; in a stack, what each model alone would draw."""
    if isinstance(generator, torch.Generator):
        return source(like.shape, device=like.device, generator=generator)
    return torch.stack([draw(source, part, g) for part, g in zip(like, generator, strict=True)])


class _Folded(nn.Module):
    """A folded network seen from outside: (k, B, …) → (k, B, …), or (k, B) logits."""

    def __init__(self, network: nn.Module, k: int, *, has_logits: bool) -> None:
        super().__init__()
        self.network, self.k, self.has_logits = network, k, has_logits

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x.transpose(0, 1).flatten(1, 2))
        y = y.reshape(len(y), self.k, -1, *y.shape[2:]).transpose(0, 1)
        return y.squeeze(2) if self.has_logits else y


class _Linear(nn.Module):
    """k fully connected layers: (B, k·inputs) → (B, k·outputs)."""

    def __init__(self, layer: nn.Linear, k: int) -> None:
        super().__init__()
        self.weight, self.bias, self.k = layer.weight, layer.bias, k

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(x), self.k, -1).transpose(0, 1)
        weight = self.weight.view(self.k, -1, self.weight.shape[1]).transpose(1, 2)
        y = torch.bmm(x, weight).transpose(0, 1).flatten(1)
        return y if self.bias is None else y + self.bias


def _fold_layer(folded: Networks, path: str, layer: nn.Module, k: int) -> None:
    if isinstance(layer, nn.Linear):
        folded.set_submodule(path, _Linear(layer, k))
    elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        layer.groups = k
    elif isinstance(layer, nn.Unflatten):
        channels, *size = layer.unflattened_size
        layer.unflattened_size = (k * channels, *size)
    elif [*layer.parameters(recurse=False)] and not isinstance(
        layer, (nn.BatchNorm1d, nn.BatchNorm2d)
    ):
        raise TypeError(f"{path} is a {type(layer).__name__}, which cannot be folded")
