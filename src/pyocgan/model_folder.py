"""A model on disk: `model.json` and the weights it names, safetensors, never pickle. No torch here.

`model.json` is written last and replaced in one step, so a folder holds the old model or the new
one, whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from . import __version__
from .errors import InputError, ModelError, OcganError, UsageError, system_reason
from .files import write_bytes, write_json

DESCRIPTION = "model.json"
CHECKPOINT = "checkpoint.safetensors"  # of a training that is not finished
FORMAT = "pyocgan model"
FORMAT_VERSION = 2


def write(folder: Path, weights: bytes, description: Mapping[str, Any]) -> None:
    """Write safetensors and description; an earlier model in `folder` gives way at the end.

    Raises
    ------
    OcganError
        The folder cannot be written, or has a `model.json` that is another program's.
    """
    _check_own(folder / DESCRIPTION)
    digest = hashlib.sha256(weights).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "pyocgan": __version__,
        "weights": name,
        "weights_sha256": digest,
    }
    is_new = not (folder / name).exists()
    write_bytes(folder / name, weights)
    try:
        write_json(folder / DESCRIPTION, header | dict(description))
        if not (folder / name).exists():  # another process, which wrote there too, took it away
            write_bytes(folder / name, weights)
    except BaseException:
        if is_new and not _names(folder, name):
            (folder / name).unlink()
        raise
    for old in folder.glob(f"weights-{'[0-9a-f]' * 12}.safetensors"):
        if not _names(folder, old.name):  # another process may have written since
            old.unlink(missing_ok=True)


def _check_own(path: Path) -> None:
    """Refuse to replace what is no model's description; a damaged one may be ours."""
    with contextlib.suppress(OSError, ValueError):
        if not _is_own(json.loads(path.read_text(encoding="utf-8"))):
            raise OcganError(f"{str(path)!r} is another program's: save to another folder")


def _is_own(description: object) -> bool:
    return isinstance(description, dict) and description.get("format") == FORMAT


def files(folder: Path) -> Iterator[Path]:
    """Yield the files of a model, whole or not."""
    yield folder / DESCRIPTION
    yield from folder.glob("weights-*.safetensors")


def _names(folder: Path, weights: str) -> bool:
    with contextlib.suppress(ModelError):
        return read_description(folder).get("weights") == weights
    return False


def read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read description and weights of one model, though another may be written meanwhile.

    Raises
    ------
    ModelError
        Not a model, damaged, or in another version of the format.
    """
    description = read_description(folder)
    while True:
        try:
            return description, read_weights(folder, description)
        except ModelError:
            before, description = description, read_description(folder)
            if description == before:
                raise


def read_description(folder: Path) -> dict[str, Any]:
    """Read `model.json`.

    Raises
    ------
    ModelError
        Not a model, damaged, or in another version of the format.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{str(folder)!r} is not a model: {_missing(folder)}") from None
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}; copy the model again") from None
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {system_reason(error)}") from None
    if not _is_own(description):
        raise ModelError(f"{str(path)!r} does not describe a pyocgan model")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        writer = description.get("pyocgan")
        older = "" if writer == __version__ else f"use pyocgan {writer}, which wrote it, or "
        raise ModelError(
            f"{str(folder)!r} has model format {version!r}, pyocgan {__version__} reads "
            f"{FORMAT_VERSION}: {older}train anew"
        )
    return description


def _missing(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return "its training is not finished, and the same ocgan train goes on with it"
    if folder.name == DESCRIPTION:
        return f"name the folder {str(folder.parent)!r}"
    if not folder.exists():
        return "it does not exist"
    return f"it has no {DESCRIPTION}; ocgan train makes one"


def read_weights(folder: Path, description: Mapping[str, Any]) -> bytes:
    """Read the safetensors that `description` names; their checksum must be the one it gives."""
    path = folder / str(description["weights"])
    try:
        weights: bytes = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"{str(folder)!r} lacks its weights, {path.name}: copy the whole folder"
        ) from None
    except PermissionError as error:
        raise ModelError(f"cannot read {str(path)!r}: {system_reason(error)}") from None
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise ModelError(f"{str(path)!r} is damaged: its checksum is not the model's")
    return weights


@contextlib.contextmanager
def understanding(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged model makes fail into one `ModelError` that names the folder."""
    expected = (OSError, LookupError, AttributeError, TypeError, ValueError, RuntimeError)
    try:
        yield
    except (*expected, SafetensorError, InputError, UsageError) as error:
        line = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model {str(folder)!r} is damaged ({type(error).__name__}: {line})"
        ) from None
