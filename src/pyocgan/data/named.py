"""The named data sets: their official files, classes and licences, and the copies we also read.

A set lies in ``<data root>/<name>/``, under the names that its authors gave its files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, system_reason, unknown
from .cifar import open_cifar
from .digits import open_digits
from .idx import open_idx_folder
from .source import Source, retitled
from .zipped import open_zip

DATA_ROOT_VARIABLE = "OCGAN_DATA_ROOT"


@dataclass(frozen=True)
class RemoteFile:
    """An official file: its name, where it is, and its checksum (``"sha256:…"``, ``"md5:…"``)."""

    name: str
    url: str
    checksum: str


@dataclass(frozen=True)
class Form:
    """A form in which a set may lie in a folder.

    Parameters
    ----------
    marker
        The file or folder whose presence tells it.
    open
        Opens the marker's path and a split.
    caveat
        How its pixels differ from the official ones; empty if they do not.
    """

    marker: str
    open: Callable[[Path, str], Source]
    caveat: str = ""


@dataclass(frozen=True)
class NamedSet:
    """A data set that is known by name.

    Parameters
    ----------
    name, title
        For flags and for people.
    classes
        In official order.
    note
        What to cite, and the licence.
    forms
        The forms that are read, the preferred one first; none for a set that scikit-learn brings.
    files
        What `fetch` downloads.
    has_split
        Whether the set is divided into train and test.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    note: str
    forms: tuple[Form, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    has_split: bool = True

    def form_in(self, folder: Path) -> Form | None:
        """Give the form in which the set lies in a folder, or None."""
        return next((form for form in self.forms if (folder / form.marker).exists()), None)

    def open(self, folder: Path, split: str) -> Source:
        """Open the set in a folder.

        Raises
        ------
        InputError
            It is not there in any form, or is damaged.
        """
        form = self.form_in(folder)
        if form is not None:
            source, caveat = form.open(folder / form.marker, split), form.caveat
        elif not self.forms:
            source, caveat = open_digits(split), ""
        else:
            raise InputError(
                f"{self.title} is not in {folder}: get it with `ocgan data fetch {self.name}`, "
                "or say with --data-root DIR (data_root) where it is"
            )
        if source.labels is None:
            raise InputError(
                f"{self.title} in {folder} lacks its labels: `ocgan data fetch {self.name}` "
                "gets what is missing"
            )
        return retitled(source, self._opening(split, caveat), self.classes, caveat)

    def _opening(self, split: str, caveat: str) -> str:
        part = f", {split} part" if self.has_split and split != "all" else ""
        return f"{self.title}{f' ({caveat})' if caveat else ''}{part}:"


def find_named(name: str) -> NamedSet | None:
    """Look a set up by name, any case, with ``-`` or ``_``."""
    return NAMED.get(name.lower().replace("-", "_"))


def require_named(name: str) -> NamedSet:
    """Look a set up by name; raise `UsageError` with a suggestion where there is none."""
    found = find_named(name)
    if found is None:
        raise unknown("data set", name, NAMED)
    return found


def named_folder(data_set: NamedSet, data_root: str | os.PathLike[str] | None = None) -> Path:
    """Give the folder of a set: below `data_root`, else $OCGAN_DATA_ROOT, else the user's cache."""
    root = data_root or os.environ.get(DATA_ROOT_VARIABLE)
    if root is None or root == "":
        import pooch

        root = Path(pooch.os_cache("pyocgan"))
    try:
        return Path(root).expanduser() / data_set.name
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{str(root)!r} cannot be opened: {system_reason(error)}") from None


def named_in_folder(folder: Path) -> NamedSet | None:
    """Recognise the set whose files lie in a folder.

    MNIST and Fashion-MNIST use the same file names; only the folder's own name can tell them.
    """
    present = [data_set for data_set in NAMED.values() if data_set.form_in(folder)]
    if len(present) > 1:
        return next((one for one in present if one is find_named(folder.resolve().name)), None)
    return present[0] if present else None


def _idx_set(
    name: str,
    title: str,
    classes: tuple[str, ...],
    note: str,
    host: str,
    checksums: dict[str, str],
) -> NamedSet:
    """Describe a set that consists of MNIST's four files."""

    def open_marked(path: Path, split: str) -> Source:
        return open_idx_folder(path.parent, split, classes)

    markers = [f"{part}-images-idx3-ubyte" for part in ("train", "t10k")]
    forms = tuple(Form(marker + end, open_marked) for marker in markers for end in (".gz", ""))
    files = tuple(
        RemoteFile(f"{file}-ubyte.gz", f"{host}{file}-ubyte.gz", f"sha256:{checksum}")
        for file, checksum in checksums.items()
    )
    return NamedSet(name, title, classes, note, forms, files)


_NUMBERS = tuple(str(number) for number in range(1, 101))
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_MNIST_SET = _idx_set(
    "mnist",
    "MNIST",
    tuple("0123456789"),
    "LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86(11), 1998; CC BY-SA 3.0",
    # The original host, yann.lecun.com, refuses downloads; this is PyTorch's mirror of its files.
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    {
        "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
_FASHION_SET = _idx_set(
    "fashion_mnist",
    "Fashion-MNIST",
    _FASHION,
    "Xiao, Rasul, Vollgraf, arXiv 1708.07747, 2017; MIT licence, Zalando SE",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
_CIFAR_SET = NamedSet(
    "cifar10",
    "CIFAR-10",
    _CIFAR,
    "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; no licence stated",
    forms=(
        Form("cifar-10-python.tar.gz", open_cifar),
        Form("cifar-10-batches-py", open_cifar),
        Form("cifar10_jpeg.zip", open_zip, "JPEG re-encoded copy, not the official pixels"),
    ),
    files=(
        RemoteFile(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "md5:c58f30108f718f92721af3b95e74349a",
        ),
    ),
)
_COIL_SET = NamedSet(
    "coil100",
    "COIL-100",
    _NUMBERS,
    "Nene, Nayar, Murase, Columbia University CUCS-006-96, 1996; for non-commercial research",
    forms=(
        Form("coil-100.zip", open_zip),
        Form("coil-100_32px.zip", open_zip, "area-resized to 32 pixels"),
    ),
    files=(
        RemoteFile(
            "coil-100.zip",
            "http://www.cs.columbia.edu/CAVE/databases/SLAM_coil-20_coil-100/coil-100/coil-100.zip",
            "sha256:fcb4b8b01c0778f416d8d7a09f45082c4f7075cc74743dcddd5c44307bd4afe7",
        ),
    ),
    has_split=False,
)
_DIGITS_SET = NamedSet(
    "digits",
    "digits",
    tuple("0123456789"),
    "Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; CC BY 4.0",
)

NAMED: dict[str, NamedSet] = {
    data_set.name: data_set
    for data_set in (_MNIST_SET, _FASHION_SET, _CIFAR_SET, _COIL_SET, _DIGITS_SET)
}
