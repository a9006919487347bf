"""T and P in training: networks of the scores, on which none of OCGAN's depends.

Letters as in `turns` and `flaws`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from . import flaw_training, turn_training
from .evidence import Evidence
from .flaws import CELL, in_whole_cells
from .images import to_pixels, to_range
from .scoring import batches


class ScoreTraining:
    """T and P of `evidence`, where there are any, and what trains them.

    Parameters
    ----------
    evidence
        Whose networks are changed in place.
    train
        The images that P learns from, uint8 (N, H, W, K).
    images
        The same as the other networks see them, on their device: perhaps averaged down.

    Attributes
    ----------
    whole : Tensor or None
        The images as P sees them, on the device; None where there is no P.
    """

    def __init__(self, evidence: Evidence, train: NDArray[np.uint8], images: Tensor) -> None:
        self.config, self.T, self.P = evidence.config, evidence.T, evidence.P
        self.turn_optimizers: dict[str, Optimizer] = {}
        if self.T is not None:
            self.turn_optimizers = turn_training.build_optimizers(self.T, self.config)
        self.flaw_optimizers: dict[str, Optimizer] = {}
        self.whole: Tensor | None = None
        if self.P is not None:
            self.flaw_optimizers = {"flaws": flaw_training.build_optimizer(self.P)}
            whole = _in_whole_cells(train)
            is_same = whole is train and images.shape == train.shape
            self.whole = images if is_same else torch.from_numpy(whole).to(images.device)

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """What trains T and P, by name, for a checkpoint."""
        return self.turn_optimizers | self.flaw_optimizers

    def update(
        self, batches: Iterable[Tensor], done: int, in_all: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Step T on batches of images, and P on pieces of all; return mean losses.

        Parameters
        ----------
        batches
            (B, K, H, W) in [-1, 1]; taken only where there is a T.
        done, in_all
            Iterations of training before this one, and altogether: learning rates follow them.
        generator
            On the images' device.
        """
        losses = {}
        if self.T is not None:
            losses["turns"] = turn_training.train(
                self.T, self.turn_optimizers, batches, done / in_all, generator, self.config
            )
        if self.P is not None and self.whole is not None:
            steps = math.ceil(self.config.flaw_steps / in_all)
            shares = [(done + step / steps) / in_all for step in range(steps)]
            losses["flaws"] = flaw_training.train(
                self.P, self.flaw_optimizers["flaws"], self.whole, shares, generator, self.config
            )
        return losses


def _in_whole_cells(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (N, H, W, K) enlarged as P would, once for all; those of whole cells stay."""
    if not any(side % CELL for side in pixels.shape[1:3]):
        return pixels
    some = batches(pixels, torch.device("cpu"))
    parts = (in_whole_cells(to_range(torch.from_numpy(part))) for part in some)
    return np.concatenate([to_pixels(part) for part in parts])
