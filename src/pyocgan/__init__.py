"""pyocgan: learn one class of images, find what does not belong to it.

Names are loaded when first used, so that importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .config import Config
    from .data import ImageRule, fetch, open_source
    from .detector import NoveltyDetector
    from .errors import ImageWarning, InputError, ModelError, OcganError, UsageError
    from .evaluation import evaluate
    from .mistakes import suspicion

_HOME = {
    "Config": "config",
    "ImageRule": "data",
    "ImageWarning": "errors",
    "InputError": "errors",
    "ModelError": "errors",
    "NoveltyDetector": "detector",
    "OcganError": "errors",
    "UsageError": "errors",
    "evaluate": "evaluation",
    "fetch": "data",
    "open_source": "data",
    "suspicion": "mistakes",
}

__all__ = [
    "Config",
    "ImageRule",
    "ImageWarning",
    "InputError",
    "ModelError",
    "NoveltyDetector",
    "OcganError",
    "UsageError",
    "evaluate",
    "fetch",
    "open_source",
    "suspicion",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
