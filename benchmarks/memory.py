"""Peak memory of a few training steps, or of scoring, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from pyocgan.replay import WARM_UP

from .scoring import fitted
from .work import YARDSTICKS, Scale, our_step, resolve_device, yardstick_step

STEPS = 3
MIB = 2**20
ROOT = Path(__file__).parent.parent


def peaks(kind: str, scale: Scale) -> dict[str, float]:
    """Peak memory of `kind` ("ours", a yardstick, "scoring") in MiB: at the start and in all."""
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


def _work(kind: str, scale: Scale) -> Callable[[], object]:
    if kind == "scoring":
        detector, images = fitted(scale), scale.images(scale.scored)
        return lambda: detector.novelty_scores(images)
    if kind in YARDSTICKS:
        return yardstick_step(scale, kind)
    return our_step(scale, iterations=STEPS + WARM_UP + 1)


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def main() -> None:
    """Print the peaks of the work that the argument (JSON) describes."""
    request = json.loads(sys.argv[1])
    work = _work(request.pop("kind"), scale := Scale(**request))
    device = resolve_device(scale.device)
    before = _peak(device)
    for _ in range(STEPS):
        work()
    print(json.dumps({"before": before, "peak": _peak(device)}))


if __name__ == "__main__":
    main()
