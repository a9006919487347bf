"""Many models trained as one program: what k `Training`s do one by one, in 1/k of the operations.

Every model keeps its own images, order, generator, epochs, validation and checkpoint: its
`Training`. Only iterations are done together, all by the same `algorithm.iterate`. On a GPU they
are recorded side by side (`replay`), and nothing else changes. Elsewhere the networks are folded
into one. While they are, the networks of each `Training` are views of the folded ones, so its
validation error and its copy of the best epoch are taken as ever. The losses of a stack are
added up before the gradient is taken, and a weight has a gradient from its own model's loss alone,
so that one Adam over folded weights is each model's own Adam.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from . import algorithm
from .errors import OcganError
from .folding import fold, join, part_of, tensors
from .replay import Replay
from .training import Progress, Training, add_losses, saving


class StackedTraining:
    """Models in training together; the results equal those of training one by one, to rounding.

    An iteration is of the models that agree with the first unfinished one in settings, image size
    and batch size, and of them of those that have done the fewest; others wait. So a model with
    fewer images than others leaves the stack when its epochs are done, and one whose checkpoint is
    older catches up first.

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
        self._stack: _FoldedStack | _SideBySide | None = None

    def run(self) -> Iterator[dict[int, Progress]]:
        """Train all to their last epoch; after every iteration, yield where its models stand."""
        try:
            while chosen := self._next():
                if self._stack is None or tuple(self._stack.members) != chosen:
                    self.release()
                    members = {n: self.trainings[n] for n in chosen}
                    on_gpu = self.trainings[0].device.type == "cuda"
                    self._stack = (_SideBySide if on_gpu else _FoldedStack)(members)
                progress, errors = self._stack.iterate()
                self.errors |= errors
                yield progress
        finally:
            self.release()

    def run_with_checkpoints(
        self, paths: Sequence[Path], identities: Sequence[str], every_seconds: float
    ) -> Iterator[dict[int, Progress]]:
        """Run as `run` does, saving as `Training.run_with_checkpoints` does: a file a model.

        Whatever stack it was in, a model goes on from its file: alone, or in another stack.
        """

        def save() -> None:
            if isinstance(self._stack, _FoldedStack):
                self.release()
            for number, training in enumerate(self.trainings):
                if number not in self.errors:
                    training.save(paths[number], identities[number])

        return saving(self.run(), save, every_seconds)

    def release(self) -> None:
        """Make each `Training` whole again, as if it had come this far alone."""
        if self._stack is not None:
            self._stack.release()
            self._stack = None

    def _next(self) -> tuple[int, ...]:
        """Choose the models of the next iteration."""
        all_of_them = enumerate(self.trainings)
        left = [n for n, one in all_of_them if not one.finished and n not in self.errors]
        alike = [n for n in left if _form(self.trainings[n]) == _form(self.trainings[left[0]])]
        fewest = min((self.trainings[n].steps for n in alike), default=0)
        return tuple(n for n in alike if self.trainings[n].steps == fewest)


_Weight = tuple[Optimizer, Sequence[Optimizer], Tensor, Sequence[Tensor]]


def _form(training: Training) -> tuple[object, ...]:
    """What models must agree in to be folded; on a GPU too, so that a stack is one of a kind."""
    return training.config, training.batch_size, training.images.shape[1:], training.precision


def _stand(
    members: Mapping[int, Training], seconds: float
) -> tuple[dict[int, Progress], dict[int, OcganError]]:
    """Count an iteration that all have done; say where they stand, and which ones diverged."""
    progress: dict[int, Progress] = {}
    errors: dict[int, OcganError] = {}
    for number, training in members.items():
        try:
            progress[number] = training.progress(training.count(seconds / len(members)))
        except OcganError as error:
            errors[number] = error
    return progress, errors


class _SideBySide:
    """Models on a GPU, each as it is."""

    def __init__(self, members: Mapping[int, Training]) -> None:
        self.members = members
        trainings = members.values()
        self.replay = Replay(
            next(iter(trainings)).device,
            [one.update for one in trainings],
            [one.generator for one in trainings],
        )

    def iterate(self) -> tuple[dict[int, Progress], dict[int, OcganError]]:
        """Do an iteration of all; say where they stand, and which ones diverged."""
        started, trainings = time.perf_counter(), self.members.values()
        batches = [training.next_batch() for training in trainings]
        losses = self.replay(batches, key=tuple(training.mining for training in trainings))
        for training, x, own in zip(trainings, batches, losses, strict=True):
            add_losses(training.sums, own | training.update_scorers(x))
        return _stand(self.members, time.perf_counter() - started)

    def release(self) -> None:
        """Do nothing: every `Training` is whole at any time."""


class _FoldedStack:
    """Models that have done equally many iterations, folded."""

    def __init__(self, members: Mapping[int, Training]) -> None:
        self.members = members
        self.trainings = tuple(members.values())
        self.config, self.fabric = self.trainings[0].config, self.trainings[0].fabric
        self.nets = fold([training.nets for training in self.trainings])
        self.optimizers = algorithm.build_optimizers(self.config, self.nets)
        self.sums = self._joined_sums()
        self._masks: dict[tuple[bool, ...], bool | Tensor] = {}
        for whole, owns, whole_weight, own_weights in self._weights():
            states = [own.state[weight] for own, weight in zip(owns, own_weights, strict=True)]
            whole.state[whole_weight] = {
                key: join([state[key] for state in states]) for key in states[0]
            }
        for whole_tensor, *own_tensors in self._tensors():
            for model, own_tensor in enumerate(own_tensors):
                own_tensor.data = part_of(whole_tensor, model, len(members))

    def iterate(self) -> tuple[dict[int, Progress], dict[int, OcganError]]:
        """Do an iteration of all; say where they stand, and which ones diverged."""
        started = time.perf_counter()
        x = torch.stack([training.next_batch() for training in self.trainings])
        with self.trainings[0].arithmetic():
            losses = algorithm.iterate(
                self.nets,
                self.optimizers,
                x,
                self.config,
                generator=[training.generator for training in self.trainings],
                mining=self._mining(),
            )
        pairs = zip(self.trainings, x, strict=True)  # small, and one after another
        further = [one.update_scorers(own) for one, own in pairs]
        losses |= {name: torch.stack([own[name] for own in further]) for name in further[0]}
        add_losses(self.sums, losses)
        for model, training in enumerate(self.trainings):
            if training.ends_epoch:
                training.sums = self._own_sums(model)
                for total in self.sums.values():
                    total[model] = 0
        return _stand(self.members, time.perf_counter() - started)

    def release(self) -> None:
        """Give every model its own networks, moments and sums of losses."""
        k = len(self.trainings)
        for whole, owns, whole_weight, own_weights in self._weights():
            for model, (own, own_weight) in enumerate(zip(owns, own_weights, strict=True)):
                own.state[own_weight] = {
                    key: part_of(value, model, k).clone()
                    for key, value in whole.state[whole_weight].items()
                }
        for _, *own_tensors in self._tensors():
            for own_tensor in own_tensors:
                own_tensor.data = own_tensor.detach().clone()
        for model, training in enumerate(self.trainings):
            training.sums = self._own_sums(model)

    def _mining(self) -> bool | Tensor:
        """Say who mines: all, none, or a mask, sent to the device once."""
        who = tuple(training.mining for training in self.trainings)
        if who not in self._masks:
            mask = torch.tensor(who).view(-1, 1, 1).to(self.fabric.device)
            self._masks[who] = who[0] if len({*who}) == 1 else mask
        return self._masks[who]

    def _joined_sums(self) -> dict[str, Tensor]:
        sums = [training.sums for training in self.trainings]
        zero = torch.zeros((), device=self.fabric.device)
        names = dict.fromkeys(name for own in sums for name in own)
        return {name: torch.stack([own.get(name, zero) for own in sums]) for name in names}

    def _own_sums(self, model: int) -> dict[str, Tensor]:
        return {name: total[model].clone() for name, total in self.sums.items()}

    def _tensors(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield every weight and statistic of the whole, with those of the models."""
        networks = (self.nets, *(training.nets for training in self.trainings))
        return zip(*map(tensors, networks), strict=True)

    def _weights(self) -> Iterator[_Weight]:
        """Yield each optimiser of the whole and of the models, with each weight that it moves."""
        every = (self.optimizers, *(training.optimizers for training in self.trainings))
        for optimizers in zip(*(vars(one).values() for one in every), strict=True):
            if optimizers[0] is not None:
                groups = ([w for g in one.param_groups for w in g["params"]] for one in optimizers)
                for whole, *own in zip(*groups, strict=True):
                    yield optimizers[0], optimizers[1:], whole, own
