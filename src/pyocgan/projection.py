"""How far features lie from the plane through the nearest normal ones.

The plain distance to a neighbour also counts what changes within the class. Between the nearest
normal images lies what the class can be nearby: what is left after projecting onto their plane says
more. Vincent and Bengio, "K-local hyperplane and convex distance nearest neighbor algorithms",
NIPS 2001, with their penalty on long ways along the plane.
Letters: B batch, n normal images, D and E features, k neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 20  # k, chosen with RIDGE on the development split, see docs/research.md
SPARE = 4  # further candidates for neighbours, more than rounding ever brings in
AT_ONCE = 64  # images whose candidates are compared together: bounds memory, changes nothing
RIDGE = 1.0  # penalty on the coordinates in the plane, in mean squared lengths of its directions
TINY = 1e-12  # where all neighbours are copies of one image


def residual(phi: Tensor, normal: Tensor) -> Tensor:
    """Return what is left of features after projecting them onto their neighbours' plane: (B, D).

    Parameters
    ----------
    phi
        Features of images, (B, D).
    normal
        Features of normal images, (n, D), n ≥ 1; of another precision perhaps.
    """
    phi, normal = centred(phi, normal)
    near = normal[nearest(phi, normal)]
    return phi - _mixed(_shares(phi, near), near)


def unexpected(part: Tensor, rest: Tensor, normal_part: Tensor, normal_rest: Tensor) -> Tensor:
    """Return what of the rest of images does not follow from a part of them: (B, E).

    The part is projected onto the plane of its neighbours, (B, D) among (n, D), which makes it a
    mixture of them; `rest` (B, E) less the same mixture of the rests of those images, (n, E).
    """
    part, normal_part = centred(part, normal_part)
    rows = nearest(part, normal_part)
    shares = _shares(part, normal_part[rows])
    return rest - _mixed(shares, normal_rest[rows].to(rest.dtype))


def distance(phi: Tensor, normal: Tensor) -> Tensor:
    """Return the length of the residual: (B,) ≥ 0."""
    return residual(phi, normal).square().sum(1).sqrt()


def nearest(phi: Tensor, normal: Tensor) -> Tensor:
    """Return which normal images are the k nearest, or all where there are fewer: (B, k).

    A product of matrices finds candidates, and its rounding depends on the batch: the differences
    themselves decide among them, so that an image has the same neighbours alone and among others.
    """
    k = min(NEIGHBOURS, len(normal))
    candidates = torch.cdist(phi, normal).topk(min(k + SPARE, len(normal)), largest=False).indices
    exact = [
        torch.cdist(some[:, None], normal[rows], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        for some, rows in zip(*(torch.split(t, AT_ONCE) for t in (phi, candidates)), strict=True)
    ]
    return candidates.gather(1, torch.cat(exact).topk(k, largest=False).indices)


def centred(phi: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return both less the mean of the normal ones, in the precision of the first.

    No plane minds, and where all images are nearly one, as a fixed camera's, their differences
    would drown in the rounding of what they share.
    """
    normal = normal.to(phi.dtype)
    mean = normal.mean(0)
    return phi - mean, normal - mean


def _shares(phi: Tensor, near: Tensor) -> Tensor:
    """Return of what mixture of neighbours (B, k, D) the plane's point is: (B, k), sums of 1.

    With v the neighbours less their mean v̄, and w minimising ‖φ − v̄ − w·v‖² + ridge·‖w‖², the
    point is v̄ + w·v.
    """
    mean = near.mean(1, keepdim=True)
    v, left = near - mean, phi - mean[:, 0]
    gram = v @ v.mT
    ridge = RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) + TINY
    penalised = gram + torch.diag_embed(ridge.expand(gram.shape[:2]))
    w = torch.linalg.solve(penalised, v @ left[:, :, None])[:, :, 0]
    return w + (1 - w.sum(1, keepdim=True)) / w.shape[1]


def _mixed(shares: Tensor, near: Tensor) -> Tensor:
    return (shares[:, None] @ near)[:, 0]
