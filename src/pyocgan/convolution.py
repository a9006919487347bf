"""The networks' convolutions, 5×5 with stride 2, with fewer multiplications: training on a CPU.

In one dimension such a convolution is a filter of three taps over the even pixels plus one of two
taps over the odd pixels. m outputs of an r-tap filter take m + r − 1 products in place of m·r
(Toom and Cook; Winograd 1980): for m = 4 that is 6 + 5 in place of 20, in two dimensions 121 in
place of 400. With matrices P, Q and G that depend on the size alone,

    y = Qᵀ( (P x) · (G w) )

along both sides of the map, · a matrix product over channels for each of the 121. The transposed
convolution is Pᵀ( (Q y) · (G w)ᵀ ), and so is the gradient. From and to a single channel, where
nothing is left to multiply, a convolution is one product with all 5×5 patches.

Both differ from torch's convolutions by rounding alone. Scores never come through here: in
evaluation the layers are torch's own, and so they are on other devices. In bfloat16, too short for
sums of such products and twice as fast without, only those of a single channel are not.
Letters: B batch, K channels, H W pixels; m outputs a tile, T tiles, R products a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - its usual name

from .config import KERNEL_SIZE, PADDING, STRIDE

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and ∞; with more of them float32 loses digits
TILE = 4  # m
FEWEST_CHANNELS = 64  # below, P x and Qᵀ M take longer than the multiplications saved


class Convolution(nn.Conv2d):
    """(B, K, H, W) → (B, K', ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, KERNEL_SIZE, STRIDE, PADDING, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not _trains_on_cpu(self, x):
            return super().forward(x)
        x = _relaid(x, torch.channels_last)
        return convolve(x, self.weight) if _pays(self.weight) else super().forward(x)


class TransposedConvolution(nn.ConvTranspose2d):
    """(B, K, ⌈H/2⌉, ⌈W/2⌉) → (B, K', H, W), where (H, W) is `size`."""

    def __init__(self, before: int, after: int, size: tuple[int, int], *, bias: bool) -> None:
        # From ⌈n/2⌉ a transposed convolution makes 2⌈n/2⌉ − 1 pixels; even n need one more.
        more = (1 - size[0] % 2, 1 - size[1] % 2)
        super().__init__(before, after, KERNEL_SIZE, STRIDE, PADDING, more, bias=bias)
        self.size = size

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _trains_on_cpu(self, x):
            return super().forward(x, output_size)
        x = _relaid(x, torch.channels_last)
        if not _pays(self.weight):
            return super().forward(x, output_size)
        y = convolve_transposed(x, self.weight, self.size)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)


def _trains_on_cpu(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> bool:
    return layer.training and x.device.type == "cpu"


def _pays(w: Tensor) -> bool:
    is_exact = not torch.is_autocast_enabled("cpu")
    return w.shape[1] == 1 or (is_exact and w.shape[1] >= FEWEST_CHANNELS)


def convolve(x: Tensor, w: Tensor) -> Tensor:
    """`F.conv2d(x, w, stride=2, padding=2)`: x (B, K, H, W), w (K', K, 5, 5)."""
    batch, channels, height, width = x.shape
    x = _pixels_first(x)
    if channels == 1:
        y = _apply(_Patches, x.squeeze(3)).T @ w.flatten(1).T
        return _channels_last(y.view(_half(height), _half(width), batch, -1))
    H, W = _matrices(height, x.dtype), _matrices(width, x.dtype)
    return _channels_last(_apply(_Bilinear, x, _G_w(w, H, W).mT, (H.P, W.P), (H.Q, W.Q)))


def convolve_transposed(y: Tensor, w: Tensor, size: tuple[int, int]) -> Tensor:
    """Transpose of `convolve`: y (B, K', ⌈H/2⌉, ⌈W/2⌉), w (K', K, 5, 5) → (B, K, H, W)."""
    y = _pixels_first(y)
    if w.shape[1] == 1:
        patches = w.flatten(1).T @ y.flatten(0, 2).T
        return _channels_last(_apply(_Fold, patches, (*size, y.shape[2])).unsqueeze(3))
    H, W = _matrices(size[0], y.dtype), _matrices(size[1], y.dtype)
    return _channels_last(_apply(_Bilinear, y, _G_w(w, H, W), (H.Q, W.Q), (H.P, W.P)))


def _half(n: int) -> int:
    return (n + 1) // STRIDE


def _apply(function: type[Function], *arguments: Any) -> Tensor:
    return function.apply(*arguments)


# ---- fewer products -----------------------------------------------------------------------------


class _Matrices(NamedTuple):
    """For n pixels, in one dimension."""

    P: Tensor  # (T, R, n)
    Q: Tensor  # (T, R, ⌈n/2⌉)
    G: Tensor  # (R, 5)


@cache
def _matrices(n: int, dtype: torch.dtype) -> _Matrices:
    """Evaluate, multiply and interpolate, transposed.

    Polynomials of r and m coefficients are multiplied by evaluating both at N = m + r − 1 points
    and interpolating. The transpose of that, from N inputs to m outputs, is the r-tap filter.
    """
    m = min(TILE, _half(n))
    tiles, products = -(-_half(n) // m), (m + 2) + (m + 1)
    P = np.zeros((tiles, products, n + 2 * (m + PADDING)))
    Q = np.zeros((tiles, products, _half(n) + m))
    G = np.zeros((products, KERNEL_SIZE))
    for phase, r in ((0, 3), (1, 2)):  # even pixels and taps, then odd ones
        N = m + r - 1
        rows = slice(0, N) if phase == 0 else slice(-N, None)
        G[rows, phase::2] = _evaluated(r, N)
        for t in range(tiles):
            first = 2 * m * t + phase  # of the padded pixels
            P[t, rows, first : first + 2 * N : 2] = np.linalg.inv(_evaluated(N, N)).T
            Q[t, rows, m * t : m * t + m] = _evaluated(m, N)
    P, Q = P[..., PADDING : PADDING + n], Q[..., : _half(n)]
    return _Matrices(*(torch.from_numpy(matrix).to(dtype) for matrix in (P, Q, G)))


def _evaluated(coefficients: int, points: int) -> NDArray[np.float64]:
    """Polynomials' values at the points, the last one ∞: (points, coefficients)."""
    values = np.vander(POINTS[: points - 1], coefficients, increasing=True)
    return np.vstack([values, np.eye(coefficients)[-1]])


class _Transform(Function):
    """G w along both sides. Keeps nothing of a pass, so that several can go back through it."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, H: Tensor, W: Tensor) -> Tensor:
        G = torch.kron(H, W)
        ctx.G, ctx.shape = G, w.shape
        return (G @ w.reshape(-1, KERNEL_SIZE**2).T).view(len(H), len(W), *w.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.G.T @ g.reshape(len(ctx.G), -1)).T.reshape(ctx.shape), None, None


_transforms: ContextVar[dict[Any, tuple[int, Tensor]] | None] = ContextVar(
    "transforms", default=None
)


@contextmanager
def transforms_kept() -> Iterator[None]:
    """Within it, G w is computed once for as long as w stays as it is; for a few passes.

    Mining alone goes forward five times through weights that do not change.
    """
    token = _transforms.set({})
    try:
        yield
    finally:
        _transforms.reset(token)


def _G_w(w: Tensor, H: _Matrices, W: _Matrices) -> Tensor:
    """G w along both sides, differentiable where w is: (K', K, 5, 5) → (R, R, K', K)."""
    kept = _transforms.get()
    differentiable = w.requires_grad and torch.is_grad_enabled()
    key = (id(w), len(H.G), len(W.G))
    version, U = (None, None) if kept is None else kept.get(key, (None, None))
    # An optimiser's step makes another version.
    if U is None or version != w._version or differentiable > U.requires_grad:
        U = _apply(_Transform, w, H.G, W.G)
        if kept is not None:
            kept[key] = w._version, U
    return U if differentiable else U.detach()


Sides = tuple[Tensor, Tensor]  # a matrix for the rows of a map, one for its columns


class _Bilinear(Function):
    """Qᵀ( (P x) · U ): x (H, W, B, K), U (R, R, K, K') → (H', W', B, K')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, U: Tensor, P: Sides, Q: Sides) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, U)
        ctx.P, ctx.Q = P, Q
        return _bilinear(x, U, P, Q)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, U), d_x, d_U = ctx.saved_tensors, None, None
        g = g.contiguous()
        if ctx.needs_input_grad[0]:
            d_x = _bilinear(g, U.mT, ctx.Q, ctx.P)
        if ctx.needs_input_grad[1]:
            d_U = torch.empty_like(U, memory_format=torch.contiguous_format)
            for i, (V, M) in enumerate(zip(_lift(x, ctx.P), _lift(g, ctx.Q), strict=True)):
                d_u, is_first = d_U[i % len(U)], i < len(U)
                torch.baddbmm(d_u, V.mT, M, beta=0 if is_first else 1, out=d_u)
        return d_x, d_U, None, None


def _bilinear(x: Tensor, U: Tensor, P: Sides, Q: Sides) -> Tensor:
    """Go through the R² products row by row, in memory small enough for the processor's cache."""
    rows = Q[0].flatten(0, 1)  # (T·R, H')
    columns = Q[1].transpose(0, 1).flatten(0, 1)  # (R·T, W')
    batch, channels = x.shape[2], U.shape[3]
    M = x.new_empty(len(columns) * batch, channels)
    parts = x.new_empty(len(rows), columns.shape[1], batch * channels)
    for i, V in enumerate(_lift(x, P)):
        torch.bmm(V, U[i % len(U)], out=M.view(len(V), -1, channels))
        torch.mm(columns.T, M.view(len(columns), -1), out=parts[i])
    y = rows.T @ parts.view(len(rows), -1)
    return y.view(rows.shape[1], columns.shape[1], batch, channels)


def _lift(x: Tensor, P: Sides) -> Iterator[Tensor]:
    """P x, for one product of one row of tiles after the other: (H, W, B, K) → (R, T·B, K).

    One memory for all of them, so that it stays in the processor's cache.
    """
    columns = P[1].transpose(0, 1).flatten(0, 1)  # (R·T, W)
    rows = P[0].flatten(0, 1) @ x.view(len(x), -1)
    V = x.new_empty(len(columns), x[0, 0].numel())
    for row in rows.view(len(rows), x.shape[1], -1):
        torch.mm(columns, row, out=V)
        yield V.view(P[1].shape[1], -1, x.shape[3])


# ---- patches ------------------------------------------------------------------------------------


class _Patches(Function):
    """All 5×5 patches of a single channel: (H, W, B) → (25, ⌈H/2⌉·⌈W/2⌉·B)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape
        return _patches(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _fold(g, ctx.size)


class _Fold(Function):
    """The transpose of `_Patches`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, size: tuple[int, int, int]) -> Tensor:
        return _fold(patches, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _patches(g), None


def _patches(x: Tensor) -> Tensor:
    height, width, _ = x.shape
    after = [2 * _half(n) + 1 - n for n in (width, height)]
    x = F.pad(x, (0, 0, PADDING, after[0], PADDING, after[1]))
    windows = x.unfold(0, KERNEL_SIZE, STRIDE).unfold(1, KERNEL_SIZE, STRIDE)
    return windows.permute(3, 4, 0, 1, 2).reshape(KERNEL_SIZE**2, -1)


def _fold(patches: Tensor, size: tuple[int, int, int]) -> Tensor:
    height, width, batch = size
    h, w = _half(height), _half(width)
    exact = torch.promote_types(patches.dtype, torch.float32)  # for sums of up to nine
    x = patches.new_zeros(2 * h + 3, 2 * w + 3, batch, dtype=exact)
    for tap, patch in enumerate(patches.view(-1, h, w, batch)):
        i, j = divmod(tap, KERNEL_SIZE)
        x[i : i + 2 * h : 2, j : j + 2 * w : 2] += patch
    return x[PADDING : PADDING + height, PADDING : PADDING + width]


# ---- layouts ------------------------------------------------------------------------------------


class _Layout(Function):
    """x in another memory format; its gradient goes back in x's own.

    Autograd hands a gradient on in whatever format it has. Where that is not the activation's,
    batch normalisation and leaky ReLU go back through it 10 to 50 times slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        ctx.own = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        return x.contiguous(memory_format=layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g.contiguous(memory_format=ctx.own), None


def _relaid(x: Tensor, layout: torch.memory_format) -> Tensor:
    return _apply(_Layout, x, layout)


def flatten(x: Tensor) -> Tensor:
    """`x.flatten(1)`: (B, K, H, W) → (B, K·H·W)."""
    return (x if x.is_contiguous() else _relaid(x, torch.contiguous_format)).flatten(1)


def _pixels_first(x: Tensor) -> Tensor:
    """(B, K, H, W) → (H, W, B, K)."""
    return x.permute(2, 3, 0, 1).contiguous()


def _channels_last(x: Tensor) -> Tensor:
    """(H, W, B, K) → (B, K, H, W)."""
    return x.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
