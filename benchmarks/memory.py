"""Peak memory of a few training steps, or of scoring, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from pyocgan.replay import WARM_UP

from .scoring import fitted, folder_of
from .work import YARDSTICKS, Scale, our_step, resolve_device, yardstick_step

STEPS = 3
MIB = 2**20
ROOT = Path(__file__).parent.parent


def peaks(kind: str, scale: Scale) -> dict[str, float]:
    """Peak memory of `kind` in MiB, at the start and in all.

    "ours" and the yardsticks train, "scoring" scores an array, "folder" a folder of PNG files.
    """
    request = json.dumps({"kind": kind, **asdict(scale)})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", request],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def _work(kind: str, scale: Scale) -> Iterator[Callable[[], object]]:
    if kind == "scoring":
        yield partial(fitted(scale).novelty_scores, scale.images(scale.scored))
    elif kind == "folder":
        with folder_of(scale.images(scale.scored)) as folder:
            yield partial(fitted(scale).novelty_scores, folder)
    elif kind in YARDSTICKS:
        yield yardstick_step(scale, kind)
    else:
        yield our_step(scale, iterations=STEPS + WARM_UP + 1)


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def main() -> None:
    """Print the peaks of the work that the argument (JSON) describes."""
    request = json.loads(sys.argv[1])
    with _work(request.pop("kind"), scale := Scale(**request)) as work:
        device = resolve_device(scale.device)
        before = _peak(device)
        for _ in range(STEPS):
            work()
        print(json.dumps({"before": before, "peak": _peak(device)}))


if __name__ == "__main__":
    main()
