"""Each score of a batch of images, and where it comes from, in one short function.

The paper scores by the squared error of pixels alone (section 3.3). The others compare what the
networks make of an image, or the image itself, with normal images. `evidence` adds them up.
Letters: B batch, K channels, H W pixels, h w cells, d latent size, S sides, V views,
F of T's features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from . import flaws, projection, scoring, turns
from .config import Config, Score
from .gradients import (
    gradient_error,
    gradient_error_maps,
    gradient_maps,
    spread,
    spread_patches,
)
from .gradients import patches as gradient_patches
from .networks import Networks

PATCHES_AT_ONCE = 1024  # bounds memory, changes no score
ODDEST = 0.01  # share of an image's patches

USUAL = "usual_patch_distance"  # (h, w), of validation images, beside the features

Normal = Mapping[str, Tensor]  # features of normal images, by space


@dataclass(frozen=True)
class Batch:
    """Images, and each thing that scores look at, computed when first asked for."""

    image: Tensor  # (B, K, H, W) in [-1, 1]
    x: Tensor  # the same as the networks see them, of `config.network_side` at most
    nets: Networks
    T: turns.TurnClassifier | None
    P: flaws.FlawFinder | None
    normal: Normal
    config: Config

    @cached_property
    def codes(self) -> Tensor:
        """En(x), (B, d) in (-1, 1)."""
        return scoring.encode(self.nets, self.x, self.config)

    @cached_property
    def x_hat(self) -> Tensor:
        """De(En(x)), as x."""
        return self.nets.De(self.codes)

    @cached_property
    def gradients(self) -> Tensor:
        """Oriented gradients, (B, 4·K, h, w), of unit norm."""
        return gradient_maps(self.x, self.config)

    @cached_property
    def patches(self) -> Tensor:
        """What stands in small patches of the whole image, (B, D, h, w)."""
        return gradient_patches(self.image)

    @cached_property
    def flaws(self) -> Tensor:
        """P's logits of a flaw in each cell of the whole image, (B, h, w)."""
        assert self.P is not None
        return self.P(self.image)

    @cached_property
    def seen(self) -> Tensor:
        """What T sees in the positions of the image's middle, (S, V, B, F)."""
        assert self.T is not None
        x = turns.middle(self.x, self.config.turn_middle)
        return turns.seen(self.T, x, mirror=self.config.turn_sides == 2)

    @property
    def views(self) -> Tensor:
        """The same as one vector an image, (B, V·F)."""
        return turns.side_by_side(self.seen)


# ---- each score, (B,) ≥ 0 ------------------------------------------------------------------------


def error(batch: Batch) -> Tensor:
    """‖x − De(En(x))‖², the paper's score (section 3.3)."""
    return scoring.pixel_error(batch.x, batch.x_hat)


def gradients(batch: Batch) -> Tensor:
    """The error of the same reconstruction in oriented gradients."""
    return gradient_error(batch.x, batch.x_hat, batch.config)


def neighbours(batch: Batch) -> Tensor:
    """Distance of oriented gradients to the plane of the nearest normal images."""
    return _distance(batch.gradients, batch.normal["gradients"])


def windows(batch: Batch) -> Tensor:
    """The same in four overlapping windows, each with neighbours of its own; the mean.

    So different parts of an image may be like different normal images, and what one part says is
    not drowned by the rest.
    """
    pairs = zip(corners(batch.gradients), corners(batch.normal["gradients"]), strict=True)
    return torch.stack([_distance(part, normal_part) for part, normal_part in pairs]).mean(0)


def completion(batch: Batch) -> Tensor:
    """Distance of the image to what normal images predict from a part of it.

    For each of four horizontal bands: find the normal images whose band is nearest, write the band
    as a mixture of them, and compare the rest of the image with the same mixture of their rests.
    Parts may each be those of a normal image, and not go together. The mean over bands. As images
    are completed from others by Zavrtanik et al., "Reconstruction by inpainting for visual anomaly
    detection", Pattern Recognition 2021, where a network does it, from more than it fills in.
    """
    lefts = [left.square().sum((1, 2, 3)).sqrt() for _, left in _unexpected(batch)]
    return torch.stack(lefts).mean(0)


def patches(batch: Batch) -> Tensor:
    """Distance of the oddest patches to the nearest normal one, wherever in an image that is.

    The mean of the hundredth of patches that are farthest, each divided by what is usual at its
    place in validation images, so that the edges of an object do not outshine its defects. As Roth
    et al., "Towards total recall in industrial anomaly detection", CVPR 2022, who take the
    farthest one, in pretrained features.
    """
    return oddest(_beside_usual(batch))


def oddest(distances: Tensor) -> Tensor:
    """Return the mean of the largest hundredth of each image, one at least: (B, h, w) → (B,)."""
    each = distances.flatten(1)
    count = max(1, round(ODDEST * each.shape[1]))
    return each.topk(count).values.mean(1)


def flawed(batch: Batch) -> Tensor:
    """How sure P is of its three surest cells that they are part of a flaw."""
    return flaws.surest(batch.flaws)


def codes(batch: Batch) -> Tensor:
    """Distance of the code En(x) to the plane of the nearest normal codes, in the latent cube."""
    return _distance(batch.codes, batch.normal["codes"])


def surprise(batch: Batch) -> Tensor:
    """How little the image's positions look like the class's to T."""
    assert batch.T is not None
    return turns.surprise(batch.T, batch.seen)


def views(batch: Batch) -> Tensor:
    """Distance to the plane of the nearest normal images in what T sees in all positions.

    Features of a network trained to tell an image's positions apart, in all of them: Tack et al.,
    "CSI: novelty detection via contrastive learning on distributionally shifted instances",
    NeurIPS 2020, who use cosine similarity.
    """
    return _distance(batch.views, batch.normal["views"])


# ---- where, (B, H, W) ≥ 0 ------------------------------------------------------------------------


def error_map(batch: Batch) -> Tensor:
    """The squared error of each pixel, averaged over channels; its mean is the score."""
    return _enlarged((batch.x - batch.x_hat).square().mean(1), batch)


def gradients_map(batch: Batch) -> Tensor:
    """What surrounds each pixel adds to the error in oriented gradients; sums to the score."""
    return _spread(gradient_error_maps(batch.x, batch.x_hat, batch.config), batch)


def neighbours_map(batch: Batch) -> Tensor:
    """What surrounds each pixel adds to the squared distance; sums to the score's square."""
    return _spread(_residual_map(batch.gradients, batch.normal["gradients"]), batch)


def windows_map(batch: Batch) -> Tensor:
    """The same by windows, averaged where they overlap: no sum of it is the score."""
    found = torch.zeros_like(batch.gradients[:, 0])
    covering = torch.zeros_like(found)
    pairs = zip(corners(batch.gradients), corners(batch.normal["gradients"]), strict=True)
    places = zip(corners(found[:, None]), corners(covering[:, None]), strict=True)
    for (part, normal_part), (place, count) in zip(pairs, places, strict=True):
        place += _residual_map(part, normal_part)[:, None]
        count += 1
    return _spread(found / covering, batch)


def completion_map(batch: Batch) -> Tensor:
    """What surrounds each pixel adds to the squares, averaged over bands that lie elsewhere."""
    found = torch.zeros_like(batch.gradients[:, 0])
    expected = torch.zeros_like(found[0])
    for rest, left in _unexpected(batch):
        found[:, rest] += left.square().sum(1)
        expected[rest] += 1
    return _spread(found / expected, batch)


def patches_map(batch: Batch) -> Tensor:
    """The distance of the patch about each pixel to the nearest normal one, beside the usual."""
    return spread_patches(_beside_usual(batch), _size(batch.image))


def flaws_map(batch: Batch) -> Tensor:
    """How sure P is that the cell about each pixel is part of a flaw."""
    return flaws.spread(batch.flaws, _size(batch.image))


@dataclass(frozen=True)
class Kind:
    """What a score says of each image; where in it, if it says that; and what it compares with."""

    score: Callable[[Batch], Tensor]  # (B,) ≥ 0
    map: Callable[[Batch], Tensor] | None = None  # (B, H, W) ≥ 0
    space: str | None = None  # the features of normal images that it needs, of `Batch.normal`


# The score that says best where an image is novel comes first.
SCORES: dict[Score, Kind] = {
    "flaws": Kind(flawed, flaws_map),
    "patches": Kind(patches, patches_map, "patches"),
    "windows": Kind(windows, windows_map, "gradients"),
    "completion": Kind(completion, completion_map, "gradients"),
    "neighbours": Kind(neighbours, neighbours_map, "gradients"),
    "gradients": Kind(gradients, gradients_map),
    "error": Kind(error, error_map),
    "codes": Kind(codes, space="codes"),
    "turns": Kind(surprise),
    "views": Kind(views, space="views"),
}


def patch_distances(batch: Batch) -> Tensor:
    """Return the distance of every patch to the nearest normal one: (B, h, w)."""
    b, _, h, w = batch.patches.shape
    features = batch.patches.movedim(1, 3).flatten(0, 2)
    phi, known = projection.centred(features, batch.normal["patches"])
    found = []
    for part in torch.split(phi, PATCHES_AT_ONCE):
        nearest = projection.apart(part, known).argmin(1)
        found.append((part - known[nearest]).square().sum(1).sqrt())
    return torch.cat(found).view(b, h, w)


def _spread(cells: Tensor, batch: Batch) -> Tensor:
    """Share out what stands in cells of what the networks see among the image's pixels."""
    share = batch.x[0].numel() / batch.image[0].numel()  # so that the sum stays what it is
    return share * _enlarged(spread(cells, _size(batch.x)), batch)


def _enlarged(maps: Tensor, batch: Batch) -> Tensor:
    """Return what is said of each pixel that the networks see, (B, h, w), for the image's."""
    size = _size(batch.image)
    if maps.shape[1:] == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear")[:, 0]


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _beside_usual(batch: Batch) -> Tensor:
    """Return `patch_distances` divided by what is usual at their places: (B, h, w)."""
    return patch_distances(batch) / batch.normal[USUAL]


def _unexpected(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each band, a mask of the other rows of cells, and what is unexpected in these.

    (h,) bool; and (B, C, rows, w), the part of gradients (B, C, h, w) that the band does not lead
    one to expect.
    """
    maps, known = batch.gradients, batch.normal["gradients"]
    for band in bands(maps.shape[2]):
        rest = torch.ones(maps.shape[2], dtype=torch.bool, device=maps.device)
        rest[band] = False
        pieces = maps[:, :, band], maps[:, :, rest], known[:, :, band], known[:, :, rest]
        left = projection.unexpected(*(piece.flatten(1) for piece in pieces))
        yield rest, left.view_as(pieces[1])


def _residual_map(maps: Tensor, normal: Tensor) -> Tensor:
    """Return the squared residual of each cell: (B, h, w) of maps (B, C, h, w)."""
    left = projection.residual(maps.flatten(1), normal.flatten(1))
    return left.view(maps.shape).square().sum(1)


def corners(maps: Tensor) -> list[Tensor]:
    """Return the four windows of maps (B, C, h, w) of ¾ of each side, one in every corner."""
    h, w = (max(1, side * 3 // 4) for side in maps.shape[2:])
    return [maps[:, :, rows, columns] for rows in _ends(h) for columns in _ends(w)]


def _ends(length: int) -> tuple[slice, slice]:
    return slice(length), slice(-length, None)


def bands(h: int) -> list[slice]:
    """Return four bands of a quarter of h rows, from top to bottom; they may overlap by a row."""
    height = -(-h // 4)
    tops = (round(i * (h - height) / 3) for i in range(4))
    return [slice(top, top + height) for top in tops]


def _distance(phi: Tensor, normal: Tensor) -> Tensor:
    return projection.distance(phi.flatten(1), normal.flatten(1))
