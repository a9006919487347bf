"""A task: which images are normal, and what a model of them is tested on. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from .data import Part, Source, Split, open_parts, open_source, protocol_1, protocol_2
from .data.source import unlabelled
from .errors import OcganError, UsageError, listed

# "dev": protocol 1 within the training images, to choose settings by; see `protocol_1`.
Protocol = Literal[1, 2, "dev"]

# The part of a data set that the tested images are drawn from.
TESTED_PART: dict[Protocol, Part] = {1: "all", 2: "test", "dev": "train"}


@dataclass(frozen=True)
class Task:
    """What a command was asked to learn, kept in the model, so that `evaluate` can test it.

    Parameters
    ----------
    source
        Path or name of a data set, as `open_source` takes it.
    normal_class
        Name or number of the normal class; None: all images are normal.
    protocol
        1 or 2 of the paper's section 4.1, or dev, protocol 1 within the training part; None: train
        on the training part, test on the test part.
    split_seed
        Seed of the draws of protocols 1 and dev.
    data_root
        Where named data sets lie; None: the default place.
    """

    source: str
    normal_class: str | None = None
    protocol: Protocol | None = None
    split_seed: int = 0
    data_root: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """Rebuild what `to_dict` returned."""
        return cls(**values)

    def training_images(self) -> Source:
        """Open the images to learn from: normal ones only."""
        if self.protocol is not None:
            return self.split.train
        source = self._open("train")
        return source if self.normal_class is None else source.of_class(self.normal_class)

    def among_training_images(self, source: Source) -> int:
        """Count the files of `source` that are among those to learn from; 0 where these are gone.

        By their paths: a copy elsewhere is not found.
        """
        if not source.is_of_files:
            return 0
        try:
            learned = self.training_images()
        except OcganError:
            return 0
        known = {os.path.realpath(path) for path in learned.files}
        return sum(os.path.realpath(path) in known for path in source.files)

    @cached_property
    def split(self) -> Split:
        """What trains, what is tested, and the truth about the latter.

        Raises
        ------
        UsageError
            When no class is named and the training part has several, or train and test are the
            same images.
        """
        if self.protocol is not None and self.protocol != 2:
            everything = self._open(TESTED_PART[self.protocol])
            name = self._normal_class(everything)
            return protocol_1(everything, name, random_state=self.split_seed)
        train, test = open_parts(self.source, data_root=self.data_root)
        return protocol_2(train, test, self._normal_class(train))

    def _normal_class(self, train: Source) -> str:
        """Return the class that was named, or the only one that trains."""
        if self.normal_class is not None:
            return self.normal_class
        if train.labels is not None and len(train.classes) == 1:
            return train.classes[0]
        raise no_class_named(train)

    def _open(self, split: Part) -> Source:
        return open_source(self.source, split=split, data_root=self.data_root)


def no_class_named(source: Source) -> UsageError:
    """Build the error for images of which nobody says which are normal."""
    if source.labels is None:
        return unlabelled(source)
    classes = listed(source.classes)
    return UsageError(f"say which class is normal: --class NAME, one of {classes}")


def absolute(source: str) -> str:
    """Make a path absolute, so that a model finds its source from anywhere; names stay."""
    try:
        path = Path(source).expanduser()
        return str(path.resolve()) if path.exists() else source
    except (OSError, RuntimeError):  # ~nobody, a name too long: opening says so
        return source
