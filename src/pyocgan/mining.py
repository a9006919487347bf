"""Informative-negative mining: section 3.2 of the paper, the step before the generator update.

Random points of the latent cube mostly decode to in-class images. Mining moves s to where the
weak classifier C is surer that De(s) is *not* in class; the generator then has to make a
convincing image from there too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .frozen import frozen_statistics, frozen_weights
from .losses import l_mining

INSIDE = 1.0 - 1e-4  # s stays in the open cube (-1, 1)^d, as every code of En does


def mine(s: Tensor, De: nn.Module, C: nn.Module, *, steps: int, step_size: float) -> Tensor:
    """Return s after projected gradient steps on `l_mining`.

    The direction is label 0 and descent. Algorithm 1 prints label 1, which would need ascent;
    several ports print 1 and descend, which mines points that C already takes for in-class.

    Steps go down the gradient with a fixed length. C soon tells the two kinds apart, so that the
    gradient itself is nearly nothing: five plain steps moved s by 0.1 to 0.2 where two points of
    the cube are 3.3 apart (d = 16).

    Parameters
    ----------
    s
        Points of the latent cube, (B, d) in (-1, 1).
    De, C
        Left as they are: weights, gradients and statistics.
    steps
        Number of steps; 0 returns s itself.
    step_size
        Root mean square of the change of a coordinate in one step.

    Returns
    -------
    Tensor
        Mined points, like s, detached.
    """
    length = step_size * s.shape[1] ** 0.5
    with frozen_weights(De, C), frozen_statistics(De, C):
        for _ in range(steps):
            s = s.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(l_mining(C(De(s))), s)
            direction = torch.nn.functional.normalize(gradient, dim=1, eps=1e-30)
            s = (s.detach() - length * direction).clamp(-INSIDE, INSIDE)
    return s.detach()
