"""Where encoded images or pixels lie: files, members of a zip file, one array.

A store counts its images from 0 and knows neither names nor labels. Stores can be pickled: what
is open or loaded stays behind, and every process opens or loads it again when it first needs it.
"""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from ..errors import system_reason
from .decode import (
    LIMIT_MEGAPIXELS,
    Header,
    decode,
    header_of,
    plain_errors,
    read_header,
    unreadable,
    upright,
)
from .rule import picture

LIMIT_BYTES = 8_000_000 * LIMIT_MEGAPIXELS  # of a file: four channels of 16 bits, not compressed


class Store(Protocol):
    """What a `Source` needs of the place where its images lie."""

    def header(self, index: int) -> Header:
        """Give size and mode of one image without decoding it."""

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """Decode one image, upright; see `decode` for `at_least`."""

    def files(self, rows: Sequence[int]) -> tuple[Path, ...]:
        """Name the files that hold some images; none where they lie in memory."""


class Encoded(ABC):
    """Images that must be decoded; the children say how to open one of them."""

    @abstractmethod
    def open(self, index: int) -> BinaryIO:
        """Open the bytes of one image; raise `UnreadableImage` where that fails."""

    def header(self, index: int) -> Header:
        """Give size and mode of one image without decoding it."""
        with self.open(index) as file:
            return read_header(file)

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """Decode one image, upright."""
        with self.open(index) as file:
            return decode(file, at_least)


class Files(Encoded):
    """Image files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def open(self, index: int) -> BinaryIO:
        """Open one file."""
        try:
            if self.paths[index].is_fifo():  # nobody may ever write into it
                raise unreadable("is a named pipe")
            return self.paths[index].open("rb")
        except FileNotFoundError:
            raise unreadable(f"does not exist at {self.paths[index].resolve()}") from None
        except IsADirectoryError:
            raise unreadable("is a folder: name the images in it, or the folder alone") from None
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            raise unreadable(f"cannot be opened ({system_reason(error)})") from None

    def files(self, rows: Sequence[int]) -> tuple[Path, ...]:
        """Name the file of each."""
        return tuple(self.paths[row] for row in rows)


class ZipMembers(Encoded):
    """Members of a zip file."""

    def __init__(self, path: Path, members: Sequence[str]) -> None:
        self.path = path
        self.members = tuple(members)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def header(self, index: int) -> Header:
        """Give size and mode of one image; no more of it is unpacked than that takes."""
        with _unpacking(), self._archive().open(self.members[index]) as file:
            return read_header(cast("BinaryIO", file))

    def open(self, index: int) -> BinaryIO:
        """Read the bytes of one member."""
        with _unpacking():
            member = self._archive().getinfo(self.members[index])
            if member.file_size > LIMIT_BYTES:
                sizes = [f"{n // 1_000_000:,} MB" for n in (member.file_size, LIMIT_BYTES)]
                raise unreadable(f"is {sizes[0]} large, over the limit of {sizes[1]}")
            return BytesIO(self._archive().read(member))

    def files(self, rows: Sequence[int]) -> tuple[Path, ...]:
        """Name the zip file."""
        return (self.path,)

    def _archive(self) -> zipfile.ZipFile:
        # A forked process shares its parent's file position, so it opens the file again.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


@contextmanager
def _unpacking() -> Iterator[None]:
    """Turn what goes wrong inside a zip file into a reason."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError):
        raise unreadable("is damaged inside the zip file") from None
    except (RuntimeError, OSError) as error:  # encrypted, rare compression, taken away
        raise unreadable(f"cannot be unpacked ({error})") from None


class Pictures:
    """Images that lie in memory as Pillow has them, of any sizes.

    What was opened from a file is turned upright; what was made of it is left as it was made.
    """

    def __init__(self, pictures: Sequence[Image.Image]) -> None:
        self.pictures = tuple(pictures)

    def header(self, index: int) -> Header:
        """Give size and mode of one image."""
        picture = self.pictures[index]
        if isinstance(picture, ImageFile):
            with plain_errors():
                return header_of(picture)
        size = picture.height, picture.width
        return Header(size, picture.mode, picture.has_transparency_data)

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """Give one image; `at_least` means nothing here."""
        picture = self.pictures[index]
        if isinstance(picture, ImageFile):  # which is read only now
            with plain_errors():
                picture.load()
                return upright(picture)
        return picture

    def files(self, rows: Sequence[int]) -> tuple[Path, ...]:
        """Name none."""
        return ()


class Pixels:
    """Images of one size in one array, loaded when the first of them is asked for.

    Parameters
    ----------
    load
        Gives the (N, H, W, 1 or 3) uint8 array; must be picklable (a `functools.partial`).
    shape
        (H, W, 1 or 3) of one image, known beforehand.
    files
        What `load` reads, and what names the classes.
    """

    def __init__(
        self,
        load: Callable[[], NDArray[np.uint8]],
        shape: tuple[int, ...],
        files: Sequence[Path] = (),
    ) -> None:
        self._load, self._files = load, tuple(files)
        height, width, channels = shape
        self._header = Header((height, width), "L" if channels == 1 else "RGB")

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """All pixels, (N, H, W, 1 or 3)."""
        return self._load()

    def header(self, index: int) -> Header:
        """Give size and mode, the same for every image."""
        return self._header

    def image(self, index: int, at_least: int | None = None) -> Image.Image:
        """Give one image; `at_least` means nothing here."""
        return picture(self.pixels[index])

    def files(self, rows: Sequence[int]) -> tuple[Path, ...]:
        """Name all files that were or will be read, whichever images are meant."""
        return self._files

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "pixels"}
