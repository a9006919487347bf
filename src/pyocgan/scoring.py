"""The reconstruction error of a trained model, the paper's novelty score (section 3.3).

A score is a function of one image and the model, never of the batch: everything runs with the
stored statistics of batch normalisation, and noise at test time is one fixed picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import Config
from .devices import outer_autocast_off, whole_float32
from .images import to_range
from .networks import Networks

# Images scored together, fewer where they are larger. This limits memory and changes no score.
BATCH_SIZE, BATCH_PIXELS = 256, 256 * 64**2
ON_CUDA = 8  # times as many: asking for a batch takes longer than 256 small images do


P = ParamSpec("P")
R = TypeVar("R")


def exactly(score: Callable[P, R]) -> Callable[P, R]:
    """Let a function score without gradients and in float32, whatever its caller has switched on.

    Within a caller's `torch.autocast`, or on a GPU in TF32 and then on a CPU, a calibration image
    would come out above its own threshold.
    """

    @wraps(score)
    def scored(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad(), outer_autocast_off(), whole_float32:
            return score(*args, **kwargs)

    return scored


def at_once(size: tuple[int, int], device: torch.device) -> int:
    """Return how many images of (H, W) are scored together on a device."""
    times = ON_CUDA if device.type == "cuda" else 1
    return max(1, min(times * BATCH_SIZE, times * BATCH_PIXELS // math.prod(size)))


def batches(pixels: NDArray[np.uint8], device: torch.device) -> Iterator[NDArray[np.uint8]]:
    """Yield images (N, H, W, K) as many at a time as are scored together on a device."""
    _, height, width, _ = pixels.shape
    step = at_once((height, width), device)
    for start in range(0, len(pixels), step):
        yield pixels[start : start + step]


def device_of(nets: nn.Module) -> torch.device:
    """Say where networks are."""
    return next(nets.parameters()).device


def on_device(pixels: NDArray[np.uint8], nets: Networks) -> Tensor:
    """Return images (B, H, W, K) as x in [-1, 1], (B, K, H, W), where the networks are."""
    return to_range(torch.from_numpy(pixels).to(device_of(nets)))


def encode(nets: Networks, x: Tensor, config: Config) -> Tensor:
    """Return En(x), (B, d) in (-1, 1), of images (B, K, H, W) in [-1, 1]."""
    if config.test_noise_variance > 0:
        x = x + _fixed_noise(x, config)
    return nets.En(x)


def pixel_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """‖x − De(En(x))‖² as the mean over pixels and channels: (B, K, H, W) twice → (B,) float64."""
    return to_double((x - x_hat).square()).mean((1, 2, 3))


def to_double(x: Tensor) -> Tensor:
    """Return `x` as float64, on the CPU where its device has none: mps."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@exactly
def reconstruction_errors(
    nets: Networks, pixels: NDArray[np.uint8], config: Config
) -> NDArray[np.float64]:
    """Return the mean squared reconstruction error of each image: (N,) float64, in [0, 4]."""
    nets.eval()
    errors = []
    for batch in batches(pixels, device_of(nets)):
        x = on_device(batch, nets)
        x_hat = nets.De(encode(nets, x, config))
        errors.append(pixel_error(x, x_hat).cpu().numpy())
    return np.concatenate(errors)


def _fixed_noise(x: Tensor, config: Config) -> Tensor:
    """The same noise picture for every image and every call, (1, K, H, W)."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((1, *x.shape[1:]), generator=generator)
    return noise.to(x.device) * math.sqrt(config.test_noise_variance)


@exactly
def decode(nets: Networks, s: NDArray[np.float32]) -> Tensor:
    """Return De(s), (n, K, H, W) in (-1, 1), for points s of the latent cube, (n, d)."""
    nets.eval()
    codes = torch.from_numpy(np.ascontiguousarray(s, np.float32)).to(device_of(nets))
    return nets.De(codes)
