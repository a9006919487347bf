"""The paper's motivating problem (section 3.1) on images that come with scikit-learn.

An auto-encoder trained on 8s alone also rebuilds 1s, 3s, 6s and 7s; OCGAN turns them into 8s. Here
both are trained on handwritten 8s, beside methods without training, and `demo_page` draws the rest.
"""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .baselines import BASELINES
from .config import Stage
from .data import ImageRule, Images, open_source, read
from .detector import NoveltyDetector
from .evaluation import evaluate
from .files import write_bytes, write_json
from .origin import command_line, environment
from .training import Progress

DIGITS = tuple("0123456789")
NORMAL_CLASS = "8"
FPR = 0.05  # 139 images of 8 allow no smaller one with comfort
TRAIN_SHARE = 0.8
EXAMPLES = 8  # of each digit in the picture
STAGES: dict[str, tuple[str, Stage]] = {"ae": ("Auto-encoder", "ae"), "ocgan": ("OCGAN", "+mining")}

# Small networks, many short epochs: 8×8 pixels and a hundred images. Chosen so that both models
# are trained in about a minute, not for their AUROC.
SETTINGS: dict[str, Any] = {
    "autoencoder_width": 32,
    "classifier_width": 16,
    "batch_size": 16,
    "epochs": 200,
}


@dataclass
class Demo:
    """One run of the demo: what was trained and how it scores."""

    random_state: int = 0
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.images = read(open_source("digits", split="all"), ImageRule((8, 8), 1))
        self.train_rows, self.test_rows = _split(self.images, self.random_state)
        self.methods: list[dict[str, Any]] = []
        self.scores: dict[str, NDArray[np.float64]] = {}
        self.detectors: dict[str, NoveltyDetector] = {}

    @property
    def test(self) -> NDArray[np.uint8]:
        """Test images, uint8 (N, 8, 8, 1): all but the 8s that trained."""
        return self.images.pixels[self.test_rows]

    @property
    def labels(self) -> NDArray[np.str_]:
        """Digits of the test images, (N,)."""
        assert self.images.labels is not None
        return self.images.labels[self.test_rows]

    def train(self, key: str) -> Iterator[Progress]:
        """Train the model `key` of `STAGES`, yielding after every iteration."""
        title, stage = STAGES[key]
        detector = NoveltyDetector(
            "paper",
            settings=self.settings | {"stage": stage},
            fpr=FPR,
            random_state=self.random_state,
            device="cpu",
        )
        yield from detector.iter_fit(self.images.pixels[self.train_rows])
        self.detectors[key] = detector
        self._measure(key, title, detector.novelty_scores(self.test), detector)

    def measure_baselines(self) -> None:
        """Fit and score the methods without training on the same images."""
        for key, (title, make) in BASELINES.items():
            baseline = make().fit(self.images.pixels[self.train_rows])
            self._measure(key, title, baseline.novelty_scores(self.test), None)

    def save(self, folder: Path) -> None:
        """Write `demo.json` and `demo.npz`, all that the page is made of."""
        arrays = io.BytesIO()
        np.savez_compressed(arrays, allow_pickle=False, **self._arrays())
        write_bytes(folder / "demo.npz", arrays.getvalue())
        write_json(folder / "demo.json", self._summary())

    def table(self) -> list[list[str]]:
        """Return a row for each method: title, AUROC of all digits, AUROC of each digit."""
        return [
            [m["title"], f"{m['auroc_all']:.3f}", *(f"{v:.3f}" for v in m["auroc"].values())]
            for m in self.methods
        ]

    def _measure(
        self,
        key: str,
        title: str,
        scores: NDArray[np.float64],
        detector: NoveltyDetector | None,
    ) -> None:
        is_novel = self.labels != NORMAL_CLASS
        result = evaluate(scores, is_novel, self.labels, DIGITS)
        verdict = None if detector is None else scores > detector.threshold_
        self.scores[key] = scores
        self.methods.append(
            {
                "key": key,
                "title": title,
                "subtitle": "reconstruction error" if detector else "no training",
                "trained": detector is not None,
                "seconds": None if detector is None else round(detector.seconds_, 1),
                "auroc": result.auroc_by_class,
                "auroc_all": result.auroc,
                "threshold": None if detector is None else detector.threshold_,
                "false_alarm_rate": None if verdict is None else float(verdict[~is_novel].mean()),
                "detection_rate": None if verdict is None else float(verdict[is_novel].mean()),
            }
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        rows = np.concatenate([np.flatnonzero(self.labels == c)[:EXAMPLES] for c in DIGITS])
        inputs = self.test[rows]
        shape = (len(DIGITS), EXAMPLES, *inputs.shape[1:])
        rebuilt = {k: d.reconstruct(inputs).reshape(shape) for k, d in self.detectors.items()}
        samples = {f"samples_{k}": d.generate(64) for k, d in self.detectors.items()}
        return {
            "inputs": inputs.reshape(shape),
            "labels": self.labels,
            "walk": latent_square(self.detectors["ocgan"], self.random_state),
            **rebuilt,
            **samples,
            **{f"scores_{key}": scores for key, scores in self.scores.items()},
        }

    def _summary(self) -> dict[str, Any]:
        split, here = self.detectors["ocgan"].split_, environment()
        return {
            "title": f"Trained on the digit {NORMAL_CLASS} alone",
            "dataset": "digits",
            "dataset_note": "scikit-learn's handwritten digits, 8×8 pixels, 1,797 images",
            "normal_class": NORMAL_CLASS,
            "classes": list(DIGITS),
            "n_train": split.train,
            "n_validation": split.validation,
            "n_calibration": split.calibration,
            "n_test": {c: int((self.labels == c).sum()) for c in DIGITS},
            "protocol": f"{TRAIN_SHARE:.0%} of the {NORMAL_CLASS}s are learned (part of them held "
            f"out for checkpoint and calibration); the other {NORMAL_CLASS}s and all other digits "
            "are tested.",
            "command": shlex.join(command_line()),
            "seconds": round(time.perf_counter() - self.started, 1),
            "machine": here["machine"],
            "versions": {"pyocgan": __version__, "torch": here["torch"]},
            "created": here["created"],
            "seed": self.random_state,
            "fpr": FPR,
            "methods": self.methods,
        }


def latent_square(detector: NoveltyDetector, random_state: int, side: int = 8) -> NDArray[np.uint8]:
    """Return decoded points of a square of the latent cube: uint8 (side, side, H, W, K).

    Its corners are four points drawn from U(-1, 1)^d; the points between them are interpolated.
    """
    d = detector.config_.latent_size
    corners = np.random.default_rng(random_state).uniform(-1, 1, (2, 2, d))
    t = np.linspace(0, 1, side)
    weights = np.stack([1 - t, t], axis=1)
    s = np.einsum("ia,jb,abd->ijd", weights, weights, corners).astype(np.float32)
    pixels = detector.decode(s.reshape(side * side, d))
    return pixels.reshape(side, side, *pixels.shape[1:])


def _split(images: Images, random_state: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the 8s that are learned, and of everything that is tested."""
    assert images.labels is not None
    eights = np.random.default_rng(random_state).permutation(
        np.flatnonzero(images.labels == NORMAL_CLASS)
    )
    train = np.sort(eights[: round(TRAIN_SHARE * len(eights))])
    return train, np.setdiff1d(np.arange(len(images)), train)
