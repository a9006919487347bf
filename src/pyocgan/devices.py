"""Where networks compute, and with how many bits."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from .errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed")


def settle_device(device: object) -> str:
    """Return the device that is meant; for auto CUDA where it is, else the CPU: nobody tried mps.

    Parameters
    ----------
    device
        One of `DEVICES`, perhaps with a number, as cuda:1; or torch's own name of it.

    Raises
    ------
    UsageError
        It is none of these, or not here.
    """
    name = str(device)
    kind, _, number = name.partition(":")
    if kind not in DEVICES or not (number or "0").isdecimal():
        raise UsageError(f"device = {name!r} must be one of {', '.join(DEVICES)}")
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    is_here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not is_here.get(kind, True):
        raise UsageError(
            f"device = {name!r} cannot be used here: PyTorch finds no such GPU; take 'cpu'"
        )
    return name


def settle_precision(precision: str) -> str:
    """Return float32 for auto, until bfloat16 is measured to train as well. Others stay.

    Raises
    ------
    UsageError
        It is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision = {precision!r} must be one of {', '.join(PRECISIONS)}")
    return "32-true" if precision == "auto" else precision


@contextmanager
def outer_autocast_off() -> Iterator[None]:
    """Compute with the bits that were asked for, also within a `torch.autocast` of the caller's."""
    with ExitStack() as off:
        for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps")):
            off.enter_context(torch.autocast(kind, enabled=False))
        yield


class _WholeFloat32(AbstractContextManager[None]):
    """Compute float32 with all of its bits, of which a GPU's convolutions leave out 13: TF32.

    Torch keeps this for the whole process. So whoever comes first switches it, in any thread, and
    whoever leaves last switches it back.
    """

    def __init__(self) -> None:
        gpu: Any = torch.backends.cudnn
        cpu: Any = torch.backends.mkldnn  # after torch.set_float32_matmul_precision("medium")
        self._places = (gpu.conv, torch.backends.cuda.matmul, cpu.conv, cpu.matmul)
        self._lock, self._inside = threading.Lock(), 0
        self._before: list[str] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [place.fp32_precision for place in self._places]
                self._set(len(self._places) * ["ieee"])
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)

    def _set(self, precisions: list[str]) -> None:
        for place, precision in zip(self._places, precisions, strict=True):
            place.fp32_precision = precision


whole_float32 = _WholeFloat32()


def check_default_type() -> None:
    """Refuse to make networks of other numbers than float32, for the user's program asks for them.

    Raises
    ------
    UsageError
        Naming the type.
    """
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise UsageError(
            f"torch makes {kind} by default here, where networks are of float32: call "
            "torch.set_default_dtype(torch.float32) first"
        )


def move(networks: Iterable[nn.Module], device: object) -> None:
    """Move networks to a device.

    Raises
    ------
    UsageError
        It is none of `DEVICES`, or cannot be used here.
    """
    name = settle_device(device)
    try:
        for network in networks:
            network.to(name)
    except (RuntimeError, AssertionError) as error:  # what torch raises of either kind
        reason = str(error).partition("\n")[0]
        raise UsageError(f"device = {name!r} cannot be used here: {reason}") from None


def open_fabric(device: object, precision: str) -> Fabric:
    """Open Lightning Fabric on one device, quietly."""
    name, settled = settle_device(device), cast("Any", settle_precision(precision))
    from lightning_fabric import Fabric  # seconds to import: only when training

    kind, _, number = name.partition(":")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning_fabric")  # for good, as in `data.decode`
    try:
        devices = [int(number)] if number and kind == "cuda" else 1
        return Fabric(accelerator=kind, devices=devices, precision=settled)
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"device = {name!r} cannot be used here: {line}") from None
