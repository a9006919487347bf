"""The losses of OCGAN, each equation once: section 3.2 of the paper.

Letters as in `networks`. Label 1 is real: uniform samples for D_l, images for D_v, in-class
reconstructions for C; some texts swap D_v's, in the same game.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name


def bce(logits: Tensor, label: float) -> Tensor:
    """−log σ(logits) for label 1, −log(1 − σ(logits)) for label 0, each logit."""
    labels = torch.full_like(logits, label)
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def adversarial(real: Tensor, fake: Tensor) -> Tensor:
    """−( E log D(real) + E log(1 − D(fake)) ), the form of all three games, from logits (B,)."""
    return bce(real, 1).mean() + bce(fake, 0).mean()


def fool(fake: Tensor) -> Tensor:
    """−E log D(fake): the generator's side of `adversarial`, in its non-saturating form.

    Maximising −E log(1 − D(fake)), as printed, has the same fixed points and no gradient once D
    wins (Goodfellow et al. 2014, section 3); the authors' code uses this form too.
    """
    return bce(fake, 1).mean()


def l_mse(x: Tensor, x_hat: Tensor) -> Tensor:
    """‖x − De(En(x + n))‖², as the mean over batch and pixels: λ = 10 is meant for the mean."""
    return (x - x_hat).square().mean()


def l_latent(D_l_s: Tensor, D_l_z: Tensor) -> Tensor:
    """−( E_s log D_l(s) + E_x log(1 − D_l(En(x + n))) ); minimised by D_l, maximised by En."""
    return adversarial(real=D_l_s, fake=D_l_z)


def l_visual(D_v_x: Tensor, D_v_s: Tensor) -> Tensor:
    """−( E_x log D_v(x) + E_s log(1 − D_v(De(s))) ); minimised by D_v, maximised by De."""
    return adversarial(real=D_v_x, fake=D_v_s)


def l_classifier(C_x: Tensor, C_s: Tensor) -> Tensor:
    """−( E_x log C(De(En(x + n))) + E_s log(1 − C(De(s))) ); minimised by C, in no game."""
    return adversarial(real=C_x, fake=C_s)


def l_mining(C_s: Tensor) -> Tensor:
    """−Σ log(1 − C(De(s))): a sum, so that the gradient of s does not fade as B grows."""
    return bce(C_s, 0).sum()
