"""What comes before training: images are read, and shared out by a seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .calibration import SplitCounts, split_counts
from .config import Config, check_settings, resolve
from .data import (
    ImageRule,
    Images,
    ImageSource,
    copies_note,
    dark_note,
    open_source,
    read_inferred,
)
from .data.tree import natural_key
from .errors import InputError, UsageError, listed


@dataclass(frozen=True)
class Prepared:
    """The images of one fit, shared out, and all that was settled for it."""

    seed: int
    config: Config
    rule: ImageRule
    notes: tuple[str, ...]
    oddities: tuple[str, ...]  # among these
    skipped: tuple[tuple[str, str], ...]
    split: SplitCounts
    fingerprint: str
    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    calibration: NDArray[np.uint8]
    calibrating: tuple[str, ...]  # the names of these

    def identity(self, precision: str) -> str:
        """Name images and settings, so that a checkpoint is not mistaken for another's."""
        parts = (
            self.config.to_dict(),
            self.fingerprint,
            asdict(self.split),
            self.seed,
            precision,
        )
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_to_learn(
    images: ImageSource,
    preset: str,
    settings: Mapping[str, Any] | None,
    *,
    skip_unreadable: bool,
) -> tuple[ImageRule, tuple[str, ...], Images]:
    """Read images as the settings want: by which rule, what was inferred for it, and the images."""
    known = check_settings(settings or {})
    # Channels and size decide which scores a preset has: weights for them are checked then.
    later = () if "scores" in known else ("score_weights",)
    wanted = resolve(preset, {k: v for k, v in known.items() if k not in later})
    return read_inferred(
        open_source(images, split="train"),
        wanted.image_size,
        wanted.channels,
        skip_unreadable=skip_unreadable,
    )


def share_out(
    images: Images,
    rule: ImageRule,
    notes: tuple[str, ...],
    config: Config,
    *,
    fpr: float,
    seed: int,
) -> Prepared:
    """Draw which images train, which validate and which calibrate; a copy counts once."""
    # A copy held out would look better known than any new image: rates would not hold.
    distinct = images.distinct()
    n, copies = len(distinct), copies_note(images, distinct)
    oddities = (*_classes_note(distinct), *dark_note(images))
    try:
        split = split_counts(
            n,
            validation=config.validation_fraction,
            calibration=config.calibration_fraction,
            fpr=fpr,
        )
    except InputError as error:
        raise InputError("; ".join([str(error), *copies])) from None
    order = np.random.default_rng([seed, n]).permutation(n)
    train, validation, calibration = np.split(order, np.cumsum([split.train, split.validation]))
    return Prepared(
        seed=seed,
        config=config,
        rule=rule,
        notes=(*notes, *copies, *oddities),
        oddities=oddities,
        skipped=images.skipped,
        split=split,
        fingerprint=images.fingerprint(),
        train=distinct.pixels[train],
        validation=distinct.pixels[validation],
        calibration=distinct.pixels[calibration],
        calibrating=tuple(distinct.names[row] for row in calibration),
    )


def _classes_note(images: Images) -> tuple[str, ...]:
    """Say that several classes are learned, which is seldom meant."""
    names = [] if images.labels is None else sorted({*images.labels.tolist()}, key=natural_key)
    if len(names) < 2:
        return ()
    return (
        f"all {len(names)} classes ({listed(names, 6)}) are taken for normal: --class NAME "
        "(of_class in Python) takes one",
    )


def settled_seed(random_state: object) -> int:
    """Return the seed that is given; of None or a `numpy.random.RandomState`, one that it draws."""
    if _is_drawn(random_state):
        return int(check_random_state(random_state).randint(2**31))
    return whole_number("random_state", random_state)


def whole_number(name: str, value: object) -> int:
    """Return it as Python's own, or refuse what is no whole number from 0."""
    if not isinstance(value, Integral) or value < 0:
        raise UsageError(f"{name} = {value!r} must be a whole number from 0")
    return int(value)


def check_checkpoint(checkpoint: Path, random_state: object) -> None:
    """Refuse a checkpoint that is a folder, or from which another seed would go on."""
    if _is_drawn(random_state):
        raise UsageError(
            f"random_state = {random_state!r} must be a whole number with a checkpoint: "
            "another seed would be drawn to go on from it"
        )
    if checkpoint.is_dir():
        raise UsageError(f"the checkpoint {str(checkpoint)!r} is a folder: name a file")


def _is_drawn(random_state: object) -> bool:
    return random_state is None or isinstance(random_state, np.random.RandomState)
