"""Where a training step's time goes, seen from outside: hooks of networks and optimisers."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from pyocgan.training import Training

from .timing import now

PARTS = (
    "batch: uint8 to float, noise",
    "En(x + n), De(z), De(s)",
    "classifier update",
    "discriminator update",
    "mining",
    "generator update",
    "sums of the losses, yield",
)
ADAM = "of these, Adam's steps"


def parts_of_a_step(training: Training, steps: int) -> dict[str, float]:
    """Median seconds of each part of a training step.

    A part ends where the next begins: at the first call of En, the first of C, the end of the
    classifier's and of the discriminators' Adam, the next call of D_l (the generator update's
    first), the end of the generator's Adam.
    """
    watch = _Watch(training)
    run = training.run()
    next(run)
    for _ in range(steps):
        watch.start()
        next(run)
        watch.reach(len(PARTS))
    return {name: median(seconds) for name, seconds in watch.seconds.items()}


class _Watch:
    """Notes when a step reaches the end of each of `PARTS`, in their order."""

    def __init__(self, training: Training) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._device = training.device
        self._reached = len(PARTS)
        nets, optimizers = training.nets, training.optimizers
        ends = {nets.En: 1, nets.C: 2, nets.D_l: 5}
        for network, end in ends.items():
            assert network is not None
            network.register_forward_pre_hook(lambda *_, end=end: self._reach_next(end))
        ends_of_steps = {"classifier": 3, "discriminator": 4, "generator": 6}
        for side, end in ends_of_steps.items():
            optimizer = optimizers[side]
            optimizer.register_step_pre_hook(self._start_adam)
            optimizer.register_step_post_hook(lambda *_, end=end: self._end_adam(end))

    def start(self) -> None:
        """Begin a step."""
        self._reached, self._adam = 0, 0.0
        self._last = now(self._device)

    def reach(self, end: int) -> None:
        """Note the end of the part before `end`, and of the step after the last one."""
        time = now(self._device)
        self.seconds[PARTS[end - 1]].append(time - self._last)
        self._last, self._reached = time, end
        if end == len(PARTS):
            self.seconds[ADAM].append(self._adam)

    def _reach_next(self, end: int) -> None:
        if self._reached == end - 1:  # not again, and not out of order
            self.reach(end)

    def _start_adam(self, *_: Any) -> None:
        self._adam_began = now(self._device)

    def _end_adam(self, end: int) -> None:
        self._adam = getattr(self, "_adam", 0.0) + now(self._device) - self._adam_began
        self._reach_next(end)
