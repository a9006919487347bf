"""How P of `flaws` is trained: on pieces of images with flaws made up in them.

A flaw is a region in which something else stands: another piece, turned and resized; the same or
another out of focus; or in other light or another colour. None is like a particular fault, and
together they are unlike whatever the class has. The scratch-like and the round, the faint and the
plain are as in Li et al. and Zavrtanik et al. (`flaws`), who take textures of other photographs.
Letters as in `flaws`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.optim import AdamW, Optimizer

from .config import Config
from .flaws import CELL, FlawFinder, l_flaws
from .images import to_range
from .moves import half_mirrored, sampled
from .residual import set_learning_rate

PIECE = 48  # pixels of a side that P learns from at once
PIECES = 64  # in a batch
RATE = 4e-3  # highest learning rate
WEIGHT_DECAY = 0.01

# What stands in a region: each change is drawn independently, for this share of the pieces. About
# 3 in 10 pieces get no change at all, those of WHOLE included.
ELSEWHERE = 0.35  # another piece
BLURRED = 0.5
LIT = 0.4  # in other light or colour
COLOURED = 0.5  # of these, in another colour
WHOLE = 0.1  # nothing changes, whatever the others say

LARGER = 1.5  # times at most that another piece is made larger or smaller
BLUR = 1.0, 4.0  # σ, in pixels
LIGHT, COLOUR = 0.8, 0.6  # deviations of what is added, in deviations of pixels
CONTRAST = 0.3  # deviation from 1 of the factor before that
REGIONS = 2  # in a piece, which show the same
FAINTEST = 0.3  # share of something else that is mixed in at least
ALONG, ACROSS = (1.5, 18.0), (1.0, 12.0)  # half of a region's axes, in pixels
LINES = 0.35  # share of regions that are lines, of 1 to 2 pixels across
RAGGED = 0.35  # of a radius, deviation of a region's edge
SEEN = 0.04  # of the range [-1, 1]: what changes less is no flaw
FLAWED = 0.12  # share of a quarter of a cell that makes it flawed


def build_optimizer(P: FlawFinder) -> Optimizer:
    """Return what trains P: AdamW."""
    return AdamW(P.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)


def train(
    P: FlawFinder,
    optimizer: Optimizer,
    images: Tensor,
    done: Iterable[float],
    generator: torch.Generator,
    config: Config,
) -> Tensor:
    """Step P on pieces of images, uint8 (N, H, W, K); return the mean loss, ().

    Parameters
    ----------
    done
        For each step, the share of training that is over, in [0, 1]; the learning rate follows it.
    generator
        On the images' device; draws pieces and flaws.
    """
    P.train()
    losses = []
    for share in done:
        set_learning_rate(optimizer, share)
        losses.append(_update(P, optimizer, images, generator, config))
    return torch.stack(losses).mean()


def _update(
    P: FlawFinder, optimizer: Optimizer, images: Tensor, generator: torch.Generator, config: Config
) -> Tensor:
    P.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has no such fine places
        x, flawed = spoil(pieces(images, generator, mirror=config.symmetry == "mirror"), generator)
    loss = l_flaws(P, x, flawed)
    loss.backward()
    optimizer.step()
    torch.clear_autocast_cache()  # in bfloat16 the next pieces would meet the weights as they were
    return loss.detach()


def pieces(images: Tensor, generator: torch.Generator, *, mirror: bool) -> Tensor:
    """Cut `PIECES` of images, uint8 (N, H, W, K), anywhere: (B, K, h, w) in [-1, 1].

    Of whole cells, as the images are, and `PIECE` pixels a side at most; with `mirror`, half of
    them mirrored.
    """
    n, *size, _ = images.shape
    h, w = (min(PIECE, side) for side in size)
    draws = torch.rand(4, PIECES, device=images.device, generator=generator).tolist()
    room = n, size[0] - h + 1, size[1] - w + 1
    places = [[int(draw * most) for draw in row] for row, most in zip(draws, room, strict=False)]
    cut = [images[i, a : a + h, b : b + w] for i, a, b in zip(*places, strict=True)]
    x = to_range(torch.stack(cut))
    return half_mirrored(x, draws[3]) if mirror else x


def spoil(x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make flaws up in pieces (B, K, H, W) in [-1, 1], H and W whole cells.

    Returns
    -------
    x
        With flaws, in [-1, 1].
    flawed
        Whether a cell is part of one: (B, h, w) in {0, 1}.
    """
    region = torch.stack([_regions(x, generator) for _ in range(REGIONS)]).amax(0)
    strength = FAINTEST + (1 - FAINTEST) * _draw(x, generator)
    strength = strength * ~_chosen(WHOLE, x, generator)
    spoiled = torch.lerp(x, _something_else(x, generator), strength * region).clamp(-1, 1)
    changed = (spoiled - x).abs().mean(1, keepdim=True) > SEEN
    quarters = F.avg_pool2d(changed.float(), CELL // 2) > FLAWED
    return spoiled, F.max_pool2d(quarters.float(), 2)[:, 0]


def _something_else(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return what stands in flaws of pieces, as x, where something has changed at all."""
    other = torch.where(_chosen(ELSEWHERE, x, generator), _resized(x.roll(1, 0), generator), x)
    other = torch.where(_chosen(BLURRED, x, generator), _blurred(other, generator), other)
    b, k, _, _ = x.shape
    normal = partial(torch.randn, device=x.device, generator=generator)
    light, colour = LIGHT * normal(b, 1, 1, 1), COLOUR * normal(b, k, 1, 1)
    added = torch.where(_chosen(COLOURED, x, generator), colour, light) * x.std()
    lit = other * (1 + CONTRAST * normal(b, 1, 1, 1)) + added
    return torch.where(_chosen(LIT, x, generator), lit, other)


def _resized(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return pieces turned by any angle, and up to `LARGER` times larger or smaller."""
    angle = 2 * math.pi * _draw(x, generator).flatten()
    scale = LARGER ** (2 * _draw(x, generator).flatten() - 1)
    aside, down = scale * angle.cos(), scale * angle.sin()
    rows = torch.zeros(len(x), 2, 3, device=x.device)
    rows[:, 0, 0] = rows[:, 1, 1] = aside
    rows[:, 0, 1], rows[:, 1, 0] = -down, down
    return sampled(x, rows)


def _blurred(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return pieces out of focus, each blurred by a σ of its own."""
    b, k, h, w = x.shape
    least, most = BLUR
    sigma = least + (most - least) * _draw(x, generator)
    reach = min(round(3 * most), h - 1, w - 1)
    away = torch.arange(-reach, reach + 1, device=x.device)
    bell = (away / sigma).square().mul(-0.5).softmax(3).repeat_interleave(k, 0)
    y = F.pad(x, 4 * (reach,), mode="reflect").reshape(1, b * k, h + 2 * reach, w + 2 * reach)
    y = F.conv2d(F.conv2d(y, bell, groups=b * k), bell.mT, groups=b * k)
    return y.reshape(x.shape)


def _regions(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return where something else stands: (B, 1, H, W) in [0, 1], one region a piece.

    An ellipse or a line, anywhere, in any direction, with a ragged edge, sharp or soft.
    """
    b, _, h, w = x.shape
    draw = partial(_draw, x, generator)
    down = torch.arange(h, device=x.device)[:, None] - h * draw()
    right = torch.arange(w, device=x.device) - w * draw()
    angle = math.pi * draw()
    along, across = (
        right * angle.cos() + down * angle.sin(),
        down * angle.cos() - right * angle.sin(),
    )
    long, short = (least * (most / least) ** draw() for least, most in (ALONG, ACROSS))
    short = torch.where(_chosen(LINES, x, generator), 1 + draw(), short)
    noise = torch.randn(b, 1, 8, 8, device=x.device, generator=generator)
    ragged = RAGGED * F.interpolate(noise, (h, w), mode="bicubic")
    distance = ((along / long).square() + (across / short).square()).sqrt() + ragged
    softness = 0.1 + 0.6 * draw()
    return ((1 - distance) / softness + 0.5).clamp(0, 1)


def _draw(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a number in [0, 1) for each piece: (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, device=x.device, generator=generator)


def _chosen(share: float, x: Tensor, generator: torch.Generator) -> Tensor:
    """Choose a share of the pieces, at random: (B, 1, 1, 1) bool."""
    return _draw(x, generator) < share
