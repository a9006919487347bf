"""The five networks of OCGAN: section 3.2 and, for their sizes, section 3.4 of the paper.

Letters: B batch, K channels, H W pixels, d latent size; x in [-1, 1]^(B,K,H,W); z, s in
(-1, 1)^(B,d). Discriminators and classifier give logits; the sigmoid lives in the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .blank import blank
from .config import INITIAL_STD, LEAKY_SLOPE, Config
from .convolution import Convolution, TransposedConvolution, flatten
from .unnormalised import UNNORMALISED, PlainConvolution

# By `Config.autoencoder_norm`, and batch by `Config.discriminator_norm` too.
NORMALISED: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
}


def halvings(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (H, W) before the first and after each of three stride-2 convolutions."""
    sizes = [size]
    for _ in range(3):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def convolutions(channels: int, width: int, norm: str) -> nn.Sequential:
    """Three 5×5 stride-2 convolutions: (B, K, H, W) → (B, 4·width, ⌈H/8⌉, ⌈W/8⌉)."""
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        if norm in NORMALISED:
            layers += [Convolution(before, after), NORMALISED[norm](after)]
        else:
            layers.append(UNNORMALISED[norm](before, after))
        layers.append(nn.LeakyReLU(LEAKY_SLOPE, inplace=True))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """En: images → codes, (B, K, H, W) in [-1, 1] → (B, d) in (-1, 1)."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, d: int, norm: str) -> None:
        super().__init__()
        h, w = halvings(size)[-1]
        self.features = convolutions(channels, width, norm)
        self.code = nn.Linear(4 * width * h * w, d)

    def forward(self, x: Tensor) -> Tensor:
        # tanh always: it bounds the latent space (section 3.2). The authors' release leaves it out.
        return torch.tanh(self.code(flatten(self.features(x))))


class Decoder(nn.Module):
    """De: codes → images, (B, d) → (B, K, H, W) in (-1, 1); mirrors `Encoder`."""

    def __init__(self, channels: int, size: tuple[int, int], width: int, d: int, norm: str) -> None:
        super().__init__()
        smallest, *sizes = halvings(size)[::-1]
        start = (4 * width, *smallest)
        layers: list[nn.Module] = [
            nn.Linear(d, 4 * width * smallest[0] * smallest[1], bias=False),
            nn.Unflatten(1, start),
        ]
        widths = (4 * width, 2 * width, width, channels)
        for before, after, larger in zip(widths[:-1], widths[1:], sizes, strict=True):
            layers += [
                NORMALISED[norm](before),
                nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
                TransposedConvolution(before, after, larger, bias=larger == size),
            ]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class LatentDiscriminator(nn.Module):
    """D_l: (B, d) → (B,) logits; tells uniform samples (1) from codes of images (0).

    Fully connected, 128-64-32-16-1. One logit: the authors' code ends in 16 sigmoids under a
    sigmoid loss, so that their D_l never learns.
    """

    def __init__(self, d: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((d, *widths[:-1]), widths, strict=True):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).squeeze(1)


class ImageClassifier(nn.Module):
    """D_v and C: (B, K, H, W) → (B,) logits; they differ in width and in what they tell apart.

    D_v tells images (1) from decoded uniform samples (0). C is the weak classifier of section
    3.2: reconstructions of images (1) against decoded uniform samples (0), trained in no game.
    `norm` is `Config.discriminator_norm`.
    """

    def __init__(self, channels: int, size: tuple[int, int], width: int, norm: str) -> None:
        super().__init__()
        h, w = halvings(size)[-1]
        self.features = convolutions(channels, width, norm)
        self.logit = nn.Linear(4 * width * h * w, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logit(flatten(self.features(x))).squeeze(1)


class Networks(nn.Module):
    """En and De, and D_l, D_v and C where the stage trains them (None otherwise)."""

    def __init__(self, config: Config, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        d, width = config.latent_size, config.autoencoder_width
        self.En = Encoder(channels, size, width, d, config.autoencoder_norm)
        self.De = Decoder(channels, size, width, d, config.autoencoder_norm)
        self.D_l = self.D_v = self.C = None
        if config.uses_latent_game:
            self.D_l = LatentDiscriminator(d, config.latent_widths)
        norm = config.discriminator_norm
        if config.uses_visual_game:
            self.D_v = ImageClassifier(channels, size, config.visual_width, norm)
        if config.uses_mining:
            self.C = ImageClassifier(channels, size, config.classifier_width, norm)


def build(
    config: Config, channels: int, size: tuple[int, int], generator: torch.Generator
) -> Networks:
    """Build the networks for K = `channels` and (H, W) = `size`, initialised by `generator`.

    Convolutions start as DCGAN's (Radford et al. 2016, as in the authors' code): weights
    N(0, 0.02²), scales of normalisation N(1, 0.02²), offsets 0. Fully connected layers, which
    DCGAN has none of, start as N(0, 1/inputs), so that codes are spread at any width.
    """
    networks = blank(lambda: Networks(config, channels, size))
    for module in networks.modules():
        if isinstance(module, PlainConvolution):
            module.draw(generator)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            std = module.in_features**-0.5 if isinstance(module, nn.Linear) else INITIAL_STD
            nn.init.normal_(module.weight, 0.0, std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d)):
            module.reset_running_stats()
            nn.init.normal_(module.weight, 1.0, INITIAL_STD, generator=generator)
            nn.init.zeros_(module.bias)
    return networks


def tell_apart(D_l: nn.Module, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return D_l(s) and D_l(z), (B,) and (B,), normalised over both kinds in one batch.

    Batch normalisation over each kind alone, as in the authors' code, takes away the differences
    in mean and spread that D_l is there to see: codes of MNIST's 8s then stay at a standard
    deviation of 0.35 where the uniform cube has 0.58; in one batch they reach 0.57. D_v and C keep
    to a batch for each kind, DCGAN's rule: in one batch D_v's loss falls to 0.01 in four epochs.
    """
    return D_l(torch.cat([s, z])).chunk(2)
