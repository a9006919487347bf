"""How far features lie from the plane through the nearest normal ones.

The plain distance to a neighbour also counts what changes within the class. Between the nearest
normal images lies what the class can be nearby: what is left after projecting onto their plane says
more. Vincent and Bengio, "K-local hyperplane and convex distance nearest neighbor algorithms",
NIPS 2001, with their penalty on long ways along the plane.
Letters: B batch, n normal images, D and E features, k neighbours, c candidates for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

NEIGHBOURS = 20  # k, chosen with RIDGE on the development split, see docs/research.md
SPARE = 4  # further candidates for neighbours, more than rounding ever brings in
AT_ONCE = 64  # images whose candidates are multiplied together: bounds memory, changes nothing
RIDGE = 1.0  # penalty on the coordinates in the plane, in mean squared lengths of its directions
TINY = 1e-12  # where all neighbours are copies of one image


@dataclass(frozen=True)
class Foot:
    """The point of the plane that is nearest to an image's features, a mixture of neighbours."""

    rows: Tensor  # (B, k), which of the normal images
    shares: Tensor  # (B, k), sums of 1
    distance: Tensor  # (B,) ≥ 0


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
    return phi - _mixed(_foot(phi, normal), normal)


def unexpected(part: Tensor, rest: Tensor, normal_part: Tensor, normal_rest: Tensor) -> Tensor:
    """Return what of the rest of images does not follow from a part of them: (B, E).

    The part is projected onto the plane of its neighbours, (B, D) among (n, D), which makes it a
    mixture of them; `rest` (B, E) less the same mixture of the rests of those images, (n, E).
    """
    return rest - _mixed(_foot(*centred(part, normal_part)), normal_rest)


def distance(phi: Tensor, normal: Tensor) -> Tensor:
    """Return the length of the residual: (B,) ≥ 0."""
    return _foot(*centred(phi, normal)).distance


def centred(phi: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return both less the mean of the normal ones, in the precision of the first.

    No distance to a plane changes by it, and where all images are nearly one, as a fixed camera's,
    their differences would drown in the rounding of what they share.
    """
    normal = normal.to(phi.dtype)
    mean = normal.mean(0)
    return phi - mean, normal - mean


def apart(phi: Tensor, normal: Tensor) -> Tensor:
    """Return ½‖φ − a‖² less ½‖φ‖² for each normal a, which ranks them as distances do: (B, n)."""
    return torch.addmm(normal.square().sum(1) / 2, phi, normal.mT, alpha=-1)


def _foot(phi: Tensor, normal: Tensor) -> Foot:
    """Project features onto the plane of the k nearest normal ones, of all where there are fewer.

    With ū the neighbours' mean, v what they are away from it, and w minimising
    ‖φ − ū − w·v‖² + ridge·‖w‖², the point is ū + w·v.
    """
    rows, products = _neighbours(phi, normal)
    mean = products[:, :, 1:].mean(2)
    products = products - mean[:, None] - mean[:, :, None] + mean[:, None, 1:].mean(2, keepdim=True)
    left_left, left_v, v_v = products[:, 0, 0], products[:, 0, 1:], products[:, 1:, 1:]
    ridge = RIDGE * v_v.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) + TINY
    w = torch.linalg.solve(v_v + torch.diag_embed(ridge.expand_as(left_v)), left_v)
    squared = left_left - (w * left_v).sum(1) - (ridge * w.square()).sum(1)
    shares = w + (1 - w.sum(1, keepdim=True)) / w.shape[1]
    return Foot(rows, shares, squared.clamp(min=0).sqrt())


def _neighbours(phi: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rows of the k nearest normal images, and multiply φ and these with each other.

    (B, k), and (B, 1 + k, 1 + k), all less one of them, so that little is lost by rounding. A
    product of matrices finds candidates, and its rounding depends on the batch: what they are away
    from the first decides among them, so that an image has the same neighbours alone and among
    others.
    """
    k = min(NEIGHBOURS, len(normal))
    candidates = apart(phi, normal).topk(min(k + SPARE, len(normal)), largest=False).indices
    found = []
    for some, rows in zip(phi.split(AT_ONCE), candidates.split(AT_ONCE), strict=True):
        away = torch.cat([some[:, None], _rows(normal, rows)], 1)
        away -= away[:, 1:2].clone()
        found.append(away @ away.mT)
    products = torch.cat(found)  # (B, 1 + c, 1 + c)
    squares = products.diagonal(dim1=1, dim2=2)
    nearer = (squares - 2 * products[:, 0])[:, 1:]  # ‖φ − a‖² less ‖φ‖², both less the first
    chosen = nearer.topk(k, largest=False).indices
    kept = F.pad(chosen + 1, (1, 0))  # φ stands before the candidates
    images = torch.arange(len(phi), device=phi.device)[:, None, None]
    return candidates.gather(1, chosen), products[images, kept[:, :, None], kept[:, None]]


def _mixed(foot: Foot, of: Tensor) -> Tensor:
    """Return the mixture of normal images as each `Foot` has it: of (n, E), (B, E)."""
    return (foot.shares[:, None] @ _rows(of, foot.rows).to(foot.shares.dtype))[:, 0]


def _rows(of: Tensor, rows: Tensor) -> Tensor:
    """Return the same as `of[rows]`, sooner: (n, E), (B, k) → (B, k, E)."""
    return of.index_select(0, rows.flatten()).view(*rows.shape, -1)
