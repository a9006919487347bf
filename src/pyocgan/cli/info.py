"""`ocgan info`: what a model is, or what this installation is; loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import PRESETS, completed, resolve
from ..data import ImageRule
from ..model_folder import read_description, understanding
from ..origin import environment
from . import terminal
from .flags import AsJson


def info(
    model: Path | None = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Describe a model; without one, this installation and its presets for small grey images.

    Parameters
    ----------
    model
        A folder that `ocgan train` made.
    as_json
        Print JSON, with every detail.
    """
    content = _installation() if model is None else read_description(model)
    if as_json:
        print(terminal.json_text(content))
        return
    brief = _brief_installation(content) if model is None else _brief_model(model, content)
    for key, value in brief.items():
        print(f"{key:<16}{value}")


def _installation() -> dict[str, Any]:
    presets = {name: resolve(name, {}).to_dict() for name in PRESETS}
    return {"environment": environment(), "presets": presets}


def _brief_installation(content: dict[str, Any]) -> dict[str, str]:
    keys = ("latent_size", "autoencoder_width", "visual_width", "classifier_width", "epochs")
    presets = {
        f"preset {name}": ", ".join(f"{key} {preset[key]}" for key in keys)
        for name, preset in content["presets"].items()
    }
    return {key: text for key, text in content["environment"].items() if key != "created"} | presets


def _brief_model(folder: Path, content: dict[str, Any]) -> dict[str, str]:
    with understanding(folder):
        return _lines_of_model(content)


def _lines_of_model(content: dict[str, Any]) -> dict[str, str]:
    rule, config = ImageRule.from_dict(content["image_rule"]), completed(content["config"])
    split, task = content["split"], content["about"].get("task") or {}
    return {
        "model of": _task(task),
        "written by": f"pyocgan {content['pyocgan']}, format {content['format_version']}",
        "preset": f"{content['parameters']['preset']}, stage {config['stage']}",
        "images": rule.describe(config["network_side"]),
        "trained on": f"{split['train']} images, {split['validation']} for the checkpoint, "
        f"{split['calibration']} to calibrate, {len(content['skipped'])} unreadable",
        "networks of": f"epoch {content['best_epoch']} of {config['epochs']}, "
        f"after {content['seconds']:.1f} s of training",
        "false alarms": f"{content['parameters']['fpr']:g}",
        "fingerprint": content["fingerprint"],
    }


def _task(task: dict[str, Any]) -> str:
    if not task:
        return "images given in Python"
    which = "all images" if task["normal_class"] is None else f"class {task['normal_class']}"
    protocol = "" if task["protocol"] is None else f", protocol {task['protocol']}"
    return f"{which} of {task['source']}{protocol}"
