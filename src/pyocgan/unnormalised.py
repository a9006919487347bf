"""Convolutions of D_v and C without batch normalisation, so that they judge an image by itself.

Plain, or with spectral normalisation: divided by the largest singular value of its weights, a
convolution makes differences hardly larger than they are, and a network of such keeps a gradient
where it is sure. Miyato et al., "Spectral normalization for generative adversarial networks",
ICLR 2018.
Letters: B batch, K channels, H W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from .config import KERNEL_SIZE
from .convolution import Convolution

ROUNDS = 2  # of the power iteration, which goes on from where the last step left it


class PlainConvolution(Convolution):
    """(B, K, H, W) → (B, K', ⌈H/2⌉, ⌈W/2⌉).

    Attributes
    ----------
    offset : Parameter
        (K',), added at the end: there is no normalisation behind it to do that.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after)
        self.offset = nn.Parameter(torch.empty(after))

    def draw(self, generator: torch.Generator) -> None:
        """Draw first weights that keep the size of what they meet: He et al., 2015."""
        std = math.sqrt(2 / (self.in_channels * KERNEL_SIZE**2))
        nn.init.normal_(self.weight, 0.0, std, generator=generator)
        nn.init.zeros_(self.offset)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and add the offset."""
        return self._convolved(x) + self.offset.view(-1, 1, 1)

    def _convolved(self, x: Tensor) -> Tensor:
        return super().forward(x)


class SpectralConvolution(PlainConvolution):
    """The same of weights with spectral norm 1, as a matrix of K' rows.

    Attributes
    ----------
    u : Tensor
        (K',) the first left singular vector of the weights, which it follows as they learn.
    """

    u: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after)
        self.register_buffer("u", torch.empty(after))

    def draw(self, generator: torch.Generator) -> None:
        """Draw first weights, and u."""
        super().draw(generator)
        self.u.normal_(generator=generator)

    def _convolved(self, x: Tensor) -> Tensor:
        y = super()._convolved(x)  # linear in the weights: it may be divided instead of them
        return y * (1 / self._sigma()).to(y.dtype)

    def _sigma(self) -> Tensor:
        """Return the largest singular value of the weights: ()."""
        with torch.autocast(self.weight.device.type, enabled=False):
            w = self.weight.flatten(1)  # (K', 25·K), a copy on a GPU, where the channels come last
            with torch.no_grad():
                u = self.u
                for _ in range(ROUNDS):
                    v = normalize(w.T @ u, dim=0)
                    u = normalize(w @ v, dim=0)
                if self.training and self.weight.requires_grad:
                    self.u.copy_(u)
            return u @ w @ v


# By `Config.discriminator_norm`; with "batch" it is `Convolution` and batch normalisation.
UNNORMALISED: dict[str, type[PlainConvolution]] = {
    "none": PlainConvolution,
    "spectral": SpectralConvolution,
}
