"""Clocks: cases timed in turn, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch


@dataclass(frozen=True)
class Timings:
    """Seconds of each case, one figure a round; the same round at the same place in every case."""

    seconds: dict[str, list[float]]

    def median(self, case: str) -> float:
        """Median seconds of a case."""
        return median(self.seconds[case])

    def ratio(self, case: str, to: str) -> float:
        """Median over the rounds of `case`'s seconds divided by `to`'s seconds in that round."""
        pairs = zip(self.seconds[case], self.seconds[to], strict=True)
        return median(a / b for a, b in pairs)


def alternate(
    cases: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    budget: float,
    rounds: tuple[int, int] = (3, 25),
) -> Timings:
    """Time the cases in turn, round after round.

    Parameters
    ----------
    cases
        Each does the same amount of work at every call; called once before the clock runs.
    device
        Waited for before the clock is read.
    budget
        Seconds after which no further round begins.
    rounds
        Fewest and most rounds.
    """
    for case in cases.values():
        case()
    fewest, most = rounds
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    began = time.perf_counter()
    for done in range(most):
        if done >= fewest and time.perf_counter() - began > budget:
            break
        names = list(cases) if done % 2 == 0 else list(cases)[::-1]
        for name in names:
            start = now(device)
            cases[name]()
            seconds[name].append(now(device) - start)
    return Timings(seconds)


def now(device: torch.device) -> float:
    """Read the clock once the device has done everything it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
