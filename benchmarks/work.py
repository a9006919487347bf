"""What is timed: training steps of either kind, on images that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from pyocgan import algorithm
from pyocgan.config import Config, resolve
from pyocgan.images import to_range
from pyocgan.networks import build
from pyocgan.replay import WARM_UP
from pyocgan.stacked import StackedTraining
from pyocgan.training import Training

from . import literal

YARDSTICKS = {"literal": literal.literal, "detached": literal.detached}
Step = Callable[[], object]


@dataclass(frozen=True)
class Scale:
    """How large the work is; the defaults are those of the published figures."""

    device: str = "auto"
    image_size: int = 32
    channels: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)  # that differ from preset paper
    budget: float = 40.0  # seconds for the longest comparison
    scored: int = 1024  # images

    def config(self) -> Config:
        """Preset paper, with mining from the first step on."""
        always = {"mining_warmup": 0.0, "image_size": self.image_size, "channels": self.channels}
        return resolve("paper", always | dict(self.settings))

    def changed(self, image_size: int | None = None, **settings: Any) -> Scale:
        """The same with other settings."""
        size = self.image_size if image_size is None else image_size
        return replace(self, image_size=size, settings={**self.settings, **settings})

    def images(self, count: int) -> NDArray[np.uint8]:
        """Digits, enlarged and repeated: uint8 (count, H, W, K)."""
        digits = (load_digits().images * 255 / 16).astype(np.uint8)
        size = (self.image_size, self.image_size)
        grey = [Image.fromarray(d).resize(size) for d in digits[: min(count, len(digits))]]
        pixels = np.repeat(np.stack([np.asarray(g) for g in grey])[..., None], self.channels, -1)
        return np.resize(pixels, (count, *pixels.shape[1:]))


def training(scale: Scale, precision: str = "auto", iterations: int = 40) -> Training:
    """The library's training, at its start, with an epoch of many iterations."""
    config = scale.config()
    # Rows seen twice cost what new ones do; one epoch, so that no validation comes in between.
    images = scale.images(min(iterations * config.batch_size, 8192))
    pixels = np.resize(images, (iterations * config.batch_size, *images.shape[1:]))
    return Training(config, pixels, images[:2], seed=0, device=scale.device, precision=precision)


def our_step(scale: Scale, precision: str = "auto", iterations: int = 40) -> Step:
    """The library's step: from uint8 images to updated weights."""
    return _under_way(training(scale, precision, iterations).run(), scale)


def stacked_step(scale: Scale, precision: str, models: int, iterations: int = 40) -> Step:
    """A step of several models as one program, as `our_step` is one of one."""
    trainings = [training(scale, precision, iterations) for _ in range(models)]
    return _under_way(StackedTraining(trainings).run(), scale)


def _under_way(steps: Iterator[object], scale: Scale) -> Step:
    """A step as all are that follow the first ones, of which a GPU makes a recording."""
    for _ in range(WARM_UP + 1 if resolve_device(scale.device).type == "cuda" else 0):
        next(steps)
    return lambda: next(steps)


def yardstick_step(scale: Scale, name: str) -> Step:
    """A yardstick's step: from float32 images to updated weights; contiguous, one Adam a side."""
    config = scale.config()
    device = resolve_device(scale.device)
    size = (scale.image_size, scale.image_size)
    nets = build(config, scale.channels, size, torch.Generator().manual_seed(0)).train()
    literal.make_plain(nets)
    optimizers = algorithm.build_optimizers(config, nets)  # on a CPU: PyTorch's Adam as it comes
    nets.to(device)
    images = to_range(torch.from_numpy(scale.images(1797))).contiguous().to(device)
    generator = torch.Generator(device).manual_seed(0)
    rows = torch.Generator().manual_seed(0)
    iterate = YARDSTICKS[name]

    def step() -> dict[str, torch.Tensor]:
        drawn = torch.randint(len(images), (config.batch_size,), generator=rows).to(device)
        x = images[drawn]
        return iterate(nets, optimizers, x, config, generator=generator, mining=True)

    return step


def resolve_device(device: str) -> torch.device:
    """The device that "auto" means."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, and does not merely convert."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
