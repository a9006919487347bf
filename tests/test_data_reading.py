"""Sources to arrays: skipping, batches, fingerprints, other processes."""

import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from data_fixtures import (
    cifar_batches,
    pixels,
    write_cifar_tar,
    write_idx,
    write_tree,
    zip_tree,
)
from pyocgan.data import (
    ImageRule,
    Images,
    UnreadableImage,
    infer_rule,
    open_source,
    read,
    read_batches,
    reading,
)
from pyocgan.data.source import make_source
from pyocgan.data.stores import Files
from pyocgan.errors import InputError

RULE = ImageRule((12, 16), 3)


@pytest.fixture
def mixed(tmp_path):
    """Five images of two classes and two bad files."""
    root = write_tree(tmp_path / "root", ["a/1.png", "a/2.png", "b/1.png", "b/3.png", "b/4.png"])
    (root / "a" / "0.png").write_bytes(b"")
    (root / "b" / "2.png").write_text("text")
    return root


def test_read_gives_pixels_names_labels(tmp_path):
    root = write_tree(tmp_path, ["a/1.png", "b/2.png"])
    images = read(open_source(root), RULE)
    assert images.pixels.shape == (2, 12, 16, 3)
    assert images.pixels.dtype == np.uint8
    assert images.names == ("a/1.png", "b/2.png")
    assert images.labels.tolist() == ["a", "b"]
    assert images.skipped == ()
    assert len(images) == 2


def test_first_unreadable_image_is_raised_with_advice(mixed):
    with pytest.raises(UnreadableImage) as caught:
        read(open_source(mixed), RULE)
    assert caught.value.name == "a/0.png"
    assert str(caught.value) == (
        "a/0.png cannot be read: it is empty (0 bytes); "
        "--skip-unreadable (skip_unreadable=True) skips such files"
    )


def test_skipped_images_keep_names_and_labels_in_step(mixed):
    images = read(open_source(mixed), RULE, skip_unreadable=True)
    assert images.names == ("a/1.png", "a/2.png", "b/1.png", "b/3.png", "b/4.png")
    assert images.labels.tolist() == ["a", "a", "b", "b", "b"]
    assert [name for name, _ in images.skipped] == ["a/0.png", "b/2.png"]
    for seed, found in enumerate(images.pixels):
        np.testing.assert_array_equal(found, pixels(seed=seed))


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_readable_is_an_input_error(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.png").write_text("text")
    source = open_source(tmp_path)
    with pytest.raises(InputError, match=r"none of .* can be read: 0\.png is not a PNG"):
        read(source, RULE, skip_unreadable=True)
    with pytest.raises(InputError, match=r"none of .* can be read: 0\.png is not a PNG"):
        list(read_batches(source, RULE, 2, skip_unreadable=True))


def test_no_images_are_an_input_error():
    source = open_source(np.zeros((3, 9, 8), np.uint8)).subset([])
    with pytest.raises(InputError, match="there is nothing to read"):
        read(source, RULE)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_batches_add_up_to_everything(mixed, batch_size):
    source = open_source(mixed)
    whole = read(source, RULE, skip_unreadable=True)
    batches = list(read_batches(source, RULE, batch_size, skip_unreadable=True))
    assert all(len(batch) <= batch_size for batch in batches)
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in batches]), whole.pixels)
    assert sum((b.names for b in batches), ()) == whole.names
    assert sum((b.skipped for b in batches), ()) == whole.skipped
    assert np.concatenate([b.labels for b in batches]).tolist() == whole.labels.tolist()


def test_batches_are_read_when_asked_for(mixed):
    batches = read_batches(open_source(mixed).subset([1, 2, 0]), RULE, 2)
    assert len(next(batches)) == 2
    with pytest.raises(UnreadableImage, match=r"a/0\.png"):
        next(batches)


class Watched(Files):
    """Files that note which threads open which of them, but for the caller's own."""

    def __init__(self, paths):
        super().__init__(paths)
        self.opened = []

    def open(self, index):
        if threading.current_thread() is not threading.main_thread():
            self.opened.append((index, threading.current_thread()))
        return super().open(index)


def watched(folder, count):
    names = [f"{number}.png" for number in range(count)]
    write_tree(folder, names)
    return make_source(Watched([folder / name for name in names]), names, None, "folder of")


def settled(opened):
    """The images opened so far, once no thread opens more."""
    before = None
    while before != len(opened):
        before = len(opened)
        time.sleep(0.2)
    return sorted(index for index, _ in opened)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_next_batches_are_decoded_meanwhile_and_no_more(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(reading, "DECODERS", threads)
    monkeypatch.setattr(reading, "SMALL", 0)
    source = watched(tmp_path, 20)
    batches = read_batches(source, RULE, 2)
    assert source.store.opened == []
    for number in range(3):
        assert next(batches).names == source.names[2 * number : 2 * number + 2]
        assert settled(source.store.opened) == list(range(2 * (number + threads + 1)))
    batches.close()
    assert {thread for _, thread in source.store.opened}.isdisjoint(threading.enumerate())


@pytest.mark.parametrize(("side", "threads"), [(95, 1), (96, 3)])
def test_small_images_are_decoded_by_one_thread(tmp_path, monkeypatch, side, threads):
    """Several get in each other's way: they decode less than one alone."""
    monkeypatch.setattr(reading, "DECODERS", 3)
    pixels = np.zeros((side, side), np.uint8)
    for number in range(12):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    asked = []
    run_ahead = reading._run_ahead
    monkeypatch.setattr(
        reading, "_run_ahead", lambda jobs, n: asked.append(n) or run_ahead(jobs, n)
    )
    assert sum(len(batch) for batch in read_batches(open_source(tmp_path), RULE, 4)) == 12
    assert asked == [threads]


def test_a_closed_reader_reads_no_further(tmp_path):
    source = watched(tmp_path, 30)
    batches = read_batches(source, RULE, 1)
    next(batches)
    batches.close()
    assert len(settled(source.store.opened)) <= 2 + reading.DECODERS
    assert not any(thread.is_alive() for _, thread in source.store.opened)


@pytest.mark.parametrize("threads", [1, 3])
def test_errors_come_in_their_place_whichever_thread_is_first(mixed, monkeypatch, threads):
    monkeypatch.setattr(reading, "DECODERS", threads)
    monkeypatch.setattr(reading, "SMALL", 0)
    batches = read_batches(open_source(mixed).subset([1, 2, 0, 5]), RULE, 1)
    assert [next(batches).names, next(batches).names] == [("a/1.png",), ("a/2.png",)]
    with pytest.raises(UnreadableImage, match=r"a/0\.png .*empty"):
        next(batches)


def test_zip_files_can_be_read_by_several_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "DECODERS", 4)
    monkeypatch.setattr(reading, "SMALL", 0)
    tree = write_tree(tmp_path / "tree", [f"{number}.png" for number in range(60)])
    expected = read(open_source(tree), RULE).pixels
    batches = read_batches(open_source(zip_tree(tree, tmp_path / "tree.zip")), RULE, 3)
    np.testing.assert_array_equal(np.concatenate([batch.pixels for batch in batches]), expected)


def test_arrays_are_taken_as_single_images_are():
    X = np.random.default_rng(0).integers(0, 256, (7, 9, 8), dtype=np.uint8)
    source = open_source(X).subset([4, 2, 6])
    for rule in (ImageRule((9, 8), 1), ImageRule((9, 8), 3), ImageRule((12, 16), 1)):
        expected = [rule.apply(source.image(index)) for index in range(3)]
        np.testing.assert_array_equal(read(source, rule).pixels, expected)


def test_mixed_sizes_and_modes_become_one_array(tmp_path):
    write_tree(tmp_path, ["1.png", "2.jpg"], size=(30, 20), channels=3)
    write_tree(tmp_path, ["3.bmp", "4.webp"], size=(90, 200), channels=1)
    source = open_source(tmp_path)
    rule, _ = infer_rule(source)
    assert read(source, rule).pixels.shape == (4, 256, 256, 3)


def test_fingerprint_changes_with_pixels_labels_and_shape_only():
    base = np.zeros((2, 4, 4, 1), np.uint8)
    changed = base.copy()
    changed[1, 2, 3] = 1
    labels = np.array(["a", "b"])
    fingerprint = Images(base, ("0", "1"), labels).fingerprint()
    assert len(fingerprint) == 64
    assert fingerprint == Images(base.copy(), ("x", "y"), labels.copy()).fingerprint()
    others = [
        Images(changed, ("0", "1"), labels),
        Images(base, ("0", "1"), labels[::-1]),
        Images(base, ("0", "1"), None),
        Images(base.reshape(2, 2, 8, 1), ("0", "1"), labels),
        Images(base[:0], (), labels[:0]),
    ]
    assert len({fingerprint, *(other.fingerprint() for other in others)}) == 6


def sources(tmp_path):
    tree = write_tree(tmp_path / "tree", ["a/1.png", "a/2.png", "b/1.png"])
    write_idx(tmp_path / "idx")
    tar = write_cifar_tar(tmp_path / "c.tar.gz", cifar_batches()[0])
    yield open_source(tree)
    yield open_source(zip_tree(tree, tmp_path / "tree.zip"))
    yield open_source(tmp_path / "idx")
    yield open_source(tar)
    yield open_source(np.arange(3 * 9 * 8, dtype=np.uint8).reshape(3, 9, 8)).subset([2, 0])


OTHER_PROCESS = """
import pickle, sys
from pyocgan.data import read
for source, rule in pickle.load(sys.stdin.buffer):
    print(read(source, rule).fingerprint())
assert "torch" not in sys.modules and "sklearn" not in sys.modules
"""


def test_pickled_sources_work_in_another_process(tmp_path):
    jobs = [(source, infer_rule(source)[0]) for source in sources(tmp_path)]
    expected = [read(source, rule).fingerprint() for source, rule in jobs]
    command = [sys.executable, "-c", OTHER_PROCESS]
    result = subprocess.run(command, input=pickle.dumps(jobs), capture_output=True, check=True)
    assert result.stdout.decode().split() == expected


def test_pickling_leaves_loaded_pixels_behind(tmp_path):
    write_idx(tmp_path, count=2000)
    source = open_source(tmp_path).subset([1, 2])
    before = len(pickle.dumps(source))
    source.image(0)
    assert len(pickle.dumps(source)) == before < 2000 * 72


def test_unreadable_image_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "is empty")))
    assert (error.name, error.reason) == ("a.png", "is empty")
    assert str(error) == "a.png cannot be read: it is empty"
