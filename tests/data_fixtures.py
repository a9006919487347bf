"""Small real files for the tests of pyocgan.data."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA_ROOT = os.environ.get("OCGAN_DATA_ROOT")


def needs(name):
    """Mark a test of real files, skipped where there are none."""
    there = DATA_ROOT is not None and (Path(DATA_ROOT) / name).is_dir()
    return pytest.mark.skipif(not there, reason=f"needs {name} in $OCGAN_DATA_ROOT")


def pixels(height=12, width=16, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path, size=(12, 16), channels=3, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(*size, channels, seed)).save(path, **options)
    return path


def write_tree(root, paths, **options):
    """Images with different pixels at the given relative paths."""
    for seed, path in enumerate(paths):
        write_image(root / path, seed=seed, **options)
    return root


def zip_tree(folder, path, inside=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, inside + file.relative_to(folder).as_posix())
    return path


def png_header(height, width):
    """A PNG that claims a size and ends after its first chunk."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def idx_bytes(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder, part="train", count=20, zipped=True, seed=0, labels=True):
    """MNIST-like files of one part; gives (images, labels)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 9, 8), dtype=np.uint8)
    numbers = np.arange(count) % 10
    pack, suffix = (gzip.compress, ".gz") if zipped else (bytes, "")
    (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
    if labels:
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(numbers)))
    return images, numbers


CIFAR_CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


def cifar_batches(per_batch=10):
    """CIFAR-10's files, pickled; gives (name -> bytes, (N, 32, 32, 3) training pixels)."""
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    images = [pixels(per_batch * 32, 32, 3, seed).reshape(-1, 32, 32, 3) for seed in range(6)]
    content = {
        name: pickle.dumps(
            {
                b"data": part.transpose(0, 3, 1, 2).reshape(per_batch, -1),
                b"labels": [i % 10 for i in range(per_batch)],
            },
            protocol=3,
        )
        for name, part in zip(names, images, strict=True)
    }
    meta = {b"label_names": [name.encode() for name in CIFAR_CLASSES]}
    content["batches.meta"] = pickle.dumps(meta, protocol=3)
    return content, np.concatenate(images[:5])


def write_cifar_tar(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
