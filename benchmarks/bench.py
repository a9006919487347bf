"""`make bench`: what a training step and a score cost, against yardsticks timed in turn.

Prints tables, and two lines for other programs: ``train-step-ratio`` and ``score-ratio``.
docs/performance.md says what they mean.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from pyocgan.origin import commit, environment

from . import scoring
from .memory import peaks
from .parts import ADAM, parts_of_a_step
from .timing import alternate
from .work import (
    YARDSTICKS,
    Scale,
    has_bfloat16,
    our_step,
    resolve_device,
    stacked_step,
    training,
    yardstick_step,
)

QUICK = {
    "autoencoder_width": 4,
    "classifier_width": 4,
    "visual_width": 4,
    "latent_size": 4,
    "batch_size": 8,
}
SECTIONS = ("training", "scoring", "memory", "growth")
RATIOS = ("train-step-ratio", "score-ratio")
OURS = "ours, float32"
TOGETHER = (4, 10)  # models trained as one program, on a GPU


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what was printed where `--json` says."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
    parser.add_argument("--quick", action="store_true", help="tiny networks: does it run at all?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    scale = Scale(device=options.device)
    if options.quick:
        scale = Scale(options.device, image_size=16, settings=QUICK, budget=0.0, scored=512)
    began = time.perf_counter()
    device = resolve_device(options.device)
    figures: dict[str, Any] = {"about": _about(device)}
    if "training" in options.only:
        figures |= _training(scale, device)
    if "scoring" in options.only:
        figures |= _scoring(scale, device)
    if "memory" in options.only:
        figures |= _memory(scale, quick=options.quick)
    if "growth" in options.only:
        figures |= _growth(scale, device, quick=options.quick)
    figures["seconds"] = round(time.perf_counter() - began, 1)
    print(f"\nmeasured in {figures['seconds']:.0f} s")
    for name in filter(figures.__contains__, RATIOS):
        print(f"{name} {figures[name]:.3f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _about(device: torch.device) -> dict[str, Any]:
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    threads = torch.get_num_threads()
    about = environment() | {"commit": commit(), "threads": threads, "accelerator": accelerator}
    print(f"{accelerator or about['machine']}, {threads} threads, torch {about['torch']}")
    print(f"{about['created']}, commit {about['commit']}")
    return about


def _training(scale: Scale, device: torch.device) -> dict[str, Any]:
    config = scale.config()
    size = f"{scale.image_size}×{scale.image_size}×{scale.channels}, batch {config.batch_size}"
    _title(f"Training step, {size}, mining on; seconds, and the yardsticks' divided by them")
    cases = {name: yardstick_step(scale, name) for name in YARDSTICKS}
    cases[OURS] = our_step(scale, "32-true")
    precisions = ["32-true"]
    if has_bfloat16(device):
        precisions.append("bf16-mixed")
        cases["ours, bf16-mixed"] = our_step(scale, "bf16-mixed")
    models: dict[str, int] = {}  # trained by a step, where it is not one
    if device.type == "cuda":
        for precision, count in product(precisions, TOGETHER):
            name = f"ours, {precision}, one of {count}"
            cases[name], models[name] = stacked_step(scale, precision, count), count
    timings = alternate(cases, device, budget=scale.budget)
    rows = {
        name: {"seconds": timings.median(name) / models.get(name, 1)}
        | {f"{y} / this": timings.ratio(y, name) * models.get(name, 1) for y in YARDSTICKS}
        for name in cases
    }
    _table(rows)
    rounds = len(timings.seconds[OURS])
    print(f"medians of {rounds} rounds, each case once a round")
    figures = {
        "training": rows,
        "training_rounds": timings.seconds,
        "train-step-ratio": timings.ratio("literal", OURS),
    }
    if device.type == "cuda":  # where a step is one launch, and has no parts that one could time
        return figures
    _title("Parts of our training step; milliseconds")
    seconds = parts_of_a_step(training(scale, iterations=20), 3 if scale.budget == 0 else 8)
    parts = {name: {"ms": 1000 * value} for name, value in seconds.items()}
    parts["in all"] = {"ms": sum(row["ms"] for name, row in parts.items() if name != ADAM)}
    _table(parts)
    return figures | {"parts": parts}


def _scoring(scale: Scale, device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":  # which scores 1,024 images in 3 ms: too few to tell a rate by
        scale = replace(scale, scored=8 * scale.scored)
    title = f"Scoring {scale.scored} images, batch {scoring.BATCH}; images a second"
    _title(f"{title}, and the share of the bare pass's")
    timings, count = scoring.compare(scale, device)
    rows = {
        name: {"images/s": count / timings.median(name), "share": timings.ratio(scoring.BARE, name)}
        for name in timings.seconds
    }
    _table(rows)
    ratio = timings.ratio(scoring.BARE, scoring.ARRAY)
    return {"scoring": rows, "scoring_rounds": timings.seconds, "score-ratio": ratio}


def _memory(scale: Scale, *, quick: bool) -> dict[str, Any]:
    _title("Peak memory of a process; MiB, before the first step and in all")
    many = replace(scale, scored=8 * scale.scored)
    kinds = {"ours": ("ours", scale), f"folder of {scale.scored} files": ("folder", scale)}
    if not quick:
        kinds |= {
            f"folder of {many.scored} files": ("folder", many),
            "an array": ("scoring", scale),
        }
        kinds |= {name: (name, scale) for name in YARDSTICKS}
    rows = {name: peaks(*kind) for name, kind in kinds.items()}
    _table(rows)
    return {"memory": rows}


def _growth(scale: Scale, device: torch.device, *, quick: bool) -> dict[str, Any]:
    _title("As the work grows; milliseconds for one image")
    series = {
        "training, batch {}": {n: scale.changed(batch_size=n) for n in (32, 128, 256)},
        "training, latent size {}": {n: scale.changed(latent_size=n) for n in (16, 128, 512)},
        "training, batch 32, image side {}": {
            n: scale.changed(n, batch_size=32) for n in (16, 32, 64)
        },
    }
    points = 1 if quick else 3
    rows: dict[str, dict[str, float]] = {}
    for label, scales in series.items():
        kept = {label.format(n): one for n, one in list(scales.items())[:points]}
        steps = {name: our_step(one, iterations=40) for name, one in kept.items()}
        timings = alternate(steps, device, budget=scale.budget / 4)
        for name, one in kept.items():
            rows[name] = {"ms": 1000 * timings.median(name) / one.config().batch_size}
    counts = {f"scoring, {n} images": n for n in (256, 1024, 2048)[:points]}
    timings = scoring.by_number(scale, device, counts)
    rows |= {name: {"ms": 1000 * timings.median(name) / n} for name, n in counts.items()}
    _table(rows)
    return {"growth": rows}


def _title(text: str) -> None:
    print(f"\n{text}")


def _table(rows: dict[str, dict[str, float]]) -> None:
    first = max(map(len, rows))
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(" " * first, *(f"{column:>14}" for column in columns))
    for name, row in rows.items():
        print(f"{name:<{first}}", *(f"{row[column]:14.4g}" for column in columns), flush=True)


if __name__ == "__main__":
    main()
