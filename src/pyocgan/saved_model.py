"""A fitted detector as description and weights, and back: what `model_folder` writes and reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import safetensors.torch as safetensors
import torch

from .blank import blank
from .calibration import Calibration, SplitCounts
from .config import Config, check_settings, completed
from .data import ImageRule
from .evidence import Evidence
from .networks import Networks
from .training import Record

if TYPE_CHECKING:
    from .detector import NoveltyDetector

CALIBRATION = "calibration/scores"  # among the weights
EVIDENCE = "evidence/"


def describe(detector: NoveltyDetector) -> dict[str, Any]:
    """Return what there is to say of it, but for the weights and where it came from."""
    return {
        "parameters": detector.parameters_,
        "config": detector.config_.to_dict(),
        "image_rule": detector.rule_.to_dict(),
        "split": asdict(detector.split_),
        "best_epoch": detector.best_epoch_,
        "seconds": detector.seconds_,
        "fingerprint": detector.fingerprint_,
        "notes": list(detector.notes_),
        "skipped": [list(entry) for entry in detector.skipped_],
        "oddest": list(detector.oddest_),
        "history": [asdict(record) for record in detector.history_],
    }


def attributes(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a detector's attributes, as they were described."""
    return {
        "parameters_": description["parameters"],
        "config_": Config(**check_settings(completed(description["config"]))),
        "rule_": ImageRule.from_dict(description["image_rule"]),
        "split_": SplitCounts(**description["split"]),
        "best_epoch_": description["best_epoch"],
        "seconds_": description["seconds"],
        "fingerprint_": str(description["fingerprint"]),
        "about_": dict(description["about"]),
        "notes_": tuple(description["notes"]),
        "skipped_": tuple((name, reason) for name, reason in description["skipped"]),
        "oddest_": tuple(description.get("oddest", ())),  # which came later
        "history_": tuple(Record(**record) for record in description["history"]),
    }


def pack(networks: Networks, evidence: Evidence, calibration: Calibration) -> bytes:
    """Write the numbers of all three as safetensors."""
    tensors = {k: v.cpu().contiguous() for k, v in networks.state_dict().items()}
    state = evidence.state_dict()
    tensors |= {EVIDENCE + k: v.cpu().contiguous() for k, v in state.items()}
    tensors[CALIBRATION] = torch.from_numpy(calibration.scores)
    return safetensors.save(tensors)


def unpack(
    weights: bytes, config: Config, rule: ImageRule
) -> tuple[Networks, Evidence, Calibration]:
    """Read what `pack` wrote."""
    tensors = safetensors.load(weights)
    calibration = Calibration.of(tensors.pop(CALIBRATION).numpy())
    shape = rule.channels, rule.within(config.network_side).image_size
    evidence = Evidence(config, *shape)
    names = [name for name in tensors if name.startswith(EVIDENCE)]
    evidence.restore({k.removeprefix(EVIDENCE): tensors.pop(k) for k in names})
    networks = blank(lambda: Networks(config, *shape))
    networks.load_state_dict(tensors)
    return networks, evidence, calibration
