"""The named data sets: where they lie, which forms are read, and their downloads."""

import functools
import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import pooch
import pytest

from data_fixtures import (
    CIFAR_CLASSES,
    DATA_ROOT,
    cifar_batches,
    needs,
    write_cifar_tar,
    write_idx,
    write_tree,
    zip_tree,
)
from pyocgan.data import NAMED, ImageRule, fetch, open_source, read
from pyocgan.errors import InputError, OcganError, UsageError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("OCGAN_DATA_ROOT", raising=False)
    monkeypatch.delenv("OCGAN_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_the_table():
    assert list(NAMED) == ["mnist", "fashion_mnist", "cifar10", "coil100", "digits"]
    for name, data_set in NAMED.items():
        assert data_set.name == name
        assert len(data_set.classes) == len(set(data_set.classes)) == (100 if "100" in name else 10)
        assert data_set.note
        for file in data_set.files:
            kind, _, digest = file.checksum.partition(":")
            assert len(digest) == {"sha256": 64, "md5": 32}[kind]
            assert file.url.endswith(f"/{file.name}")
    assert list(NAMED["cifar10"].classes) == CIFAR_CLASSES
    assert NAMED["fashion_mnist"].classes[9] == "Ankle boot"
    assert sum(len(data_set.files) for data_set in NAMED.values()) == 10


@pytest.mark.parametrize("name", ["mnist", "cifar10", "coil100", "fashion-mnist"])
def test_missing_set_says_how_to_get_it(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    official = name.replace("-", "_")
    with pytest.raises(InputError, match=rf"`ocgan data fetch {official}`.*--data-root DIR"):
        open_source(name, data_root=tmp_path)


def test_data_root_by_argument_then_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "one" / "mnist", count=10)
    write_idx(tmp_path / "two" / "mnist", count=20)
    monkeypatch.setenv("OCGAN_DATA_ROOT", str(tmp_path / "one"))
    assert len(open_source("mnist")) == 10
    assert len(open_source("mnist", data_root=tmp_path / "two")) == 20


def test_default_data_root_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="pyocgan"):
        open_source("mnist")


def test_a_path_of_that_name_wins(tmp_path, monkeypatch):
    write_tree(tmp_path / "mnist", ["a.png"])
    monkeypatch.chdir(tmp_path)
    assert open_source("mnist").description == "folder of 1 image"


def test_fashion_mnist_has_its_class_names(tmp_path):
    write_idx(tmp_path / "fashion_mnist")
    for source in (
        open_source("Fashion-MNIST", data_root=tmp_path),
        open_source(tmp_path / "fashion_mnist"),
    ):
        assert source.labels[9] == "Ankle boot"
        assert source.of_class("Bag").names == source.of_class(8).names == ("train/8", "train/18")
        assert source.description.startswith("Fashion-MNIST, train part: 20 images in 10 classes")


def test_same_files_in_a_folder_of_another_name_stay_unnamed(tmp_path):
    write_idx(tmp_path / "some")
    source = open_source(tmp_path / "some")
    assert source.description.startswith("IDX files, train part: 20 images")
    assert source.classes == tuple("0123456789")


def test_named_set_without_its_labels(tmp_path):
    write_idx(tmp_path / "mnist", labels=False)
    with pytest.raises(InputError, match="lacks its labels: `ocgan data fetch mnist`"):
        open_source("mnist", data_root=tmp_path)


def test_label_beyond_the_classes(tmp_path):
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    content = b"\0\0\x08\x01" + (20).to_bytes(4, "big") + bytes([11]) * 20
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(InputError, match="label 11 is beyond the 10 classes"):
        open_source("mnist", data_root=tmp_path)


def write_cifar_copy(folder, classes=CIFAR_CLASSES):
    paths = [f"{part}/{name}/0000.jpg" for part in ("train", "test") for name in classes]
    tree = write_tree(folder / "tree", paths, size=(32, 32))
    (folder / "cifar10").mkdir(exist_ok=True)
    return zip_tree(tree, folder / "cifar10" / "cifar10_jpeg.zip")


@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar_copy_says_so(tmp_path, split):
    write_cifar_copy(tmp_path)
    for source in (
        open_source("cifar10", data_root=tmp_path, split=split),
        open_source(tmp_path / "cifar10", split=split),
    ):
        assert source.classes == tuple(CIFAR_CLASSES)
        assert source.of_class(3).names == (f"{split}/cat/0000.jpg",)
        assert source.description.startswith(
            f"CIFAR-10 (JPEG re-encoded copy, not the official pixels), {split} part: 10 images"
        )
        assert source.of_class(3).caveat == "JPEG re-encoded copy, not the official pixels"


def test_a_class_that_a_copy_lacks_is_named(tmp_path):
    write_cifar_copy(tmp_path, ["cat", "dog"])
    source = open_source("cifar10", data_root=tmp_path)
    with pytest.raises(InputError, match=r"no image of class 'frog' in .*are: cat 1, dog 1$"):
        source.of_class("frog")
    with pytest.raises(InputError, match="no image of class 'frog'"):
        source.of_class(6)
    with pytest.raises(InputError, match=r"there are: none$"):
        source.subset([]).of_class("cat")
    with pytest.raises(UsageError, match="unknown class 'forg'"):
        source.of_class("forg")


def test_official_cifar_is_preferred(tmp_path):
    write_cifar_copy(tmp_path)
    write_cifar_tar(tmp_path / "cifar10" / "cifar-10-python.tar.gz", cifar_batches()[0])
    source = open_source("cifar10", data_root=tmp_path)
    assert source.description.startswith("CIFAR-10, train part: 50 images")


@pytest.mark.parametrize(
    ("archive", "title"),
    [
        ("coil-100.zip", "COIL-100: 6 images in 100 classes"),
        ("coil-100_32px.zip", "COIL-100 (area-resized to 32 pixels): 6 images in 100 classes"),
    ],
)
def test_coil(tmp_path, archive, title):
    names = [f"obj{k}__{angle}.png" for k in (100, 5) for angle in (0, 5, 10)]
    (tmp_path / "coil100").mkdir()
    zip_tree(write_tree(tmp_path / "x", names), tmp_path / "coil100" / archive, "coil-100/")
    source = open_source("coil100", data_root=tmp_path, split="test")
    assert source.description.startswith(title)
    assert set(source.of_class(5).labels) == {"5"}
    assert source.is_novel("100").sum() == 3


def test_digits():
    train, test, everything = (
        open_source("digits", split=split) for split in ("train", "test", "all")
    )
    assert len(everything) == len(train) + len(test) == 1797
    assert not set(train.names) & set(test.names)
    for name in everything.classes:
        share = len(train.of_class(name)) / len(everything.of_class(name))
        assert share == pytest.approx(0.8, abs=0.01)
    images = read(everything, ImageRule((8, 8), 1))
    assert images.pixels.max() == 255
    assert images.labels[:3].tolist() == ["0", "1", "2"]
    assert images.pixels[0, 0, 2, 0] == round(5 * 255 / 16)  # the set's first stroke is a 5
    assert train.description.startswith("digits, train part: 1,438 images in 10 classes")


# Real files, where there are any


@pytest.mark.parametrize(
    ("name", "split", "count", "of_class_0"),
    [
        pytest.param("mnist", "train", 60000, 5923, marks=needs("mnist")),
        pytest.param("mnist", "test", 10000, 980, marks=needs("mnist")),
        pytest.param("fashion_mnist", "train", 60000, 6000, marks=needs("fashion_mnist")),
        pytest.param("cifar10", "test", 10000, 1000, marks=needs("cifar10")),
        pytest.param("coil100", "all", 7200, 72, marks=needs("coil100")),
    ],
)
def test_real_counts(name, split, count, of_class_0):
    source = open_source(name, data_root=DATA_ROOT, split=split)
    assert len(source) == count
    normal = source.of_class(source.classes[0])
    assert len(normal) == of_class_0
    assert len(read(normal, ImageRule((32, 32), 1))) == of_class_0


# Downloads, from a server on this machine


class Host:
    """A web server that shows one folder and counts the requests."""

    def __init__(self, folder):
        self.requests = []
        requests = self.requests

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                requests.append(self.path)

        handler = functools.partial(Handler, directory=folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A mirror with two small files under the name of MNIST, and a table that knows them."""
    mirror = tmp_path / "host" / "mnist"
    write_idx(mirror)
    files = tuple(
        replace(file, checksum=f"sha256:{sha256(mirror / file.name)}")
        for file in NAMED["mnist"].files[:2]
    )
    monkeypatch.setitem(NAMED, "mnist", replace(NAMED["mnist"], files=files))
    host = Host(tmp_path / "host")
    yield host
    host.server.shutdown()
    host.server.server_close()


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def test_fetch_then_open(tmp_path, host):
    folder = fetch("mnist", tmp_path / "root", base_url=host.url)
    assert folder == tmp_path / "root" / "mnist"
    assert sorted(path.name for path in folder.iterdir()) == [IMAGES, LABELS]
    assert len(open_source("mnist", data_root=tmp_path / "root")) == 20


def test_fetch_from_the_mirror_variable(tmp_path, host, monkeypatch):
    monkeypatch.setenv("OCGAN_MIRROR", f"{host.url}/")
    monkeypatch.setenv("OCGAN_DATA_ROOT", str(tmp_path / "root"))
    assert (fetch("MNIST") / LABELS).is_file()


def test_official_addresses_are_used_without_a_mirror(tmp_path, host, monkeypatch):
    files = tuple(
        replace(file, url=f"{host.url}/mnist/{file.name}") for file in NAMED["mnist"].files
    )
    monkeypatch.setitem(NAMED, "mnist", replace(NAMED["mnist"], files=files))
    assert (fetch("mnist", tmp_path / "root") / IMAGES).is_file()


def test_fetch_downloads_only_what_is_missing_or_wrong(tmp_path, host):
    folder = fetch("mnist", tmp_path, base_url=host.url)
    assert len(host.requests) == 2
    fetch("mnist", tmp_path, base_url=host.url)
    assert len(host.requests) == 2
    (folder / LABELS).unlink()
    fetch("mnist", tmp_path, base_url=host.url)
    assert LABELS in host.requests[2]
    (folder / IMAGES).write_bytes(b"half a download")
    fetch("mnist", tmp_path, base_url=host.url)
    assert IMAGES in host.requests[3]
    assert len(host.requests) == 4
    assert len(open_source(folder)) == 20


def test_wrong_checksum_leaves_nothing(tmp_path, host):
    (tmp_path / "host" / "mnist" / IMAGES).write_bytes(b"something else")
    with pytest.raises(OcganError, match="does not have the official checksum") as caught:
        fetch("mnist", tmp_path / "root", base_url=host.url)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "root" / "mnist").iterdir()) == []


def test_file_that_the_host_lacks(tmp_path, host):
    (tmp_path / "host" / "mnist" / LABELS).unlink()
    with pytest.raises(OcganError, match=rf"{LABELS}: the host answers 404 .*[Nn]ot found$"):
        fetch("mnist", tmp_path / "root", base_url=host.url)
    assert (tmp_path / "root" / "mnist" / IMAGES).is_file()


def test_no_connection(tmp_path):
    with pytest.raises(OcganError, match=r"no connection \(ConnectionError\).*OCGAN_MIRROR"):
        fetch("mnist", tmp_path, base_url="http://127.0.0.1:9")


@pytest.mark.parametrize("mirror", ["myhost/x", "localhost:8000/x", "ftp://myhost/x"])
def test_a_mirror_that_is_no_address_of_the_web(tmp_path, monkeypatch, mirror):
    monkeypatch.setenv("OCGAN_MIRROR", mirror)
    with pytest.raises(
        UsageError, match=rf"^{mirror}/mnist/\S+: the address lacks http:// or https"
    ):
        fetch("mnist", tmp_path)


def test_folder_that_cannot_be_made(tmp_path, host):
    (tmp_path / "file").write_text("")
    with pytest.raises(OcganError, match="cannot write into"):
        fetch("mnist", tmp_path / "file", base_url=host.url)


def test_progress_goes_to_stderr_and_silence_is_silent(tmp_path, host, capfd, monkeypatch):
    remarks = []
    monkeypatch.setattr(pooch.get_logger(), "handle", remarks.append)
    fetch("mnist", tmp_path / "a", base_url=host.url)
    assert remarks == []
    assert capfd.readouterr() == ("", "")
    fetch("mnist", tmp_path / "b", base_url=host.url, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert IMAGES in err
    assert "100%" in err


def test_set_that_needs_no_download(tmp_path):
    assert fetch("digits", tmp_path) == tmp_path / "digits"


def test_unknown_set(tmp_path):
    with pytest.raises(UsageError, match="unknown data set 'mnits': did you mean 'mnist'"):
        fetch("mnits", tmp_path)


def test_pixels_of_a_fetched_set_are_the_hosts(tmp_path, host):
    fetch("mnist", tmp_path / "root", base_url=host.url)
    rule = ImageRule((9, 8), 1)
    np.testing.assert_array_equal(
        read(open_source("mnist", data_root=tmp_path / "root"), rule).pixels,
        read(open_source(tmp_path / "host" / "mnist"), rule).pixels,
    )
