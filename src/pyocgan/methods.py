"""Every method of a table behind one interface: fit on pixels of one class, score pixels.

Pixels are uint8 (N, H, W, K), scores float64 (N,), larger = more novel. Each method has one
setting for all data sets and classes; OCGAN's presets have one for grey images, one for colour, and
`default` two further scores and another sum for large ones. Nothing is tuned for a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .baselines import (
    BASELINES,
    Isolation,
    KernelDensityEstimate,
    OneClassSupportVectors,
    Pixels,
    Scorer,
    raw,
)
from .calibration import ANY_FPR
from .config import OF_OWN_SCORES, settle
from .data import ImageRule
from .errors import UsageError, unknown

Kind = Literal["ocgan", "baseline", "pyod"]

LONGEST_NAME = 100  # characters: it names files, and a column of tables


class Resumable(Protocol):
    """What a method offers that trains for long: fitting that goes on from a checkpoint."""

    seconds_: float

    def iter_fit(self, X: Pixels, *, checkpoint: Path | None = None) -> Iterator[object]:  # noqa: N803
        """Fit, going on from `checkpoint` if it exists, and saving there now and then."""
        ...


@dataclass(frozen=True)
class Method:
    """A method with everything settled but the seed.

    Parameters
    ----------
    name
        Of its result files: ``"knn"``, or a preset and what differs from it, ``"paper-ae"``.
    title
        For tables.
    kind
        Where it comes from.
    config
        All that decides its scores besides the seed, as plain JSON values.
    make
        Gives the unfitted method for a seed; picklable.
    is_random
        Whether the seed changes its scores.
    preset, changes
        Of OCGAN, and the settings that differ from it, as plain JSON values; else none.
    device
        As in `NoveltyDetector`: where it computes.
    """

    name: str
    title: str
    kind: Kind
    config: Mapping[str, Any]
    make: Callable[[int], Scorer]
    is_random: bool
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def settled_device(self) -> str:
        """What ``"auto"`` is on this machine."""
        if self.device == "cpu":  # without torch
            return self.device
        from .devices import settle_device

        return settle_device(self.device)

    @property
    def device_kind(self) -> str:
        """The same without a number: ``"cuda"`` of ``"cuda:1"``."""
        return self.settled_device.partition(":")[0]


def ocgan(
    preset: str,
    settings: Mapping[str, Any],
    rule: ImageRule,
    *,
    device: str = "auto",
    precision: str = "auto",
) -> Method:
    """Describe OCGAN for images of one size and number of channels.

    Parameters
    ----------
    preset, settings
        As in `NoveltyDetector`; ``settings["stage"]`` is the row of the paper's ablation.
    rule
        Size and channels of the images.
    device, precision
        As in `NoveltyDetector`.
    """
    config = settle(preset, settings, rule).to_dict()
    changes = _changes(config, preset, settings, rule)
    return Method(
        _name(preset, changes),
        f"OCGAN ({described(preset, changes)})",
        "ocgan",
        config | {"precision": precision},
        partial(_detector, preset, dict(settings), device, precision),
        is_random=True,
        preset=preset,
        changes=changes,
        device=device,
    )


def described(preset: str, changes: Mapping[str, Any]) -> str:
    """Name a preset and all that differs from it, for people: ``"paper, epochs 15"``."""
    return ", ".join([preset, *(f"{key} {_word(value)}" for key, value in changes.items())])


def _name(preset: str, changes: Mapping[str, Any]) -> str:
    """Name a preset and all that differs from it, for files: ``"paper-ae"``, ``"fast-epochs5"``."""
    stage = str(changes.get("stage", "")).strip("+")
    parts = [f"{key}{_word(value)}" for key, value in changes.items() if key != "stage"]
    name = "-".join(filter(None, [preset, stage, *parts]))
    if len(name) <= LONGEST_NAME:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]  # title and config say it all
    return f"{name[: LONGEST_NAME - len(digest) - 1]}-{digest}"


def _changes(
    config: Mapping[str, Any], preset: str, settings: Mapping[str, Any], rule: ImageRule
) -> dict[str, Any]:
    """Return what differs from a preset, but for what follows from the images or the rest."""
    plain = settle(preset, {}, rule).to_dict()
    follows = {"image_size", "channels"}
    if config["scores"] != plain["scores"]:
        follows |= {*OF_OWN_SCORES} - {*settings}
    return {k: v for k, v in config.items() if v != plain[k] and k not in follows}


def other_method(key: str) -> Method:
    """Describe a method that is not OCGAN, by its key in `KEYS`.

    Raises
    ------
    UsageError
        There is no such key, or PyOD is not installed.
    """
    if key in PYOD:
        return _pyod_method(key)
    if key not in _TRAINING_FREE:
        raise unknown("method", key, KEYS)
    title, make, is_random = _TRAINING_FREE[key]
    settings = {
        name: getattr(value, "__name__", value)
        for name, value in vars(make(0)).items()
        if name != "random_state"
    }
    return Method(key, title, "baseline", settings, make, is_random)


def _detector(
    preset: str, settings: dict[str, Any], device: str, precision: str, seed: int
) -> Scorer:
    from .detector import NoveltyDetector

    return NoveltyDetector(
        preset,
        settings=settings,
        fpr=ANY_FPR,
        random_state=seed,
        device=device,
        precision=precision,
    )


def _seedless(make: Callable[[], Scorer], seed: int) -> Scorer:
    return make()


def _word(value: Any) -> str:
    return ("x".join(map(str, value)) or "equal") if isinstance(value, list) else f"{value}"


# Key → title, constructor, whether the seed changes its scores.
_TRAINING_FREE: dict[str, tuple[str, Callable[[int], Scorer], bool]] = {
    **{key: (title, partial(_seedless, make), False) for key, (title, make) in BASELINES.items()},
    "kde": (
        "KDE, 32 whitened components",
        partial(_seedless, KernelDensityEstimate),
        False,
    ),
    "ocsvm": ("One-class SVM", partial(_seedless, OneClassSupportVectors), False),
    "iforest": ("Isolation forest", Isolation, True),
}

# ---- PyOD, for comparison only -------------------------------------------------------------------

# Key → title, module and class in PyOD; all its settings are PyOD's defaults.
PYOD = {
    "pyod_deepsvdd": ("Deep SVDD (PyOD)", "pyod.models.deep_svdd", "DeepSVDD"),
    "pyod_autoencoder": ("Auto-encoder (PyOD)", "pyod.models.auto_encoder", "AutoEncoder"),
}


class PyODDetector:
    """A network of PyOD, fully connected, on pixels in [0, 1] with PyOD's own defaults."""

    def __init__(self, key: str, random_state: int = 0) -> None:
        self.key = key
        self.random_state = random_state

    def fit(self, X: Pixels) -> Self:  # noqa: N803
        """Train the network."""
        from importlib import import_module

        _, module, name = PYOD[self.key]
        features = raw(X)
        arguments = {"n_features": features.shape[1]} if name == "DeepSVDD" else {}
        self.model_ = getattr(import_module(module), name)(
            random_state=self.random_state, verbose=0, **arguments
        )
        self.model_.fit(features)
        return self

    def novelty_scores(self, X: Pixels) -> NDArray[np.float64]:  # noqa: N803
        """Return PyOD's anomaly scores: larger = more novel there, too."""
        return np.asarray(self.model_.decision_function(raw(X)), np.float64)


def _pyod_method(key: str) -> Method:
    if find_spec("pyod") is None:
        raise UsageError(f"the method {key} needs PyOD: pip install 'pyocgan[pyod]'")
    config = {"pyod": metadata.version("pyod"), "settings": "PyOD's defaults"}
    make = partial(PyODDetector, key)
    return Method(key, PYOD[key][0], "pyod", config, make, is_random=True, device="auto")


KEYS = ("ocgan", *_TRAINING_FREE, *PYOD)
