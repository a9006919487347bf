"""Informative-negative mining: section 3.2 of the paper, the step before the generator update.

Random points of the latent cube mostly decode to in-class images. Mining moves s to where the
weak classifier C is surer that De(s) is *not* in class; the generator then has to make a
convincing image from there too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .losses import l_mining
from .networks import frozen_statistics, frozen_weights

INSIDE = 1.0 - 1e-4  # s stays in the open cube (-1, 1)^d, as every code of En does


def mine(s: Tensor, De: nn.Module, C: nn.Module, *, steps: int, step_size: float) -> Tensor:
    """Return s after `steps` projected gradient steps of `step_size` on `l_mining`; (B, d).

    Networks, their gradients and their statistics are left as they are. Zero steps: s itself.

    The direction is label 0 and descent. Algorithm 1 prints label 1, which would need ascent;
    several ports print 1 and descend, which mines points that C already takes for in-class.
    """
    with frozen_weights(De, C), frozen_statistics(De, C):
        for _ in range(steps):
            s = s.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(l_mining(C(De(s))), s)
            s = (s.detach() - step_size * gradient).clamp(-INSIDE, INSIDE)
    return s.detach()
