"""Epochs, checkpoints and exact resume around `algorithm.iterate`; knows no loss.

`Training.run` yields a `Progress` after every iteration, when everything is consistent: whoever
drives it may draw it, save it, or stop.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from . import algorithm, scoring
from .config import Config
from .convolution import transforms_kept
from .data.rule import averaged_down
from .devices import open_fabric, outer_autocast_off, settle_precision
from .errors import ModelError, OcganError, UsageError
from .evidence import Evidence
from .files import write_bytes
from .images import to_range
from .networks import Networks, build
from .replay import Replay
from .score_training import ScoreTraining

Step = TypeVar("Step")

CHECKPOINT_FORMAT = 1
STARTING_OVER = "delete it, or start over (--restart of ocgan train, resume=False)"


@dataclass(frozen=True)
class Record:
    """What one epoch came to; one line of the log."""

    epoch: int  # from 1
    losses: dict[str, float]  # means over the epoch's iterations
    validation_error: float  # mean squared error of the in-class validation images
    best: bool  # whether this is the lowest validation error so far
    mining: bool
    seconds: float  # of training, since the start, interruptions left out


@dataclass(frozen=True)
class Progress:
    """Where training stands after an iteration. `record` comes with an epoch's last one."""

    epoch: int  # from 1
    epochs: int
    iteration: int  # in this epoch, from 1; 0 where nothing of it is done
    iterations: int  # per epoch
    record: Record | None
    history: tuple[Record, ...]  # all finished epochs


@dataclass
class _State:
    """What a checkpoint holds beside tensors; `iteration` is the next one of `epoch` (from 0)."""

    epoch: int = 0
    iteration: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_error: float | None = None
    records: list[Record] = field(default_factory=list)


class Training:
    """One model in training.

    Parameters
    ----------
    config
        Settings; see `pyocgan.config.Config`.
    train, validation
        Normal images, uint8 (N, H, W, K). The networks see them averaged down to
        `config.network_side`, P as they are. Validation images choose the checkpoint: the networks
        of the epoch with the lowest reconstruction error are kept in `best`.
    seed
        Draws initial weights, noise, latent samples and the order of the images.
    device, precision
        One of `DEVICES` and `PRECISIONS` of `devices`.
    """

    def __init__(
        self,
        config: Config,
        train: NDArray[np.uint8],
        validation: NDArray[np.uint8],
        *,
        seed: int,
        device: object = "auto",
        precision: str = "auto",
    ) -> None:
        self.config, self.seed = config, seed
        self.validation = averaged_down(validation, config.network_side)
        small = averaged_down(train, config.network_side)
        self.batch_size = min(config.batch_size, len(train))
        # Images that fill no whole batch are left out of an epoch; each has another order.
        self.iterations = max(len(train) // self.batch_size, config.least_iterations)
        self.fabric = fabric = open_fabric(device, precision)
        self.precision = settle_precision(precision)
        seeds = np.random.SeedSequence(seed).generate_state(3)
        _, height, width, channels = small.shape
        draw = torch.Generator().manual_seed(int(seeds[0]))
        self.nets = build(config, channels, (height, width), draw).to(fabric.device)
        if self.device.type == "cuda":  # whose convolutions take channels last
            self.nets.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = algorithm.build_optimizers(config, self.nets)
        self.evidence = Evidence(config, channels, (height, width), seed=int(seeds[2]))
        self.evidence.to(fabric.device)
        self.generator = torch.Generator(fabric.device).manual_seed(int(seeds[1]))
        self.images = torch.from_numpy(small).to(fabric.device)
        self.score_training = ScoreTraining(self.evidence, train, self.images)
        self.best: dict[str, Tensor] = {}
        self.sums: dict[str, Tensor] = {}  # of the losses, since the epoch began
        self._state = _State()
        self._shuffled: tuple[int, list[Tensor]] | None = None
        self._replay: Replay | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.fabric.device

    @property
    def seconds(self) -> float:
        """Time spent in training, without interruptions."""
        return self._state.seconds

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, of the networks in `best`; 0 before the first one ends."""
        return self._state.best_epoch

    @property
    def steps(self) -> int:
        """Iterations done, of all epochs."""
        return self._state.epoch * self.iterations + self._state.iteration

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self._state.epoch == self.config.epochs

    def run(self) -> Iterator[Progress]:
        """Train from where things stand to the last epoch, yielding after every iteration."""
        try:
            while not self.finished:
                started = time.perf_counter()
                self._iterate()
                yield self.progress(self.count(time.perf_counter() - started))
        finally:
            self._replay = None  # it refers to this model, and would keep its memory

    def restore_best(self) -> Networks:
        """Make the networks those of the epoch with the lowest validation error; return them.

        At the end: those of the last epoch are gone. T and P stay those of the last epoch.
        """
        self.nets.load_state_dict(self.best)
        return self.nets.eval()

    def save(self, path: Path, identity: str) -> None:
        """Write a checkpoint, atomically. `identity` names data and settings; `load` checks it."""
        tensors = {f"nets/{k}": v for k, v in self.nets.state_dict().items()}
        tensors |= {f"evidence/{k}": v for k, v in self.evidence.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        tensors |= {f"sums/{k}": v for k, v in self.sums.items()}
        tensors |= {"generator": self.generator.get_state()} | self._optimizer_tensors()
        metadata = {
            "format": str(CHECKPOINT_FORMAT),
            "identity": identity,
            "device": self.device.type,
            "state": json.dumps(asdict(self._state)),
        }
        # In memory first: safetensors' own writer has an error of its own for a full disk.
        write_bytes(path, save({k: v.contiguous() for k, v in tensors.items()}, metadata))

    def load(self, path: Path, identity: str) -> None:
        """Go on from a checkpoint exactly where `save` left it.

        Raises
        ------
        ModelError
            When the file is damaged or written by another version.
        UsageError
            When it belongs to other images or other settings, or was made on another device.
        """
        tensors, metadata = _read_checkpoint(path)
        if metadata.get("identity") != identity:
            raise UsageError(
                f"the checkpoint {str(path)!r} belongs to other images or settings: "
                f"train into another folder, or {STARTING_OVER}"
            )
        device = metadata.get("device", self.device.type)
        if device != self.device.type:  # whose random numbers are others
            raise UsageError(
                f"the checkpoint {str(path)!r} was made on {device} and cannot go on on "
                f"{self.device.type}: train on {device}, or {STARTING_OVER}"
            )
        try:
            self._restore(tensors, metadata)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            kind = type(error).__name__
            raise ModelError(
                f"the checkpoint {str(path)!r} is damaged ({kind}): {STARTING_OVER}"
            ) from None

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.nets.load_state_dict(_under("nets/", tensors))
        self.evidence.restore(_under("evidence/", tensors))
        self.best, self.sums = (
            {name: tensor.to(self.device) for name, tensor in _under(part, tensors).items()}
            for part in ("best/", "sums/")
        )
        self.generator.set_state(tensors["generator"])
        self._load_optimizers(tensors)
        self._replay = None  # of moments that are no more
        state = json.loads(metadata["state"])
        state["records"] = [Record(**record) for record in state["records"]]
        self._state = _State(**state)

    def _order(self, epoch: int, turn_pass: int = 0) -> NDArray[np.int64]:
        """The order of an epoch's images, a function of seed, epoch and T's pass alone.

        All images in turn, as often as it takes. All networks see the first of T's passes.
        """
        rng = np.random.default_rng([self.seed, epoch, *([turn_pass] if turn_pass else [])])
        passes = -(-self.iterations * self.batch_size // len(self.images))
        return np.concatenate([rng.permutation(len(self.images)) for _ in range(passes)])

    def next_batch(self, turn_pass: int = 0) -> Tensor:
        """Return the images of the next iteration: (B, K, H, W) in [-1, 1]."""
        epoch, first = self._state.epoch, self._state.iteration * self.batch_size
        if self._shuffled is None or self._shuffled[0] != epoch:
            orders = [self._order(epoch, number) for number in range(self.config.turn_passes)]
            self._shuffled = epoch, [torch.from_numpy(order).to(self.device) for order in orders]
        rows = self._shuffled[1][turn_pass][first : first + self.batch_size]
        return to_range(self.images[rows])

    def _iterate(self) -> None:
        x = self.next_batch()
        if self.device.type == "cuda":
            if self._replay is None:
                self._replay = Replay(self.device, [self.update], [self.generator])
            (losses,) = self._replay([x], key=self.mining)
        else:
            losses = self.update(x)
        add_losses(self.sums, losses | self.train_scores(x))

    def update(self, x: Tensor) -> dict[str, Tensor]:
        """Do Algorithm 1's four updates on images (B, K, H, W) in [-1, 1]; return its losses."""
        self.nets.train()
        with self.arithmetic():
            return algorithm.iterate(
                self.nets,
                self.optimizers,
                x,
                self.config,
                generator=self.generator,
                mining=self.mining,
            )

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Set the precision, and keep transformed weights: no formula need know of either.

        Nor of gradients that the caller has switched off, and of an autocast of the caller's.
        """
        with torch.enable_grad(), outer_autocast_off(), self.fabric.autocast(), transforms_kept():
            yield

    def count(self, seconds: float) -> Record | None:
        """Take note of an iteration that has been done; give the epoch's record if it ends it."""
        self._state.iteration += 1
        self._state.seconds += seconds
        return self._end_epoch() if self._state.iteration == self.iterations else None

    def train_scores(self, x: Tensor) -> dict[str, Tensor]:
        """Step T, on the images and those of its other passes, and P; return mean losses."""
        further = (self.next_batch(number) for number in range(1, self.config.turn_passes))
        with self.arithmetic():
            return self.score_training.update(
                itertools.chain([x], further),
                self.steps,
                self.iterations * self.config.epochs,
                self.generator,
            )

    @property
    def mining(self) -> bool:
        """Whether the warm-up is over, and the stage mines."""
        return self.config.uses_mining and self._state.epoch >= self.config.mining_start

    def _end_epoch(self) -> Record:
        state, started = self._state, time.perf_counter()
        error = float(scoring.reconstruction_errors(self.nets, self.validation, self.config).mean())
        if not math.isfinite(error):
            raise OcganError(
                f"training diverged in epoch {state.epoch + 1}: the validation error is {error}; "
                f"a learning_rate below {self.config.learning_rate:g} may help"
            )
        best = state.best_error is None or error < state.best_error
        if best:
            state.best_epoch, state.best_error = state.epoch + 1, error
            self.best = {k: v.detach().clone() for k, v in self.nets.state_dict().items()}
        losses = {name: float(total) / self.iterations for name, total in self.sums.items()}
        state.seconds += time.perf_counter() - started
        record = Record(state.epoch + 1, losses, error, best, self.mining, state.seconds)
        state.records.append(record)
        state.epoch, state.iteration, self.sums = state.epoch + 1, 0, {}
        return record

    def progress(self, record: Record | None = None) -> Progress:
        """Say where training stands; `record` is that of an epoch which ended just now."""
        state, ended = self._state, record is not None or self.finished
        return Progress(
            epoch=record.epoch if record else min(state.epoch + 1, self.config.epochs),
            epochs=self.config.epochs,
            iteration=self.iterations if ended else state.iteration,
            iterations=self.iterations,
            record=record,
            history=tuple(state.records),
        )

    def _named_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return self.optimizers | self.score_training.optimizers

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimizer/{name}/{index}/{key}": value
            for name, optimizer in self._named_optimizers().items()
            for index, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }

    def _load_optimizers(self, tensors: dict[str, Tensor]) -> None:
        for name, optimizer in self._named_optimizers().items():
            content = optimizer.state_dict()
            for path, value in _under(f"optimizer/{name}/", tensors).items():
                index, key = path.split("/")
                content["state"].setdefault(int(index), {})[key] = value
            optimizer.load_state_dict(content)
            for weight, state in optimizer.state.items():
                for key, value in state.items():
                    if value.shape == weight.shape:  # and so are its places in memory
                        state[key] = torch.empty_like(weight).copy_(value)


def add_losses(sums: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Add an iteration's losses to their sums, on the device: nobody waits for it."""
    for name, loss in losses.items():
        sums[name] = sums.get(name, 0) + loss.float()  # bfloat16 would lose what is small


def saving(steps: Iterator[Step], save: Callable[[], None], every_seconds: float) -> Iterator[Step]:
    """Yield `steps`; save now and then, at the end, and when the caller closes the generator."""
    saved = time.monotonic()
    try:
        for step in steps:
            yield step
            if time.monotonic() - saved >= every_seconds:
                save()
                saved = time.monotonic()
    except GeneratorExit:
        save()
        raise
    save()  # what comes after training may be interrupted, too


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot read the checkpoint {str(path)!r} ({error}): {STARTING_OVER}"
        ) from None
    if metadata.get("format") != str(CHECKPOINT_FORMAT):
        raise ModelError(
            f"the checkpoint {str(path)!r} has format {metadata.get('format')!r}, this version "
            f"reads {CHECKPOINT_FORMAT!r}: finish it with the version that wrote it"
        )
    return tensors, metadata


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
