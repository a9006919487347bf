"""Every number of the method, once: OCGAN (Perera, Nallapati, Xiang, CVPR 2019), sections 3 and 4.

A `Config` is frozen and checked when built. Presets differ from it only where `PRESETS` says so;
flags, environment and config files (`cli.settings`) all give values to these same fields.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .data.rule import LARGEST_SIDE, SMALLEST_SIDE, ImageRule
from .errors import UsageError, unknown

Stage = Literal["ae", "+latent", "+visual", "+mining"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Score = Literal[
    "error",
    "gradients",
    "neighbours",
    "windows",
    "completion",
    "patches",
    "codes",
    "flaws",
    "turns",
    "views",
]
TURN_SCORES: tuple[Score, ...] = ("turns", "views")  # those of T
SEARCHES: tuple[Score, ...] = ("patches", "flaws")  # for the oddest of many small parts

# Numbers that no preset changes (section 3.4): 5×5 convolutions of stride 2, leaky ReLU. Adam's β₂
# and the spread of the first weights are not printed: Adam's usual one, and DCGAN's.
KERNEL_SIZE, STRIDE, PADDING = 5, 2, 2
LEAKY_SLOPE = 0.2
ADAM_BETA2 = 0.999
INITIAL_STD = 0.02

# Beyond these no machine has the memory, and a slip of the key would take all of it.
WIDEST = 1024  # of a network's first convolution
LONGEST = 16384  # of a code, or a fully connected layer
LARGEST = 1e9  # of whatever else has no bound of its own

Range = tuple[float, float]  # of a setting, both ends allowed
COUNT: Range = 1, LARGEST
PAIR: Range = 2, LARGEST  # batch normalisation needs two
WIDTH: Range = 1, WIDEST
AMOUNT: Range = 0, LARGEST  # a weight, a variance, a number of steps
SHARE: Range = 0, 1
RATE: Range = 1e-12, 1  # of learning
PART: Range = 0.1, 1  # of an image's sides


def _field(default: Any, help: str, within: Range | None = None) -> Any:
    """Give a setting its default, its line of help and, where it is a number, its range."""
    return field(default=default, metadata={"help": help, "within": within})


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of one training run. Section numbers are the paper's.

    Raises
    ------
    UsageError
        When a value is outside its range; the message quotes it and says what is allowed.
    """

    # What is trained (section 4.3: the four rows of the ablation).
    stage: Stage = _field("+mining", "How much of OCGAN is trained: the paper's ablation stages.")

    # Images. "auto" is settled from the training images and stored in the model.
    image_size: int | tuple[int, int] | Literal["auto"] = _field(
        "auto", "Pixels that every image is resized to: auto, a side, or HEIGHTxWIDTH (8 to 256)."
    )
    network_side: int = _field(
        64,
        "Largest side (8 to 128) that the networks and all scores but patches and flaws see: "
        "larger images are averaged down to it. (T, of turns and views, looks at 32 at most.)",
        (SMALLEST_SIDE, 128),
    )
    channels: Literal["auto", 1, 3] = _field("auto", "auto, 1 (grey) or 3 (colour).")

    # Networks (section 3.4). The paper prints no latent size: 16 is the authors' example
    # for MNIST, 512 the one for CIFAR-10 (see COLOUR); ports use 288.
    latent_size: int = _field(16, "Size d of the latent code z in (-1, 1)^d.", (1, LONGEST))
    autoencoder_width: int = _field(64, "Channels of En's first convolution; doubled twice.", WIDTH)
    visual_width: int = _field(12, "Channels of D_v's first convolution; doubled twice.", WIDTH)
    classifier_width: int = _field(64, "Channels of C's first convolution; doubled twice.", WIDTH)
    # DCGAN's and the authors' code; what normalises the networks is not printed.
    autoencoder_norm: Literal["batch", "instance"] = _field(
        "batch",
        "Normalisation in En and De: batch, of each channel over the batch, as DCGAN; or instance, "
        "of each channel of an image by itself.",
    )
    discriminator_norm: Literal["batch", "none", "spectral"] = _field(
        "batch",
        "Normalisation in D_v and C: batch, of each layer over the batch, as DCGAN; none; or "
        "spectral, of each convolution's weights.",
    )
    latent_widths: tuple[int, ...] = _field(
        (128, 64, 32, 16),
        "Widths of the hidden layers of D_l, before its one logit, as 128,64,32,16.",
    )

    # Denoising auto-encoder (section 3.2). Variance 0.2, as the text says; Algorithm 1 prints
    # N(0, I), the authors' code takes 0.2 as the standard deviation.
    noise_variance: float = _field(0.2, "Variance of the noise n added to training images.", AMOUNT)
    # Authors' code adds noise when testing, the paper's text does not: none by default.
    test_noise_variance: float = _field(0.0, "Variance of the noise added before scoring.", AMOUNT)

    # Losses (section 3.2): λ = 10 on the mean squared error, 1 and 1 on the two games.
    reconstruction_weight: float = _field(
        10.0, "λ, the weight of l_MSE in the generator update.", AMOUNT
    )

    # Not in the paper, which has 0: an error that `default` scores by is trained too.
    gradient_weight: float = _field(
        0.0, "Weight of the error in oriented gradients beside l_MSE.", AMOUNT
    )

    # Informative-negative mining (section 3.2): five gradient steps. Step size and the length of
    # the warm-up, until decoded samples look reasonable, are not printed.
    mining_steps: int = _field(5, "Gradient steps on s per iteration; 0 leaves s as drawn.", AMOUNT)
    mining_step_size: float = _field(
        0.05, "Root mean square move of a coordinate of s per step.", AMOUNT
    )
    mining_warmup: float = _field(0.2, "Share of the epochs that pass before mining starts.", SHARE)

    # Optimisation (section 3.4). Batch size and epochs are not printed.
    learning_rate: float = _field(2e-4, "Adam's learning rate, for all networks but T and P.", RATE)
    adam_beta1: float = _field(0.5, "Adam's β₁, for all networks but T and P.", (0, 0.999999))
    batch_size: int = _field(128, "Images in a batch; fewer where the class has fewer.", PAIR)
    epochs: int = _field(50, "Passes over the training images.", COUNT)
    least_iterations: int = _field(
        1, "Fewest iterations of an epoch; a small set of images is repeated.", COUNT
    )

    # Scores (see `novelty`). The paper has the first alone; several are standardised and added.
    scores: tuple[Score, ...] = _field(
        ("error",),
        "What the novelty score adds up: error (of pixels), gradients (the error in oriented "
        "gradients), codes (distance to normal codes), neighbours (distance to normal images in "
        "oriented gradients), windows (the same for each of four parts of an image), "
        "completion (the error of predicting the rest of an image from each quarter of its rows), "
        "patches (distance of its oddest small patches to normal ones), flaws (how sure a network "
        "trained on synthetic defects is that there is one), turns (the error of a network that "
        "tells how views are turned), views (distance to normal images in its features).",
    )
    score_weights: tuple[float, ...] = _field(
        (), "Weights of the scores in their sum, in the order of scores, as 0.3,1; or 1 each."
    )
    score_scale: Literal["linear", "surplus"] = _field(
        "linear",
        "How the standardised scores z add up: linear, as they are; surplus, each as "
        "log(1 + log(1 + e^z)), so that a low one cannot make up for a high one, and a huge one "
        "cannot hide the rest.",
    )
    search_margin: float = _field(
        0.0,
        "Subtracted from the z of patches and flaws where score_scale is surplus: the largest of "
        "many small parts is always somewhat unusual.",
        AMOUNT,
    )
    gradient_smoothing: float = _field(
        0.0,
        "σ of a blur before oriented gradients are taken, in cells of two pixels or more.",
        AMOUNT,
    )
    contrast_floor: float = _field(
        0.0,
        "Each cell is divided by its own gradient's norm plus this share of the image's usual one: "
        "the smaller, the more faint edges count; 0 leaves cells as they are.",
        AMOUNT,
    )
    symmetry: Literal["none", "mirror"] = _field(
        "none",
        "What may be done to an image that stays normal, for training T: nothing, or mirror it.",
    )
    turn_width: int = _field(16, "Channels of T's first convolution; doubled twice.", WIDTH)
    turn_hidden: int = _field(
        0,
        "Width of a hidden layer between what T's scores see and its logits; 0 leaves it out.",
        (0, LONGEST),
    )
    turn_images: int = _field(32, "Images in a batch of T, each in all its positions.", PAIR)
    turn_passes: int = _field(
        1, "How often T sees every image in an epoch, each time in another order.", COUNT
    )
    turn_learning_rate: float = _field(3e-3, "Highest learning rate of T's AdamW.", RATE)
    turn_muon_rate: float = _field(
        0.0,
        "Highest learning rate of Muon, for all of T's matrices but the last; 0: AdamW has all.",
        SHARE,
    )
    turn_crop: float = _field(
        1.0,
        "Smallest random crop that T trains on, as a share of each side, resized to the full size; "
        "1: whole images.",
        PART,
    )
    turn_sides: Literal[1, 2] = _field(
        1, "What T's scores look at: 1, the image; 2, the mirrored one as well."
    )
    turn_middle: float = _field(
        1.0,
        "Share of each side that a centre crop keeps, resized to the full size, for T's scores.",
        PART,
    )

    flaw_width: int = _field(
        16, "Channels of the first convolution of P, which finds flaws; doubled twice.", WIDTH
    )
    flaw_steps: int = _field(
        1000,
        "Steps of P on 64 pieces of images at least, shared out evenly to all iterations.",
        COUNT,
    )

    # Held-out normal images: never trained on. No anomaly is ever seen.
    validation_fraction: float = _field(
        0.1,
        "Share of the images that chooses the checkpoint (lowest reconstruction error) and "
        "standardises the scores.",
        (0.01, 0.4),  # half may calibrate, and some must train
    )
    calibration_fraction: float = _field(
        0.1,
        "Share of the images that calibrates; more where the false-alarm rate needs more.",
        (0.01, 0.5),
    )

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, _typed(name, value))
        _check(self)

    @property
    def uses_latent_game(self) -> bool:
        """Whether D_l is trained."""
        return STAGES.index(self.stage) >= 1

    @property
    def uses_visual_game(self) -> bool:
        """Whether D_v is trained."""
        return STAGES.index(self.stage) >= 2

    @property
    def uses_mining(self) -> bool:
        """Whether C is trained and negatives are mined."""
        return STAGES.index(self.stage) >= 3

    @property
    def uses_turns(self) -> bool:
        """Whether T is trained."""
        return not set(TURN_SCORES).isdisjoint(self.scores)

    @property
    def uses_flaws(self) -> bool:
        """Whether P is trained."""
        return "flaws" in self.scores

    @property
    def noise_std(self) -> float:
        """σ of the training noise; images lie in [-1, 1]."""
        return float(self.noise_variance**0.5)

    @property
    def mining_start(self) -> int:
        """First epoch, counted from 0, whose generator updates see mined points."""
        return round(self.mining_warmup * self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


# What each preset changes. `paper`: nothing, these are the paper's numbers. `default` was chosen on
# the development split, see docs/research.md.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "default": {
        "stage": "+latent",
        "autoencoder_width": 16,
        "classifier_width": 16,
        "epochs": 10,
        "least_iterations": 10,
        "learning_rate": 1e-3,
        "gradient_weight": 10.0,
        "scores": ("gradients", "windows", "completion", "turns", "views"),
        "score_weights": (0.2, 1.0, 1.5, 0.3, 0.3),
        "contrast_floor": 0.2,
    },
    "fast": {"autoencoder_width": 16, "classifier_width": 16, "epochs": 40},
}

# What changes for colour images, in every preset: the authors' example for CIFAR-10.
COLOUR: dict[str, Any] = {"latent_size": 512}

# And in one preset: photographs have an upright, which many digits and letters have not.
COLOUR_PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "scores": ("gradients", "windows", "turns", "views"),
        "score_weights": (0.15, 0.5, 1.0, 1.0),
        "symmetry": "mirror",
        "turn_width": 24,
        "turn_hidden": 128,
        "turn_muon_rate": 0.06,
        "turn_crop": 0.7,
        "turn_sides": 2,
        "turn_middle": 0.85,
        "epochs": 15,
        "contrast_floor": 1.0,
        "gradient_smoothing": 0.35,
    },
}

# And for images with a side of more than LARGE pixels, on which a small defect would be averaged
# away: further scores, with their weights, and how all of them add up.
LARGE = 32
LARGE_PRESETS: dict[str, dict[Score, float]] = {"default": {"patches": 0.5, "flaws": 2.0}}
LARGE_SUM: dict[str, Any] = {"score_scale": "surplus", "search_margin": 3.0}

OF_OWN_SCORES = ("score_weights", *LARGE_SUM)  # what a preset says of its own scores alone


def resolve(
    preset: str,
    settings: Mapping[str, Any],
    *,
    channels: int = 1,
    size: tuple[int, int] = (LARGE, LARGE),
) -> Config:
    """Return a preset with `settings` laid over it.

    Parameters
    ----------
    preset
        One of `PRESETS`.
    settings
        Fields of `Config` to values, as from `merge`.
    channels
        Of the images, 1 or 3; colour changes what `COLOUR` and `COLOUR_PRESETS` say.
    size
        Height and width of the images; large ones change what `LARGE_PRESETS` and `LARGE_SUM` say.

    Raises
    ------
    UsageError
        For an unknown preset or key (with a suggestion) or a value out of its range.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise unknown("preset", str(preset), PRESETS)
    colour = COLOUR | COLOUR_PRESETS.get(preset, {}) if channels == 3 else {}
    chosen, laid_over = PRESETS[preset] | colour, check_settings(settings)
    if max(size) > LARGE and preset in LARGE_PRESETS:
        further = LARGE_PRESETS[preset]
        chosen["scores"] = (*chosen["scores"], *further)
        chosen["score_weights"] = (*chosen["score_weights"], *further.values())
        chosen |= LARGE_SUM
    if "scores" in laid_over:
        for name in OF_OWN_SCORES:
            chosen.pop(name, None)
    return Config(**(chosen | laid_over))


def settle(preset: str, settings: Mapping[str, Any], rule: ImageRule) -> Config:
    """Return what `resolve` does for images that `rule` takes, with nothing left "auto".

    Raises
    ------
    UsageError
        As `resolve`; where T's scores would look at what T has not learned; and where images are
        too small for a normalisation.
    """
    config = resolve(preset, settings, channels=rule.channels, size=rule.image_size)
    if config.uses_turns and config.turn_sides == 2 and config.symmetry != "mirror":
        raise UsageError("turn_sides = 2 needs symmetry = mirror: T must have seen mirrored images")
    height, width = rule.within(config.network_side).image_size
    if config.autoencoder_norm == "instance" and max(height, width) <= SMALLEST_SIDE:
        raise UsageError(
            f"autoencoder_norm = instance needs images of more than {SMALLEST_SIDE} pixels a side "
            f"(have {height}×{width}), for En makes one pixel of such a small one: take batch"
        )
    seen: dict[str, Any] = {"image_size": rule.image_size, "channels": rule.channels}
    return dataclasses.replace(config, **seen)


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a settled config as it was written with the fields that it lacks, which came later.

    Each has a default under which everything stays as it was; but of images above 64 pixels a side
    the networks saw all, 128 at most, before there was `network_side`.
    """
    fields, size = Config().to_dict(), stored.get("image_size")
    if isinstance(size, list) and max(size) > fields["network_side"]:
        fields["network_side"] = 128
    return fields | dict(stored)


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every value of its field's type; refuse unknown keys."""
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"settings of type {type(settings).__name__} must name fields, such as {{'epochs': 20}}"
        )
    return {name: _typed(name, value) for name, value in settings.items()}


FIELDS = {f.name: f for f in dataclasses.fields(Config)}
_TYPES = get_type_hints(Config)


def field_type(name: str) -> Any:
    """Return the annotation of a field of `Config`, resolved."""
    return _TYPES[name]


def _typed(name: str, value: Any) -> Any:
    """Return `value` as the field's type, or say what it must be.

    Text, as from a flag or the environment, may spell any of them: ``"50"``, ``"1e-3"``,
    ``"32x48"``, ``"128,64"``. YAML's 10 is a fine float.
    """
    if name not in FIELDS:
        raise unknown("setting", name, FIELDS)
    result = _convert(value, _TYPES[name])
    if result is None:
        raise UsageError(f"{name} = {value!r} must be {_spell(_TYPES[name])}")
    return result


def _convert(value: Any, wanted: Any) -> Any:
    """Return `value` as type `wanted`, or None if it is not one."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        options = (_convert(value, option) for option in get_args(wanted))
        return next((option for option in options if option is not None), None)
    if origin is Literal:
        known = get_args(wanted)
        return next((choice for choice in known if _convert(value, type(choice)) == choice), None)
    if origin is tuple:
        return _convert_tuple(value, get_args(wanted))
    if isinstance(value, str) and wanted in (int, float):
        return _number(value, wanted)
    kind = {int: Integral, float: Real}.get(wanted, wanted)  # numpy's numbers are welcome
    if not isinstance(value, kind) or isinstance(value, bool):
        return None
    with suppress(OverflowError):  # a whole number that no float holds
        return wanted(value)
    return None


def _number(text: str, wanted: type[int] | type[float]) -> int | float | None:
    try:
        return wanted(text)
    except ValueError:
        return None


def _convert_tuple(value: Any, items: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if isinstance(value, str):  # "32x48", "128,64", "[128, 64]", "[]"
        text = value.strip("[]() ")
        if items[-1] is not Ellipsis:
            text = text.replace("x", ",").replace("×", ",")
        value = text.split(",") if text else []
    if not isinstance(value, (list, tuple)):
        return None
    if items[-1] is not Ellipsis and len(value) != len(items):
        return None
    value = [item.strip() if isinstance(item, str) else item for item in value]
    result = tuple(_convert(item, items[0]) for item in value)
    return None if None in result else result


def _spell(wanted: Any) -> str:
    """Return a type in a user's words."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_spell(option) for option in get_args(wanted))
    if origin is Literal:
        return " or ".join(repr(option) for option in get_args(wanted))
    if origin is tuple:
        item, length = get_args(wanted)[0], get_args(wanted)[1]
        if get_origin(item) is Literal:
            return f"a list of {_spell(item)}"
        if length is not Ellipsis:
            return "HEIGHTxWIDTH"
        return "numbers such as 0.3,1" if item is float else "whole numbers such as 128,64"
    return {int: "a whole number", float: "a number", str: "a word"}[wanted]


def _check(config: Config) -> None:
    """Refuse values outside their range, in one line that says what is allowed."""
    for name, one in FIELDS.items():
        value, within = getattr(config, name), one.metadata["within"]
        if within is not None and not within[0] <= value <= within[1]:
            low, high = within
            upper = f" and at most {high:g}" if high < LARGEST or value > high else ""
            raise UsageError(f"{name} = {value!r} must be at least {low:g}{upper}")
    latent_widths = config.latent_widths
    if not latent_widths or not 1 <= min(latent_widths) <= max(latent_widths) <= LONGEST:
        raise UsageError(f"latent_widths = {latent_widths!r} must be whole numbers, 1 to {LONGEST}")
    if not config.scores or len(set(config.scores)) < len(config.scores):
        raise UsageError(f"scores = {config.scores!r} must name one or more, each once")
    weights = config.score_weights
    fitting = len(weights) in (0, len(config.scores))
    if not (fitting and all(0 < weight < math.inf for weight in weights)):
        raise UsageError(
            f"score_weights = {weights!r} must be a number above 0 for each of the scores "
            f"{', '.join(config.scores)}"
        )
    _check_image_size(config.image_size)


def _check_image_size(image_size: int | tuple[int, int] | str) -> None:
    if isinstance(image_size, str):
        return
    sides = (image_size,) if isinstance(image_size, int) else image_size
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides):
        raise UsageError(
            f"image_size = {image_size!r} must be {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side"
        )
