"""`NoveltyDetector`: fit on images of one class, then ask of new images whether they belong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from . import evidence, model_folder, saved_model, scoring
from .calibration import Calibration, check_fpr
from .config import check_settings, settle
from .data import (
    SKIPPING,
    ImageRule,
    Images,
    ImageSource,
    Source,
    UnreadableImage,
    open_source,
    read_batches,
)
from .data.inferring import fitting_notes
from .devices import check_default_type, move, settle_device, settle_precision
from .errors import UsageError, warn
from .files import expanded
from .images import to_pixels
from .networks import Networks
from .preparation import (
    Prepared,
    check_checkpoint,
    read_to_learn,
    settled_seed,
    share_out,
    whole_number,
)
from .training import Progress, Training, saving

Number = TypeVar("Number", bound=np.generic)

ODDEST = 3  # of the images that calibrate, which are named
READ_AT_ONCE = scoring.BATCH_SIZE  # images of a folder; the next ones are decoded meanwhile


class NoveltyDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """OCGAN as a scikit-learn estimator.

    Wherever images are asked for (`X`): a uint8 array (N, H, W), (N, H, W, 1) or (N, H, W, 3),
    colour as red, green, blue; a uint16 array of grey images; a folder, zip or list file; the name
    of a data set; paths, arrays or Pillow's images in a list. They may have any size, and are
    resized as `rule_` says. Rows are in their order: of a folder, where 2 comes before 10, in that
    of ``open_source(folder, split="test").names``. Of a source that is divided into train and test,
    `fit` takes the train part and whatever scores the test part, as the command does; one class of
    several is learned by ``fit(open_source(folder).of_class(name))``.

    Parameters
    ----------
    preset
        ``"default"``: the best found here, OCGAN's networks and more scores. ``"paper"``: the
        numbers of the paper. ``"fast"``: paper, narrower and shorter, to try things.
    settings
        Fields of `pyocgan.config.Config` that differ from the preset, such as
        ``{"epochs": 20, "stage": "ae"}``. In `set_params`, and so in a grid search, a single one
        is ``settings__epochs``.
    fpr
        False-alarm rate of `is_novel` and `predict`: the share of normal images that may be
        called novel, averaged over the choice of calibration images. At least 1/fpr − 1 of these
        are needed.
    random_state
        Seed of weights, noise, order and which images validate and calibrate. A whole number gives
        the same numbers on the same kind of CPU with the same number of threads; None, or a
        `numpy.random.RandomState`, draws another with every fit, which is in `parameters_`.
    device, precision
        ``"auto"`` (CUDA where it is, else the CPU; float32), or ``"cpu"``, ``"cuda"``, ``"mps"``
        (also with a number, ``"cuda:1"``) and ``"32-true"``, ``"bf16-mixed"``.
    skip_unreadable
        In `fit` and `score_batches`, leave out files that cannot be read and list them, in
        `skipped_` and with the images, instead of raising. Methods that give a row for each image
        always raise.

    Attributes
    ----------
    config_ : Config
        Every setting, with image size and channels settled.
    rule_ : ImageRule
        How an image of any size becomes what the networks see.
    networks_ : Networks
        Of the epoch with the lowest validation error.
    evidence_ : Evidence
        What the scores need beside them.
    calibration_ : Calibration
        Scores of the images that calibrate.
    oddest_ : tuple of str
        The names of the three of these with the largest scores, the largest first: a faulty image
        among them raises the threshold.
    threshold_ : float
        The novelty score above which an image is novel.
    split_ : SplitCounts
        How many images trained, validated and calibrated.
    history_ : tuple of Record
        One record an epoch.
    best_epoch_ : int
        Epoch of the networks, from 1.
    seconds_ : float
        Seconds that fitting took, without interruptions.
    notes_, skipped_ : tuple
        What was inferred about the images; (name, reason) of files left out.
    parameters_ : dict
        What it was fitted with: `set_params` counts from the next `fit` on, and `save` keeps these.
    fingerprint_ : str
        SHA-256 of the images it was fitted on.
    about_ : dict
        What `save` was told about a model that was loaded.
    """

    def __init__(
        self,
        preset: str = "default",
        *,
        settings: Mapping[str, Any] | None = None,
        fpr: float = 0.01,
        random_state: int | np.random.RandomState | None = 0,
        device: str | torch.device = "auto",
        precision: str = "auto",
        skip_unreadable: bool = False,
    ) -> None:
        self.preset = preset
        self.settings = settings
        self.fpr = fpr
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.skip_unreadable = skip_unreadable

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and by ``settings__NAME`` single ones of `settings`."""
        mark = "settings__"
        super().set_params(**{k: v for k, v in params.items() if not k.startswith(mark)})
        single = {k.removeprefix(mark): v for k, v in params.items() if k.startswith(mark)}
        if single:
            self.settings = {**(self.settings or {}), **single}
        return self

    # ---- fitting -------------------------------------------------------------------------------

    def fit(self, X: ImageSource, y: object = None) -> Self:
        """Learn the class that all of `X` belongs to. `y` is ignored.

        It warns (`ImageWarning`) where the images are of several classes, or nearly black. Scoring
        warns where they are squeezed otherwise than those learned, or use fewer bits.

        Raises
        ------
        InputError
            Unreadable or wrong images, or too few to calibrate at `fpr`.
        UsageError
            A setting that does not exist or is out of its range.
        """
        prepared, training = self._begin(X, None)
        warn(*prepared.oddities)
        for _ in training.run():
            pass
        self._finish(prepared, training)
        return self

    def iter_fit(
        self,
        X: ImageSource,
        *,
        checkpoint: str | Path | None = None,
        checkpoint_seconds: float = 30.0,
        resume: bool = True,
    ) -> Generator[Progress, None, None]:
        """Do what `fit` does, yielding a `Progress` before the first and after every iteration.

        With `checkpoint`, a file, training goes on from there if it exists, and is saved there
        every `checkpoint_seconds`, when the generator is closed, and at the end: delete it when
        the model is kept. What interrupts an iteration, as Ctrl-C may, leaves the last of these.
        Without `resume` training begins anew, and is saved there before its first iteration.
        """
        checkpoint = None if checkpoint is None else expanded(checkpoint)
        prepared, training = self._begin(X, checkpoint, resume=resume)
        warn(*prepared.oddities)
        yield training.progress()
        if checkpoint is None:
            yield from training.run()
        else:
            save = partial(training.save, checkpoint, prepared.identity(training.precision))
            if not resume:
                save()
            yield from saving(training.run(), save, checkpoint_seconds)
        self._finish(prepared, training)

    def _begin(
        self, X: ImageSource, checkpoint: Path | None, *, resume: bool = True
    ) -> tuple[Prepared, Training]:
        """Settle all that comes before training, and where it goes on."""
        if checkpoint is not None:
            check_checkpoint(checkpoint, self.random_state)
        prepared = self._prepare(X)
        training = Training(
            prepared.config,
            prepared.train,
            prepared.validation,
            seed=prepared.seed,
            device=self.device,
            precision=self.precision,
        )
        if checkpoint is not None and resume and checkpoint.exists():
            training.load(checkpoint, prepared.identity(training.precision))
        for learned in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, learned)  # fitted again only when it ends well
        self.config_, self.rule_, self.split_ = prepared.config, prepared.rule, prepared.split
        self.notes_, self.skipped_ = prepared.notes, prepared.skipped
        self.fingerprint_ = prepared.fingerprint
        self.about_: dict[str, Any] = {}
        self.parameters_ = self.get_params() | {
            "fpr": check_fpr(self.fpr),
            "random_state": prepared.seed,
            "device": str(self.device),
            "settings": None if self.settings is None else dict(self.settings),
        }
        return prepared, training

    def _prepare(self, X: ImageSource) -> Prepared:
        """Read the images, settle what is "auto", and share the images out."""
        check_fpr(self.fpr)
        seed = settled_seed(self.random_state)
        settle_device(self.device)
        settle_precision(self.precision)
        check_default_type()
        rule, notes, images = self.images_to_learn(X)
        config = settle(self.preset, check_settings(self.settings or {}), rule)
        return share_out(images, rule, notes, config, fpr=self.fpr, seed=seed)

    def images_to_learn(self, X: ImageSource) -> tuple[ImageRule, tuple[str, ...], Images]:
        """Read images as `fit` does: by which rule, what was inferred for it, and the images."""
        return read_to_learn(X, self.preset, self.settings, skip_unreadable=self.skip_unreadable)

    def _finish(self, prepared: Prepared, training: Training) -> None:
        started = time.perf_counter()
        self._keep(training.restore_best())
        self.history_ = training.progress().history
        self.best_epoch_ = training.best_epoch
        self.evidence_ = training.evidence
        evidence.gather(
            self.evidence_, self.networks_, prepared.train, validation=prepared.validation
        )
        scores = self._scores(prepared.calibration)
        self.oddest_ = tuple(prepared.calibrating[row] for row in np.argsort(-scores)[:ODDEST])
        self._calibrate(Calibration.of(evidence.above_rounding(self.evidence_, scores)))
        for networks in (self.networks_, self.evidence_):
            networks.zero_grad(set_to_none=True)  # of the last step, as large as the weights
        self.seconds_ = training.seconds + time.perf_counter() - started

    def _scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        return evidence.novelty_scores(self.evidence_, self.networks_, pixels)

    def _calibrate(self, calibration: Calibration) -> None:
        # The rate that `fit` began with, as the model keeps it: `set_params` may have come since.
        self.threshold_ = calibration.threshold(self.parameters_["fpr"])
        self.calibration_ = calibration

    @property
    def offset_(self) -> float:
        """The negative of `threshold_`, as scikit-learn names it."""
        return -self.threshold_

    # ---- asking --------------------------------------------------------------------------------

    def novelty_scores(self, X: ImageSource) -> NDArray[np.float64]:
        """Return the score of each image: (N,) float64, larger = more novel.

        A function of the image and the model alone, but for rounding of about 1e-6, for which
        verdicts allow. A JPEG file of more than four times the model's size is decoded smaller,
        which changes pixels by 1 of 255 and scores a little: calibrate and score alike, from files
        or from arrays. The preset paper's is the reconstruction error, in [0, 4];
        `pyocgan.novelty` has others.
        """
        return self._of_each(X, evidence.novelty_scores)

    def score_batches(self, X: ImageSource) -> Iterator[tuple[Images, NDArray[np.float64]]]:
        """Yield images and their novelty scores, a bounded number at a time, in order.

        With `skip_unreadable`, files that cannot be read are in the images' `skipped`.
        """
        return self._score_batches(self._opened(X))

    def _score_batches(self, source: Source) -> Iterator[tuple[Images, NDArray[np.float64]]]:
        for images in self._read(source, SKIPPING, skip_unreadable=self.skip_unreadable):
            yield images, self._scores(images.pixels)

    def fit_predict(self, X: ImageSource, y: object = None) -> NDArray[np.int64]:
        """Fit, and return for each of the same images 1 where it is normal, −1 where it is novel.

        Of images that are divided into train and test, the train part.
        """
        source = open_source(X, split="train")
        return self.fit(source).predict(source)

    def score_parts(self, X: ImageSource) -> dict[str, NDArray[np.float64]]:
        """Return what each of the scores says of each image: name to (N,) float64.

        They add up to `novelty_scores`. One score is as it is. Each of several is standardised on
        the validation images, transformed by `score_scale` and multiplied by its weight; see
        `pyocgan.novelty`.
        """
        found = self._of_each(X, evidence.parts)
        return dict(zip(self.config_.scores, found.T, strict=True))

    def p_values(self, X: ImageSource) -> NDArray[np.float64]:
        """Return conformal p-values: (N,) in (0, 1]; small = novel.

        A normal image has one of α or less with a probability of at most α, on average over which
        images calibrate.
        """
        return self.calibrated().p_values(self.novelty_scores(X))

    def is_novel(self, X: ImageSource, fpr: float | None = None) -> NDArray[np.bool_]:
        """Say of each image whether it is novel: (N,) bool.

        At the false-alarm rate that it was fitted with, or at `fpr`.
        """
        calibration = self.calibrated()
        threshold = self.threshold_ if fpr is None else calibration.threshold(fpr)
        return self.novelty_scores(X) > threshold

    def score_samples(self, X: ImageSource) -> NDArray[np.float64]:
        """Return the negative novelty score, scikit-learn's sign: larger = more normal."""
        return -self.novelty_scores(X)

    def decision_function(self, X: ImageSource) -> NDArray[np.float64]:
        """Return `score_samples` minus `offset_`: negative = novel."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ImageSource) -> NDArray[np.int64]:
        """Return −1 for novel images and 1 for normal ones, as scikit-learn does: (N,) int."""
        return np.where(self.is_novel(X), -1, 1)

    # ---- looking -------------------------------------------------------------------------------

    def heatmap(self, X: ImageSource) -> NDArray[np.float32]:
        """Return how much each pixel speaks for novelty: (N, H, W) ≥ 0, H and W as in `rule_`.

        Of the scores, by the one that says best where: see `pyocgan.novelty`. The preset paper's
        is the squared error of each pixel, in [0, 4].
        """
        return self._of_each(X, evidence.heatmaps)

    def reconstruct(self, X: ImageSource) -> NDArray[np.uint8]:
        """Return De(En(x)) as images: uint8 (N, H, W, K), H and W at most `network_side`."""
        return self._of_each(X, evidence.reconstructions)

    def generate(self, n: int, *, random_state: int | None = 0) -> NDArray[np.uint8]:
        """Return De(s) for `n` points s ~ U(-1, 1)^d: uint8 (n, H, W, K), as `reconstruct`.

        With `random_state` None they are others every time.
        """
        check_is_fitted(self)
        d = self.config_.latent_size
        shape = whole_number("n", n), d
        seed = None if random_state is None else whole_number("random_state", random_state)
        return self.decode(np.random.default_rng(seed).uniform(-1, 1, shape))

    def decode(self, s: ArrayLike) -> NDArray[np.uint8]:
        """Return De(s) for points s of the latent cube, (n, d) in [-1, 1]: uint8 (n, H, W, K)."""
        check_is_fitted(self)
        d = self.config_.latent_size
        s = np.asarray(s, np.float32)
        if s.ndim != 2 or s.shape[1] != d or not (np.abs(s) <= 1).all():
            raise UsageError(
                f"points s of shape {s.shape} must be (n, {d}), each number in [-1, 1]"
            )
        parts = np.split(s, range(READ_AT_ONCE, len(s), READ_AT_ONCE))
        return np.concatenate([to_pixels(scoring.decode(self.networks_, part)) for part in parts])

    # ---- keeping -------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, about: Mapping[str, Any] | None = None) -> None:
        """Write the model to a folder (safetensors and JSON), atomically.

        `about` is kept beside it, of JSON's types: where the images came from, which command made
        it. By default it is `about_`. An earlier model in the folder gives way.
        """
        check_is_fitted(self)
        about = dict(self.about_ if about is None else about)
        try:
            json.dumps(about, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"about = {about!r} must be of JSON's types: {error}") from None
        description = saved_model.describe(self) | {"about": about}
        weights = saved_model.pack(self.networks_, self.evidence_, self.calibration_)
        model_folder.write(expanded(folder), weights, description)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> Self:
        """Read a model from a folder that `save` wrote.

        Raises
        ------
        ModelError
            Not a model, damaged, or in another version of the format.
        UsageError
            A device that is not here.
        """
        folder = expanded(folder)
        check_default_type()
        with model_folder.understanding(folder):
            content, weights = model_folder.read(folder)
            detector = cls(**content["parameters"])
            detector._restore(content, weights)
        move((detector.networks_, detector.evidence_), device)
        return detector

    def _restore(self, content: Mapping[str, Any], weights: bytes) -> None:
        self.__dict__.update(saved_model.attributes(content))
        networks, self.evidence_, calibration = saved_model.unpack(
            weights, self.config_, self.rule_
        )
        self._keep(networks)
        self._calibrate(calibration)

    def _keep(self, networks: Networks) -> None:
        # Channels last, trained or loaded, so that both give the same bits; faster than NCHW too.
        last = torch.channels_last
        self.networks_ = networks.to(memory_format=last)  # type: ignore[call-overload]

    def calibrated(self) -> Calibration:
        """Return `calibration_`, or raise scikit-learn's NotFittedError."""
        check_is_fitted(self)
        return self.calibration_

    def _of_each(
        self,
        X: ImageSource,
        ask: Callable[[evidence.Evidence, Networks, NDArray[np.uint8]], NDArray[Number]],
    ) -> NDArray[Number]:
        """Ask of all images, a bounded number at a time."""
        batches = self._read(self._opened(X))
        return np.concatenate(
            [ask(self.evidence_, self.networks_, images.pixels) for images in batches]
        )

    def _opened(self, X: ImageSource) -> Source:
        """Open images that are to be scored; warn of what may make them novel."""
        check_is_fitted(self)
        source = open_source(X, split="test")
        warn(*fitting_notes(source, self.rule_, odd_alone=True))
        return source

    def _read(
        self,
        source: Source,
        advice: str = "score_batches skips such images after set_params(skip_unreadable=True)",
        *,
        skip_unreadable: bool = False,
    ) -> Iterator[Images]:
        """Read images; unless asked to, skip none, so that there is a row for each."""
        number = READ_AT_ONCE
        if source.is_decoded:  # nothing is gained by reading ahead
            device = scoring.device_of(self.networks_)
            number = max(number, scoring.at_once(self.rule_.image_size, device))
        try:
            yield from read_batches(source, self.rule_, number, skip_unreadable=skip_unreadable)
        except UnreadableImage as error:
            raise error.with_advice(advice) from None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "calibration_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags
