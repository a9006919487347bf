"""Where networks compute, and with how many bits."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any, cast

import torch

from .errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


def settle_device(device: str) -> str:
    """Return CUDA where it is, else the CPU, for auto: nobody has tried mps. Others stay."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def settle_precision(precision: str) -> str:
    """Return float32 for auto, until bfloat16 is measured to train as well. Others stay."""
    return "32-true" if precision == "auto" else precision


def check_names(device: str, precision: str) -> None:
    """Refuse what is none of `DEVICES` or `PRECISIONS`."""
    if device not in DEVICES:
        raise UsageError(f"device = {device!r} must be one of {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision = {precision!r} must be one of {', '.join(PRECISIONS)}")


def open_fabric(device: str, precision: str) -> Fabric:
    """Open Lightning Fabric on one device, quietly."""
    check_names(device, precision)
    from lightning_fabric import Fabric  # seconds to import: only when training

    device, settled = settle_device(device), cast("Any", settle_precision(precision))
    is_here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not is_here.get(device, True):
        raise UsageError(
            f"device = {device!r} cannot be used here: PyTorch finds no such GPU; take 'cpu'"
        )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning_fabric")  # for good, as in `data.decode`
    try:
        return Fabric(accelerator=device, devices=1, precision=settled)
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"device = {device!r} cannot be used here: {line}") from None
