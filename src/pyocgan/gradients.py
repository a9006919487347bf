"""Images as oriented, locally pooled gradients, in which images of one class agree.

A squared error of pixels counts ink and punishes a shift by one pixel; half-rectified differences,
blurred and pooled, do neither. Of images of up to 32 pixels, and with nothing set, these are the
features of the baseline `baselines.oriented_gradients`, but differentiable; larger images have no
more of them.
Letters: B batch (and any dimensions before it), K channels, H W pixels, h w cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from .config import Config

Matrix = Callable[..., NDArray[np.float64]]  # of a side, in pixels, and further arguments

CELLS = 16  # a side is pooled to at most so many cells, of two pixels or more
FINE_CELLS = 32  # of `patches`, likewise
INTENSITY = 0.3  # weight of intensities beside gradients in patches
TINY = 1e-12  # of squares, keeps roots and their derivatives finite in empty cells


def gradient_maps(x: Tensor, config: Config) -> Tensor:
    """Return half-rectified differences right, left, down, up, pooled: (B, 4·K, h, w).

    All maps of an image together have unit norm.

    `x` is (B, K, H, W) in any linear range: an offset or a factor changes nothing. With
    `config.gradient_smoothing`, images are blurred first; with `config.contrast_floor`, each cell
    is divided by its own norm (Dalal and Triggs, "Histograms of oriented gradients for human
    detection", CVPR 2005, with blocks of one cell), so that faint edges count as strong ones do.
    """
    if config.gradient_smoothing > 0:
        # Less a constant, which changes nothing, so that rounding leaves an even image even.
        x = x - x[..., :1, :1]
        x = _along_sides(_smoothing, x, config.gradient_smoothing)
    maps = _along_sides(_to_cells, _directions(x))
    if config.contrast_floor > 0:
        energy = maps.square().sum(-3, keepdim=True)
        usual = energy.mean((-2, -1), keepdim=True)
        maps = maps / ((energy + TINY).sqrt() + config.contrast_floor * (usual + TINY).sqrt())
    return F.normalize(maps.flatten(-3), dim=-1).view_as(maps)


def gradient_error(x: Tensor, x_hat: Tensor, config: Config) -> Tensor:
    """½‖φ(x) − φ(x̂)‖² for oriented gradients φ of unit norm, 1 − their cosine: (B,) in [0, 1].

    An even image has none, φ = 0: between it and any other it is ½.
    """
    return gradient_error_maps(x, x_hat, config).sum((-2, -1))


def gradient_error_maps(x: Tensor, x_hat: Tensor, config: Config) -> Tensor:
    """Return what each cell adds to `gradient_error`: (B, h, w) ≥ 0, in float32 or better."""
    with torch.autocast(x.device.type, enabled=False):  # of which bfloat16 would leave little
        phi, phi_hat = (gradient_maps(image.float(), config) for image in (x, x_hat))
        return 0.5 * (phi - phi_hat).square().sum(-3)


def patches(x: Tensor) -> Tensor:
    """Return what stands in small patches of images: (B, D, h, w), D = 4·5·K, one patch a place.

    Patches of 2×2 cells, at most 32 of them a side, overlapping: gradients and intensities that are
    not normalised, for a defect is often one of strength alone.
    """
    cells = torch.cat([_directions(x), INTENSITY * x], 1)
    cells = _along_sides(_to_fine_cells, cells)
    h, w = cells.shape[2] - 1, cells.shape[3] - 1
    return F.unfold(cells, 2).view(len(x), -1, h, w)


def spread(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Share out what stands in cells (B, h, w) among the pixels that each looks at: (B, H, W).

    The sum over an image stays what it is.
    """
    rows, columns = _matrices(_to_cells, size, cells)
    return rows.T @ cells @ columns


def spread_patches(distances: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate what is said of patches (B, h, w), each in its middle, to pixels: (B, H, W)."""
    rows, columns = _matrices(_between_patches, size, distances)
    return rows @ distances @ columns.T


def _along_sides(matrix: Matrix, x: Tensor, *arguments: float) -> Tensor:
    """Apply to both sides of images (…, H, W) the matrix made for their numbers of pixels."""
    rows, columns = _matrices(matrix, x.shape[-2:], x, *arguments)
    return rows @ x @ columns.T


def _matrices(
    matrix: Matrix, size: Sequence[int], like: Tensor, *arguments: float
) -> Iterator[Tensor]:
    """Yield the matrix made for each side of an image, of the device and type of `like`."""
    return (_matrix(matrix, n, arguments, like.device, like.dtype) for n in size)


@cache  # for good: they are small, and what a graph has recorded reads them where they are
def _matrix(
    matrix: Matrix,
    side: int,
    arguments: tuple[float, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Send a matrix to a device once: a copy would hold up a GPU, and stop a graph's recording."""
    with torch.inference_mode(False):  # training needs them too, whoever asks first
        return torch.from_numpy(matrix(side, *arguments)).to(device, dtype)


def _directions(x: Tensor) -> Tensor:
    """Half-rectified differences right, left, down, up: (…, K, H, W) → (…, 4·K, H, W)."""
    across, down = torch.zeros_like(x), torch.zeros_like(x)
    across[..., :-1] = x[..., 1:] - x[..., :-1]
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    return torch.cat([across.relu(), (-across).relu(), down.relu(), (-down).relu()], dim=-3)


def _cell(side: int, cells: int = CELLS) -> int:
    """Return how many pixels of a side make a cell, with so many cells at most."""
    return max(2, -(-side // cells))


def _to_cells(side: int) -> NDArray[np.float64]:
    return _pooling(side, _cell(side))


def _to_fine_cells(side: int) -> NDArray[np.float64]:
    return _pooling(side, _cell(side, FINE_CELLS))


def _smoothing(side: int, sigma: float) -> NDArray[np.float64]:
    """The matrix that blurs `side` pixels, σ in cells."""
    return _blurring(side, sigma * _cell(side))


def _blurring(side: int, sigma: float) -> NDArray[np.float64]:
    """The matrix that blurs `side` pixels, σ in pixels: (side, side)."""
    return gaussian_filter1d(np.eye(side), sigma=sigma, axis=0)


def _pooling(side: int, cell: int) -> NDArray[np.float64]:
    """The matrix that blurs `side` pixels and averages `cell` of them or a little more.

    (cells, side).
    """
    edges = _edges(side, cell)[:, None]
    pixels = np.arange(side)
    shares = (np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)).clip(min=0)
    return shares @ _blurring(side, 0.5 * cell) / shares.sum(1, keepdims=True)


def _between_patches(side: int) -> NDArray[np.float64]:
    """The matrix that interpolates between the middles of patches: (side, patches)."""
    middles = _edges(side, _cell(side, FINE_CELLS))[1:-1] - 0.5  # of two cells: where they meet
    return np.stack([np.interp(np.arange(side), middles, one) for one in np.eye(len(middles))], 1)


def _edges(side: int, cell: int) -> NDArray[np.float64]:
    """Where cells begin and end, in pixels: (cells + 1,).

    Of up to 32 pixels they are the baseline's, which leaves out an odd last one.
    """
    cells = side // cell
    return np.linspace(0, side if side > 2 * CELLS else 2 * cells, cells + 1)
