"""Algorithm 1 of the paper: one iteration, four updates.

En and De do not change between the first update and the last, so one forward pass of En and De on
x + n serves all four. Letters as in `networks`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from .config import ADAM_BETA2, Config
from .frozen import frozen_statistics, frozen_weights
from .gradients import gradient_error
from .losses import fool, l_classifier, l_latent, l_mse, l_visual
from .mining import mine
from .networks import Networks, tell_apart


def build_optimizers(config: Config, nets: Networks) -> dict[str, Optimizer]:
    """Build section 3.4's Adam for each side of the games that the stage plays, by name."""
    sides = {
        "generator": (nets.En, nets.De),
        "discriminator": (nets.D_l, nets.D_v),
        "classifier": (nets.C,),
    }
    optimizers: dict[str, Optimizer] = {}
    for side, networks in sides.items():
        if weights := [w for one in networks if one is not None for w in one.parameters()]:
            # On a GPU a step is one operation, which can be replayed.
            fast = {"fused": True, "capturable": True} if weights[0].is_cuda else {}
            betas = (config.adam_beta1, ADAM_BETA2)
            optimizers[side] = Adam(weights, lr=config.learning_rate, betas=betas, **fast)
    return optimizers


def iterate(
    nets: Networks,
    optimizers: Mapping[str, Optimizer],
    x: Tensor,
    config: Config,
    *,
    generator: torch.Generator,
    mining: bool,
) -> dict[str, Tensor]:
    """Run one iteration of Algorithm 1 on a batch and return its losses.

    Parameters
    ----------
    nets, optimizers
        Changed in place, in training mode. Networks that the stage leaves out are None.
    x
        Images, (B, K, H, W) in [-1, 1], B ≥ 2.
    generator
        Draws n and s; on the device of x.
    mining
        Whether the warm-up, which leaves s as drawn, is over.

    Returns
    -------
    dict
        Loss name to tensor (), detached; only those of the stage.
    """
    En, De, D_l, D_v, C = nets.En, nets.De, nets.D_l, nets.D_v, nets.C
    losses: dict[str, Tensor] = {}
    # n ~ N(0, σ²), fresh for every batch (authors' code: once for each image); s ~ U(-1, 1)^d.
    n = config.noise_std * torch.randn(x.shape, device=x.device, generator=generator)
    z = En(x + n)
    s = torch.rand(z.shape, device=z.device, generator=generator) * 2 - 1
    x_hat = De(z)
    if D_v is not None:  # as it is wherever C is
        with torch.no_grad(), frozen_statistics(De):
            De_s = De(s)

    # 1. Classifier update.
    if C is not None:
        losses["classifier"] = l_classifier(C(x_hat.detach()), C(De_s))
        _step(optimizers["classifier"], losses["classifier"])

    # 2. Discriminator update, with s as drawn.
    if D_l is not None:
        losses["latent"] = l_latent(*tell_apart(D_l, s, z.detach()))
        if D_v is not None:
            losses["visual"] = l_visual(D_v(x), D_v(De_s))
        _step(optimizers["discriminator"], losses["latent"] + losses.get("visual", 0))

    # 3. Informative-negative mining, all networks fixed.
    s_mined = s
    if C is not None and mining:
        s_mined = mine(s, De, C, steps=config.mining_steps, step_size=config.mining_step_size)

    # 4. Generator update, with s as mined.
    losses["mse"] = l_mse(x, x_hat)
    total = config.reconstruction_weight * losses["mse"]
    if config.gradient_weight > 0:  # not in the paper
        losses["gradients"] = gradient_error(x, x_hat, config).mean()
        total = total + config.gradient_weight * losses["gradients"]
    opponents = [D for D in (D_l, D_v) if D is not None]
    with frozen_weights(*opponents), frozen_statistics(*opponents, De):
        if D_l is not None:
            losses["fool_latent"] = fool(tell_apart(D_l, s, z)[1])
            total = total + losses["fool_latent"]
        if D_v is not None:
            losses["fool_visual"] = fool(D_v(De(s_mined)))
            total = total + losses["fool_visual"]
    _step(optimizers["generator"], total)
    return {name: loss.detach() for name, loss in losses.items()}


def _step(optimizer: Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
