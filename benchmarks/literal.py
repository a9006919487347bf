"""The yardsticks: Algorithm 1 as one writes it at first, from the page, in eager float32.

Both use the library's networks, losses, direction and length of a mining step, so that the
mathematics is the same: a test holds them to the losses that `pyocgan.algorithm.iterate` gives.
They differ from it in what they do over again.

`literal` repeats what is printed. Every update calls the networks that stand in its lines, although
En and De have not changed since the line before:

================  ===============================================================  ================
update            forward passes                                                   back-propagates
================  ===============================================================  ================
classifier        En(x + n), De(z), De(s), C(De(z)), C(De(s))                      through all
discriminator     En(x + n), D_l(s, z), De(s), D_v(x), D_v(De(s))                  through all
mining, 5 times   De(s), C(De(s))                                                  through both
generator         En(x + n), De(z), De(s as mined), D_l(s, z), D_v(De(s))          through all
================  ===============================================================  ================

"Through all": `loss.backward()` on the whole graph. The printed algorithm says of networks "keep
fixed", and the plain way to keep one fixed is not to step it; its gradients are computed all the
same, and thrown away. A careful reader of PyTorch's manual would not do that, hence `detached`: the
same forward passes, but gradients only for what is stepped (`detach`, and in mining
`torch.autograd.grad` with respect to s). The distance between the two is what carelessness costs;
the distance between `detached` and the library is what repetition costs.

Neither sets statistics of batch normalisation aside (see `pyocgan.frozen`): that costs nothing and
moves no weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Optimizer

from pyocgan.config import Config
from pyocgan.losses import fool, l_classifier, l_latent, l_mining, l_mse, l_visual
from pyocgan.mining import INSIDE
from pyocgan.networks import Networks, tell_apart


def literal(
    nets: Networks,
    optimizers: Mapping[str, Optimizer],
    x: Tensor,
    config: Config,
    *,
    generator: torch.Generator,
    mining: bool,
) -> dict[str, Tensor]:
    """Run one iteration; parameters and result are those of `pyocgan.algorithm.iterate`."""
    En, De, D_l, D_v, C = _all_five(nets)
    n, s = _draw(x, config, generator)
    losses: dict[str, Tensor] = {}

    # Classifier update.
    z = En(x + n)
    losses["classifier"] = l_classifier(C(De(z)), C(De(s)))
    _step(nets, optimizers["classifier"], losses["classifier"])

    # Discriminator update.
    z = En(x + n)
    losses["latent"] = l_latent(*tell_apart(D_l, s, z))
    losses["visual"] = l_visual(D_v(x), D_v(De(s)))
    _step(nets, optimizers["discriminator"], losses["latent"] + losses["visual"])

    # Informative-negative mining.
    s_mined = s
    for _ in range(config.mining_steps if mining else 0):
        s_mined = s_mined.detach().requires_grad_()
        l_mining(C(De(s_mined))).backward()
        assert s_mined.grad is not None
        s_mined = _moved(s_mined, s_mined.grad, config)
        nets.zero_grad()

    # Generator update.
    losses |= _generator_losses(nets, x, n, s, s_mined)
    _step(nets, optimizers["generator"], _total(losses, config))
    return {name: loss.detach() for name, loss in losses.items()}


def detached(
    nets: Networks,
    optimizers: Mapping[str, Optimizer],
    x: Tensor,
    config: Config,
    *,
    generator: torch.Generator,
    mining: bool,
) -> dict[str, Tensor]:
    """Run one iteration as `literal` does, with gradients only for what is stepped."""
    En, De, D_l, D_v, C = _all_five(nets)
    n, s = _draw(x, config, generator)
    losses: dict[str, Tensor] = {}

    # Classifier update.
    with torch.no_grad():
        x_hat, De_s = De(En(x + n)), De(s)
    losses["classifier"] = l_classifier(C(x_hat), C(De_s))
    _step(nets, optimizers["classifier"], losses["classifier"])

    # Discriminator update.
    with torch.no_grad():
        z, De_s = En(x + n), De(s)
    losses["latent"] = l_latent(*tell_apart(D_l, s, z))
    losses["visual"] = l_visual(D_v(x), D_v(De_s))
    _step(nets, optimizers["discriminator"], losses["latent"] + losses["visual"])

    # Informative-negative mining.
    s_mined = s
    nets.requires_grad_(False)
    for _ in range(config.mining_steps if mining else 0):
        s_mined = s_mined.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(l_mining(C(De(s_mined))), s_mined)
        s_mined = _moved(s_mined, gradient, config)

    # Generator update.
    En.requires_grad_()
    De.requires_grad_()
    losses |= _generator_losses(nets, x, n, s, s_mined)
    _step(nets, optimizers["generator"], _total(losses, config))
    nets.requires_grad_()
    return {name: loss.detach() for name, loss in losses.items()}


def _draw(x: Tensor, config: Config, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n and s, in the library's order."""
    n = config.noise_std * torch.randn(x.shape, device=x.device, generator=generator)
    size = (len(x), config.latent_size)
    return n, torch.rand(size, device=x.device, generator=generator) * 2 - 1


def _all_five(nets: Networks) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module, nn.Module]:
    assert nets.D_l is not None
    assert nets.D_v is not None
    assert nets.C is not None
    return nets.En, nets.De, nets.D_l, nets.D_v, nets.C


def _generator_losses(
    nets: Networks, x: Tensor, n: Tensor, s: Tensor, s_mined: Tensor
) -> dict[str, Tensor]:
    En, De, D_l, D_v, _ = _all_five(nets)
    z = En(x + n)
    return {
        "mse": l_mse(x, De(z)),
        "fool_latent": fool(tell_apart(D_l, s, z)[1]),
        "fool_visual": fool(D_v(De(s_mined))),
    }


def _moved(s: Tensor, gradient: Tensor, config: Config) -> Tensor:
    length = config.mining_step_size * config.latent_size**0.5
    direction = normalize(gradient, dim=1, eps=1e-30)
    return (s.detach() - length * direction).clamp(-INSIDE, INSIDE)


def _total(losses: dict[str, Tensor], config: Config) -> Tensor:
    games = losses["fool_latent"] + losses["fool_visual"]
    return config.reconstruction_weight * losses["mse"] + games


def make_plain(nets: Networks) -> None:
    """Give the networks torch's own layers, with the same weights, in place of the library's."""
    for layer in nets.modules():
        for plain in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(layer, plain):
                layer.__class__ = plain
        if isinstance(layer, nn.LeakyReLU):
            layer.inplace = False


def _step(nets: Networks, optimizer: Optimizer, loss: Tensor) -> None:
    nets.zero_grad()
    loss.backward()
    optimizer.step()
