"""Many models trained together: each becomes what its `Training` makes of it alone.

Every model keeps its own images, order, generator, epochs, validation and checkpoint. On a GPU an
iteration of all of them is one program, recorded side by side (`replay`), so that one model fills
what another leaves idle; elsewhere they take turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from .data import ImageSource
from .detector import NoveltyDetector
from .errors import OcganError, caught
from .replay import Replay
from .training import Progress, Training, add_losses, saving


def fit_together(
    detectors: Sequence[NoveltyDetector],
    images: Sequence[ImageSource],
    *,
    checkpoints: Sequence[Path],
    checkpoint_seconds: float = 30.0,
) -> list[OcganError | None]:
    """Fit detectors together, each on images of its own.

    Each becomes what `fit` makes of it, on a GPU to rounding. Of training, `seconds_` has an equal
    share.

    Parameters
    ----------
    detectors
        On one device.
    images
        Of each detector, as for `fit`.
    checkpoints, checkpoint_seconds
        A file for each detector, as for `iter_fit`, and interchangeable with its.

    Returns
    -------
    list
        For each detector the error that it alone ended with, or None: it is fitted.
    """
    asked = zip(detectors, images, checkpoints, strict=True)
    begun = [caught(partial(detector._begin, X, path)) for detector, X, path in asked]
    ends = [one if isinstance(one, OcganError) else None for one in begun]
    fittings = {n: one for n, one in enumerate(begun) if not isinstance(one, OcganError)}
    stack = StackedTraining([training for _, training in fittings.values()])
    identities = [prepared.identity(one.precision) for prepared, one in fittings.values()]
    save = partial(stack.save, [checkpoints[n] for n in fittings], identities)
    for _ in saving(stack.run(), save, checkpoint_seconds):
        pass
    for place, (n, (prepared, training)) in enumerate(fittings.items()):
        finish = partial(detectors[n]._finish, prepared, training)
        ends[n] = stack.errors.get(place) or caught(finish)
        if ends[n] is None:
            share = sum(one.seconds for one in stack.trainings) / len(fittings)
            detectors[n].seconds_ += share - training.seconds
    return ends


class StackedTraining:
    """Models in training together; who has done all epochs leaves.

    Parameters
    ----------
    trainings
        On the same device. Each new, or as `Training.load` or any run has left it.

    Attributes
    ----------
    errors
        Training's number to the error that ended it: it diverged. The others go on.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = tuple(trainings)
        self.errors: dict[int, OcganError] = {}
        self._replay: Replay | None = None
        self._recorded: tuple[int, ...] = ()

    def run(self) -> Iterator[dict[int, Progress]]:
        """Train all to their last epoch; after every iteration, yield where each stands."""
        try:
            while left := self._unfinished():
                yield self._iterate(left)
        finally:
            self._replay = None  # it refers to these models, and would keep their memory

    def save(self, paths: Sequence[Path], identities: Sequence[str]) -> None:
        """Save each as `Training.save` does, but for those that diverged: a file a model.

        A model goes on from its file alone or among others.
        """
        for number, training in enumerate(self.trainings):
            if number not in self.errors:
                training.save(paths[number], identities[number])

    def _unfinished(self) -> tuple[int, ...]:
        numbered = enumerate(self.trainings)
        return tuple(n for n, one in numbered if not one.finished and n not in self.errors)

    def _iterate(self, numbers: tuple[int, ...]) -> dict[int, Progress]:
        """Do an iteration of each; say where those stand that have not diverged."""
        started, members = time.perf_counter(), [self.trainings[n] for n in numbers]
        batches = [training.next_batch() for training in members]
        losses = self._updated(numbers, members, batches)
        for training, x, own in zip(members, batches, losses, strict=True):
            add_losses(training.sums, own | training.train_scores(x))
        share = (time.perf_counter() - started) / len(members)
        progress: dict[int, Progress] = {}
        for number, training in zip(numbers, members, strict=True):
            try:
                progress[number] = training.progress(training.count(share))
            except OcganError as error:
                self.errors[number] = error
        return progress

    def _updated(
        self, numbers: tuple[int, ...], members: Sequence[Training], batches: Sequence[Tensor]
    ) -> list[dict[str, Tensor]]:
        """Do Algorithm 1's updates of each model; return the losses of each."""
        device = members[0].device
        if device.type != "cuda":
            return [training.update(x) for training, x in zip(members, batches, strict=True)]
        if self._replay is None or self._recorded != numbers:
            updates = [training.update for training in members]
            generators = [training.generator for training in members]
            self._replay, self._recorded = Replay(device, updates, generators), numbers
        return self._replay(batches, key=tuple(training.mining for training in members))
