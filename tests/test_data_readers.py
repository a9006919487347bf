"""List files, arrays, IDX and CIFAR-10: known content in, the same content out, or a clear line."""

import gzip
import os
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from data_fixtures import (
    cifar_batches,
    idx_bytes,
    pixels,
    write_cifar_tar,
    write_idx,
    write_image,
    write_tree,
)
from pyocgan.data import ImageRule, UnreadableImage, infer_rule, open_source, read
from pyocgan.data.listing import open_lines
from pyocgan.data.opening import open_parts
from pyocgan.errors import InputError, UsageError

RULE = ImageRule((12, 16), 3)
SMALL = ImageRule((9, 8), 1)


# Lists


def write_list(path, text):
    write_tree(path.parent, ["a.png", "deep/b.png"])
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("l.txt", "a.png\ndeep/b.png\n", None),
        ("l.txt", "# photos\n\na.png\n  deep/b.png  ", None),
        ("l.csv", "path,label\na.png,good\ndeep/b.png,bad\n", ["good", "bad"]),
        ("l.csv", "path\na.png\ndeep/b.png\n", None),
        ("l.csv", "# photos\n\npath,label\na.png,good\ndeep/b.png,bad\n", ["good", "bad"]),
        ("l.csv", '"a.png","x, y"\ndeep/b.png,z', ["x, y", "z"]),
        ("l.csv", "\ufeffa.png,1\ndeep/b.png,2", ["1", "2"]),
        ("l.tsv", "path\tlabel\na.png\tgood\ndeep/b.png\tbad\n", ["good", "bad"]),
    ],
)
def test_list_files(tmp_path, name, text, labels):
    source = open_source(write_list(tmp_path / name, text))
    assert source.names == ("a.png", "deep/b.png")
    assert (None if source.labels is None else source.labels.tolist()) == labels
    np.testing.assert_array_equal(read(source, RULE).pixels[1], pixels(seed=1))


QUOTES = pytest.mark.skipif(os.name == "nt", reason="no quotation marks in names there")


@pytest.mark.parametrize(
    "name",
    [
        "a,1.png",
        pytest.param('a "b",c, d.png', marks=QUOTES),
        pytest.param('"a",.png', marks=QUOTES),
    ],
)
def test_a_comma_in_a_name_parts_nothing_in_a_text_file(tmp_path, name):
    write_tree(tmp_path, [name])
    (tmp_path / "l.txt").write_text(f"{name}\n", encoding="utf-8")
    source = open_source(tmp_path / "l.txt")
    assert (source.names, source.labels) == ((name,), None)
    np.testing.assert_array_equal(read(source, RULE).pixels[0], pixels(seed=0))


def test_a_line_of_a_text_file_that_is_no_file_is_parted(tmp_path):
    lines = "a.png,good\ndeep/b.png,bad\n" + f"{'x' * 300},bad\n"
    source = open_source(write_list(tmp_path / "l.txt", lines))
    assert source.names == ("a.png", "deep/b.png", "x" * 300)
    assert source.labels.tolist() == ["good", "bad", "bad"]


@pytest.mark.parametrize("path", ["path", "file", "filename", "image", "Image"])
@pytest.mark.parametrize("label", ["label", "class", "Class"])
def test_headers_of_lists(tmp_path, path, label):
    text = f"{path},{label}\na.png,good\ndeep/b.png,bad\n"
    assert open_source(write_list(tmp_path / "l.csv", text)).names == ("a.png", "deep/b.png")
    text = f"{path}\na.png\ndeep/b.png\n"
    assert open_source(write_list(tmp_path / "l.txt", text)).names == ("a.png", "deep/b.png")


def test_only_the_first_line_is_a_header(tmp_path):
    source = open_source(write_list(tmp_path / "l.csv", "a.png,good\nfile,class\n"))
    assert source.names == ("a.png", "file")
    (tmp_path / "file").write_text("an image that is called so")
    source = open_source(write_list(tmp_path / "l.csv", "file,good\na.png,good\n"))
    assert source.names == ("file", "a.png")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("path,score,p_value,verdict\na.png,1,.5,normal\nb.png,9,.01,novel\n", None),
        ("id,filename,label\n1,a.png,good\n2,b.png,bad\n", ["good", "bad"]),
        ("Label,Path\ngood,a.png\nbad,b.png\n", ["good", "bad"]),
        ("filename;label\na.png;good\nb.png;bad\n", ["good", "bad"]),
    ],
)
def test_a_first_line_may_name_columns_in_any_order_and_others_beside(tmp_path, text, labels):
    source = open_source(write_list(tmp_path / "l.csv", text))
    assert source.names == ("a.png", "b.png")
    assert (None if source.labels is None else source.labels.tolist()) == labels


@pytest.mark.parametrize(
    ("text", "names", "labels"),
    [
        ("gone.png,image\na.png,image\n", ("gone.png", "a.png"), ["image", "image"]),
        ("a,file\nb,file\n", ("a", "b"), ["file", "file"]),
        ("path\na.png,good\nb.png,bad\n", ("a.png", "b.png"), ["good", "bad"]),
        ("path\na;1.png\n", ("a;1.png",), None),
        ('# of today\n"filename";"label"\na.png;good\n', ("a.png",), ["good"]),
        ("id,path,at\n#1,a.png,9\n2,b.png,9\n3,#c.png,9\n", ("a.png", "b.png"), None),
        (",path,label\n0,a.png,good\n", ("a.png",), ["good"]),
    ],
)
def test_first_lines_that_are_easily_misread(tmp_path, text, names, labels):
    source = open_source(write_list(tmp_path / "l.csv", text))
    assert source.names == names
    assert (None if source.labels is None else source.labels.tolist()) == labels
    assert "passed over: )" not in source.description


def test_columns_that_are_passed_over_are_named(tmp_path):
    text = "path,label,score\na.png,good,1\n"
    source = open_source(write_list(tmp_path / "l.csv", text))
    assert source.description.endswith("(columns passed over: score)")
    with pytest.raises(InputError, match=r"line 3: \['b.png'\] lacks some of what the first"):
        open_source(write_list(tmp_path / "l.csv", text + "b.png\n"))


LIST_IN_PARTS = "image,label,split\na.png,ok,train\nb.png,ok,Test\nc.png,bad,test\n"


def test_a_column_may_divide_a_list_into_train_and_test(tmp_path):
    path = write_list(tmp_path / "l.csv", LIST_IN_PARTS)
    train, test, everything = (open_source(path, split=s) for s in ("train", "test", "all"))
    assert [one.names for one in (train, test)] == [("a.png",), ("b.png", "c.png")]
    assert (train.labels.tolist(), test.labels.tolist()) == (["ok"], ["ok", "bad"])
    assert train.description == "train part of list l.csv: 1 image in 1 class (ok)"
    assert everything.description == "list l.csv of 3 images in 2 classes (bad, ok)"
    assert test.is_novel("ok").tolist() == [False, True]


def test_validation_in_a_list_is_left_out_or_stands_for_test(tmp_path):
    more = write_list(tmp_path / "l.csv", LIST_IN_PARTS + "d.png,ok,val\ne.png,ok,\n")
    everything = open_source(more, split="all")
    assert everything.names == ("a.png", "b.png", "c.png")
    assert everything.description.endswith("(left out beside train and test: 2 images)")
    text = LIST_IN_PARTS.replace("Test", "val").replace("test", "val")
    test = open_source(write_list(tmp_path / "v.csv", text), split="test")
    assert test.names == ("b.png", "c.png")
    assert test.description.startswith("test (val) part of list v.csv: 2 images")


def test_a_column_that_names_no_parts_is_passed_over(tmp_path):
    text = LIST_IN_PARTS.replace("train", "1").replace("Test", "2").replace("test", "3")
    source = open_source(write_list(tmp_path / "l.csv", text), split="train")
    assert len(source) == 3
    assert source.description.endswith("(columns passed over: split)")


def test_a_list_without_the_part_asked_for(tmp_path):
    path = write_list(tmp_path / "l.csv", "path,set\na.png,train\n")
    assert open_source(path).names == ("a.png",)
    with pytest.raises(InputError, match=r"^list l\.csv names no images in its test part, but in"):
        open_source(path, split="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no images"),
        ("# only a comment\n", "names no images"),
        ("a.png,good\ndeep/b.png\n", "gives a label to 1 of 2 images: label all or none"),
        ("a.png,good\nb.png,bad,0.5\n", "line 2: .* is not path,label"),
        ('"a.png","two\nlines"\nb.png,bad,0.5\n', "line 3: .* is not path,label"),
        (",good\n", "line 1: .* is not path,label"),
        (f'"{"a" * 140_000}"\n', "line 1: field larger than field limit"),
        (
            ",".join(["label", *(f"pixel{i}" for i in range(784))]),
            r"^list l\.csv, line 1: \['label', 'pixel0', .*, …\] is not path,label: tables of "
            "pixels are not read",
        ),
    ],
)
def test_bad_list_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        open_source(write_list(tmp_path / "l.csv", text))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x81", "a.png\n".encode("utf-16")])
def test_list_that_is_no_text(tmp_path, content):
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(InputError, match="is not UTF-8 text but holds zero bytes: save"):
        open_source(tmp_path / "l.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_names_in_a_list_need_not_be_utf_8(tmp_path, suffix):
    name = os.fsdecode(b"caf\xe9.png")
    write_tree(tmp_path, [name])
    (tmp_path / f"l{suffix}").write_bytes(b"# caf\xe9\ncaf\xe9.png,good\n")
    source = open_source(tmp_path / f"l{suffix}")
    assert source.names == (name,)
    assert source.labels.tolist() == ["good"]
    np.testing.assert_array_equal(read(source, RULE).pixels[0], pixels(seed=0))


def test_labels_in_a_list_must_be_utf_8(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"a.png,good\nb.png,f\xe4hig\n")
    with pytest.raises(
        InputError, match=r"l\.csv, line 2: label 'f.*hig' is not UTF-8: save"
    ) as caught:
        open_source(tmp_path / "l.csv")
    assert str(caught.value).isprintable()


def test_lines_from_elsewhere(tmp_path):
    write_tree(tmp_path, ["a.png"])
    source = open_lines(iter(["a.png\n"]), tmp_path, "standard input")
    assert source.description == "standard input of 1 image"
    np.testing.assert_array_equal(read(source, RULE).pixels[0], pixels(seed=0))


def test_missing_file_of_a_list_is_unreadable(tmp_path, monkeypatch):
    """The path that was tried is named: the list's folder counts, not the current one."""
    (tmp_path / "lists").mkdir()
    text = "a.png\n../none.png\ndeep\n"
    source = open_source(write_list(tmp_path / "lists" / "l.txt", text))
    monkeypatch.chdir(tmp_path / "lists" / "deep")
    tried = tmp_path / "none.png"
    with pytest.raises(UnreadableImage) as caught:
        read(source, RULE)
    assert str(caught.value).startswith(
        f"../none.png cannot be read: it does not exist at {tried.resolve()}"
    )
    skipped = dict(read(source, RULE, skip_unreadable=True).skipped)
    assert skipped["../none.png"] == f"does not exist at {tried.resolve()}"
    assert "deep" in skipped


def test_python_list_of_paths(tmp_path):
    paths = [write_image(tmp_path / f"{n}.png", seed=n) for n in (2, 1)]
    source = open_source([paths[0], str(paths[1])])
    assert source.names == tuple(map(str, paths))
    np.testing.assert_array_equal(read(source, RULE).pixels[0], pixels(seed=2))


@pytest.mark.parametrize("given", [[], ()])
def test_empty_list(given):
    with pytest.raises(InputError, match="the list of images is empty"):
        open_source(given)


# Arrays


@pytest.mark.parametrize("shape", [(4, 12, 16), (4, 12, 16, 1), (4, 12, 16, 3)])
def test_arrays(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    source = open_source(images)
    rule, notes = infer_rule(source)
    assert source.description == "array of 4 images"
    assert source.names == ("0", "1", "2", "3")
    assert rule.shape == (12, 16, 3 if shape[-1] == 3 else 1)
    assert notes == ()
    np.testing.assert_array_equal(read(source, rule).pixels.reshape(shape), images)


NAN = np.full((2, 9, 9), np.nan)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.zeros((0, 9, 9), np.uint8), "it holds no images"),
        (np.zeros((3, 0, 9), np.uint8), "it holds no images"),
        (np.zeros((9, 9), np.uint8), "for one image give X[None]"),
        (np.zeros((9, 9, 3), np.uint8), "this looks like one image: give X[None]"),
        (np.zeros(9, np.uint8), "images must be (N, H, W)"),
        (np.zeros((2, 3, 9, 9), np.uint8), "move the channels last: X.transpose(0, 2, 3, 1)"),
        (np.zeros((2, 1, 9, 9), np.uint8), "move the channels last"),
        (np.zeros((2, 9, 9, 4), np.uint8), "drop the transparency with X[..., :3]"),
        (np.zeros((2, 9, 9, 2), np.uint8), "images must be (N, H, W)"),
        (NAN, "it holds NaN"),
        (np.full((2, 9, 9), 0.5), "(X * 255).round()"),
        (np.linspace(-1, 1, 162).reshape(2, 9, 9), "((X + 1) * 127.5).round()"),
        (np.full((2, 9, 9), 200.0), ": X.round().astype('uint8')"),
        (np.full((2, 9, 9), 1e6), "convert its 1e+06..1e+06 to uint8"),
        (np.zeros((0, 9, 9)), "convert its 0..1 to uint8"),
        (np.zeros((2, 9, 9), bool), "X.astype('uint8') * 255"),
        (np.full((2, 9, 9, 3), 4048, np.uint16), "convert its 4048..4048 to uint8, 0..255, first"),
        (
            np.full((2, 9, 9), 4048, np.int16),
            "(X * (255 / most)).round().astype('uint8'), with most =",
        ),
        (np.full((2, 9, 9), -3), "convert its -3..-3 to uint8"),
        (np.zeros((9, 9), np.uint16), "for one image give X[None]"),
        (np.zeros((2, 9, 9), np.uint32), "X.astype('uint8')"),
        (np.zeros((2, 9, 9), np.int64), "X.astype('uint8')"),
        (np.zeros((2, 9, 9), complex), "must be numbers of type uint8"),
        (np.full((2, 9, 9), "a"), "paths must be in one dimension"),
        (np.full((2, 9, 9), 16.0), "(X * (255 / most)).round().astype('uint8'), with most = 16 if"),
        (np.full((2, 9, 9), 16), "convert its 16..16 to uint8, 0..255, first: (X * (255 / most))"),
    ],
)
def test_bad_arrays_quote_shape_and_type_and_say_what_to_do(array, advice):
    with pytest.raises(InputError, match=re.escape(advice)) as caught:
        open_source(array)
    assert str(caught.value).startswith(f"array of shape {array.shape}, type {array.dtype}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("shape", [(3, 9, 8), (3, 9, 8, 1)])
def test_16_bits_are_read_as_from_files(tmp_path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 4096, (3, 9, 8), dtype=np.uint16)
    for number, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    of_files, of_array = open_source(tmp_path), open_source(values.astype(dtype).reshape(shape))
    rule, notes = infer_rule(of_array)
    assert (rule, notes) == infer_rule(of_files)
    assert rule.bits == 12
    expected = read(of_files, rule).pixels
    np.testing.assert_array_equal(read(of_array, rule).pixels, expected)
    mixed = open_source([values[0], expected[1], values[2].astype(dtype)])
    np.testing.assert_array_equal(read(mixed, rule).pixels, expected)
    np.savez(tmp_path / "a.npz", X=values.astype(dtype), y=np.array([1, 2, 1]))
    again = open_source(tmp_path / "a.npz")
    assert again.labels.tolist() == ["1", "2", "1"]
    np.testing.assert_array_equal(read(again, rule).pixels, expected)


@pytest.mark.parametrize("given", [None, 7, {"X": 1}, b"bytes"])
def test_other_objects_are_named(given):
    with pytest.raises(InputError, match=f"read from a {type(given).__name__}: give a path"):
        open_source(given)


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 9, 8), dtype=np.uint8)
LABELS = np.array([4, 10, 4])


@pytest.mark.parametrize(
    ("arrays", "labels"),
    [
        ({"X": IMAGES}, None),
        ({"x": IMAGES, "y": LABELS}, ["4", "10", "4"]),
        ({"images": IMAGES, "labels": np.array(["b", "a", "b"])}, ["b", "a", "b"]),
        ({"whatever": IMAGES}, None),
        ({"whatever": IMAGES, "y": LABELS}, ["4", "10", "4"]),
        ({"X": IMAGES, "other": LABELS}, None),
    ],
)
def test_npz(tmp_path, arrays, labels):
    np.savez(tmp_path / "a.npz", **arrays)
    source = open_source(tmp_path / "a.npz")
    assert (None if source.labels is None else source.labels.tolist()) == labels
    np.testing.assert_array_equal(read(source, SMALL).pixels[..., 0], IMAGES)


PARTED = {
    "keras": ("x_{}", "y_{}", LABELS),
    "medmnist": ("{}_images", "{}_labels", LABELS[:, None]),
    "unlabelled": ("X_{}", "", None),
}


@pytest.mark.parametrize("kind", PARTED)
def test_npz_of_train_and_test(tmp_path, kind):
    images, labels, values = PARTED[kind]
    path = tmp_path / "a.npz"
    arrays = {images.format(part): IMAGES[:n] for part, n in (("train", 3), ("test", 2))}
    if labels:
        arrays |= {labels.format("train"): values, labels.format("test"): values[1:]}
    np.savez(path, **arrays, val_images=IMAGES[:1])
    train, test, both = (open_source(path, split=s) for s in ("train", "test", "all"))
    known = labels and "2 classes (4, 10)"
    assert train.description == f"train part of an array file: 3 images{known and ' in ' + known}"
    assert train.names == ("train/0", "train/1", "train/2")
    assert both.names == (*train.names, *test.names)
    np.testing.assert_array_equal(read(train, SMALL).pixels[..., 0], IMAGES)
    np.testing.assert_array_equal(read(both, SMALL).pixels[3:, ..., 0], IMAGES[:2])
    if labels:
        assert train.labels.tolist() == ["4", "10", "4"]
        assert both.labels.tolist() == ["4", "10", "4", "10", "4"]
    assert [len(part) for part in open_parts(path)] == [3, 2]


def test_npz_without_a_test_part(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=IMAGES, val_images=IMAGES[:1])
    assert len(open_source(tmp_path / "a.npz", split="test")) == 1
    np.savez(tmp_path / "b.npz", x_train=IMAGES)
    assert len(open_source(tmp_path / "b.npz")) == len(open_source(tmp_path / "b.npz", split="all"))
    np.savez(tmp_path / "c.npz", x_train=IMAGES, x_test=IMAGES[:, :8])
    assert len(open_source(tmp_path / "c.npz", split="test")) == 3
    with pytest.raises(InputError, match=r"c\.npz: its parts hold .* sizes: \(8, 8\), \(9, 8\)$"):
        open_source(tmp_path / "c.npz", split="all")
    np.savez(tmp_path / "d.npz", x_train=IMAGES, x_test=IMAGES.astype(np.uint16))
    with pytest.raises(InputError, match=r"d\.npz: its parts hold .* types: uint16, uint8$"):
        open_source(tmp_path / "d.npz", split="all")
    np.savez(tmp_path / "e.npz", x_train=np.uint8(1), x_test=IMAGES)
    with pytest.raises(InputError, match=r"e\.npz: array of shape \(\), type uint8: images must"):
        open_source(tmp_path / "e.npz", split="all")
    with pytest.raises(InputError, match=r"b\.npz: it holds no test part, only train"):
        open_source(tmp_path / "b.npz", split="test")


def test_npz_classes_have_natural_order(tmp_path):
    np.savez(tmp_path / "a.npz", X=IMAGES, y=LABELS)
    assert open_source(tmp_path / "a.npz").classes == ("4", "10")


def test_npy(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    source = open_source(tmp_path / "a.npy")
    np.testing.assert_array_equal(read(source, SMALL).pixels[..., 0], IMAGES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": IMAGES, "b": IMAGES}, "holds the arrays a, b: name the images X"),
        ({}, r"holds the arrays \(none\)"),
        ({"X": IMAGES, "y": LABELS[:2]}, r"labels of shape \(2,\) do not fit 3 images"),
        ({"X": IMAGES / 255.0}, "convert its"),
    ],
)
def test_bad_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "a.npz")


def test_labels_of_bytes(tmp_path):
    np.savez(tmp_path / "a.npz", X=IMAGES, y=np.array([b"good", b"bad", b"good"]))
    assert open_source(tmp_path / "a.npz").labels.tolist() == ["good", "bad", "good"]
    np.savez(tmp_path / "a.npz", X=IMAGES, y=np.array([b"good", b"d\xe9faut", b"good"]))
    with pytest.raises(
        InputError, match=r"label b'd\\xe9faut' is not ASCII text: convert"
    ) as caught:
        open_source(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_arrays_are_never_unpickled(tmp_path):
    trap = np.empty(1, object)
    trap[0] = Trap(tmp_path / "sprung")
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", X=IMAGES, y=trap)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="is not a readable array file"):
            open_source(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_damaged_array_file(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="is not a readable array file"):
        open_source(tmp_path / "a.npz")


# IDX


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_round_trip_with_the_labels_beside(tmp_path, zipped):
    images, numbers = write_idx(tmp_path, zipped=zipped)
    name = "train-images-idx3-ubyte" + (".gz" if zipped else "")
    source = open_source(tmp_path / name)
    np.testing.assert_array_equal(read(source, SMALL).pixels[..., 0], images)
    assert source.labels.tolist() == [str(n) for n in numbers]
    assert source.description.startswith(f"IDX file {name}: 20 images in 10 classes")


def test_idx_labels_may_be_packed_otherwise(tmp_path):
    write_idx(tmp_path, zipped=True, labels=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(20) % 10))
    assert open_source(tmp_path / "train-images-idx3-ubyte.gz").labels is not None


def test_idx_without_labels(tmp_path):
    write_idx(tmp_path, labels=False)
    assert open_source(tmp_path / "train-images-idx3-ubyte.gz").labels is None


def test_idx_folder_has_parts(tmp_path):
    train, _ = write_idx(tmp_path, "train", 20)
    test, _ = write_idx(tmp_path, "t10k", 10, seed=1)
    expected = {"train": train, "test": test, "all": np.concatenate([train, test])}
    for split, images in expected.items():
        source = open_source(tmp_path, split=split)
        np.testing.assert_array_equal(read(source, SMALL).pixels[..., 0], images)
        assert len(set(source.names)) == len(images)
    assert source.names[20] == "test/0"


def test_idx_folder_with_dots_in_its_names(tmp_path):
    images, _ = write_idx(tmp_path, "train")
    labels = open_source(tmp_path).labels.tolist()
    for path in tmp_path.glob("*-idx*"):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    source = open_source(tmp_path)
    np.testing.assert_array_equal(read(source, SMALL).pixels[..., 0], images)
    assert source.labels.tolist() == labels


def test_idx_folder_lacks_a_part(tmp_path):
    write_idx(tmp_path, "train")
    with pytest.raises(InputError, match=r"holds no t10k-images-idx3-ubyte\[\.gz\]"):
        open_source(tmp_path, split="test")


HEADER = idx_bytes(np.zeros((4, 9, 8)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable IDX file"),
        (HEADER[:9], "not a readable IDX file"),
        (idx_bytes(np.zeros(40)), "not an IDX file of images: it begins with 0x0801"),
        (HEADER[:-1], "its header promises .* but 287 bytes follow; get it again"),
        (HEADER[:4] + b"\xff\xff\xff\xff" + HEADER[8:], "its header promises"),
        (HEADER[:8] + bytes(4) + HEADER[12:], "its header promises"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_idx(tmp_path, content, message, zipped):
    path = tmp_path / ("x-images-idx3-ubyte" + (".gz" if zipped else ""))
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(InputError, match=message):
        read(open_source(path), SMALL)


def test_idx_gzip_cut_short(tmp_path):
    write_idx(tmp_path, labels=False)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"is damaged: .*; get it again"):
        read(open_source(path), SMALL)


def test_idx_labels_do_not_fit(tmp_path):
    write_idx(tmp_path, labels=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3)))
    with pytest.raises(InputError, match="holds 3 labels for the 20 images"):
        open_source(tmp_path / "train-images-idx3-ubyte.gz")


# CIFAR-10


@pytest.fixture(params=["tar", "folder", "folder around it"])
def cifar(request, tmp_path):
    content, images = cifar_batches()
    if request.param == "tar":
        return write_cifar_tar(tmp_path / "cifar-10-python.tar.gz", content), images
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return (folder if request.param == "folder" else tmp_path), images


def test_cifar_pixels_and_classes(cifar):
    path, images = cifar
    source = open_source(path)
    assert source.classes[9] == "truck"
    assert source.labels.tolist()[:3] == ["airplane", "automobile", "bird"]
    assert source.description.startswith("CIFAR-10, train part: 50 images in 10 classes")
    assert {file.is_file() for file in source.files} == {True}
    assert len(source.files) == (1 if path.is_file() else 6)
    np.testing.assert_array_equal(read(source, ImageRule((32, 32), 3)).pixels, images)


@pytest.mark.parametrize(("split", "count"), [("train", 50), ("test", 10), ("all", 60)])
def test_cifar_parts(cifar, split, count):
    source = open_source(cifar[0], split=split)
    assert len(source) == len(set(source.names)) == count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_batch_3": None}, "lacks data_batch_3 .*; get it again"),
        ({"data_batch_1": b"no pickle"}, "data_batch_1 is damaged .*; get it again"),
        ({"data_batch_1": pickle.dumps([1])}, "data_batch_1 is not CIFAR-10"),
        ({"data_batch_1": pickle.dumps({b"data": 1, b"labels": []})}, "is not CIFAR-10"),
        ({"batches.meta": pickle.dumps({b"label_names": [b"cat"]})}, "is not CIFAR-10"),
    ],
)
def test_damaged_cifar(tmp_path, changes, message):
    content = {**cifar_batches()[0], **changes}
    content = {name: data for name, data in content.items() if data is not None}
    path = write_cifar_tar(tmp_path / "c.tar.gz", content)
    with pytest.raises(InputError, match=message):
        open_source(path)


def test_cifar_pickles_run_no_code(tmp_path):
    content = {**cifar_batches()[0], "data_batch_2": pickle.dumps(Trap(tmp_path / "sprung"))}
    path = write_cifar_tar(tmp_path / "c.tar.gz", content)
    with pytest.raises(InputError, match=r"mkdir is not allowed"):
        open_source(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("length", [0, 50, 2000])
def test_damaged_tar(tmp_path, length):
    path = write_cifar_tar(tmp_path / "c.tar.gz", cifar_batches()[0])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"is not a readable tar file|lacks"):
        open_source(path)


# What fits no reader


def test_unknown_file_kind(tmp_path):
    (tmp_path / "a.mp4").write_text("")
    with pytest.raises(InputError, match=r"a\.mp4 is of an unknown kind"):
        open_source(tmp_path / "a.mp4")


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/x.png", "a/" * 3000])
def test_what_the_system_refuses_is_named(path):
    with pytest.raises(InputError, match="cannot be opened: "):
        open_source(path)


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_list_end_where_a_file_s_do(tmp_path, suffix, end):
    names = ["a\u2028b.png", "a\x85b.png", "a\x0bb.png", "a\x0cb.png", "plain.png"]
    for name in names:
        write_image(tmp_path / name)
    path = tmp_path / f"list{suffix}"
    path.write_bytes(end.join(names).encode())
    source = open_source(path)
    assert source.names == tuple(names)
    assert [source.header(index).size for index in range(5)] == [(12, 16)] * 5


def test_a_quoted_name_may_hold_a_line_feed(tmp_path):
    write_image(tmp_path / "a\nb.png")
    path = write_list(tmp_path / "list.csv", 'path,label\n"a\nb.png",x\n')
    assert open_source(path).names == ("a\nb.png",)


def test_a_list_with_an_open_quotation_mark(tmp_path):
    path = write_list(tmp_path / "list.csv", 'a.png\n"b.png\n' + "c.png\n" * 30_000)
    with pytest.raises(InputError, match=r"list list\.csv, line \d+: field larger"):
        open_source(path)


def test_a_name_with_a_zero_byte_is_unreadable():
    source = open_source(["a\0b.png"])
    with pytest.raises(UnreadableImage, match="cannot be opened"):
        source.header(0)


def test_unknown_path_suggests_data_sets():
    with pytest.raises(InputError, match=r"'minst' is no file.*did you mean 'mnist'\?"):
        open_source("minst")


def test_unknown_split_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="unknown split 'tset': did you mean 'test'"):
        open_source(tmp_path, split="tset")


def test_a_source_is_taken_as_it_is():
    source = open_source(IMAGES)
    assert open_source(source) is source


def test_images_in_memory_are_not_copied():
    assert np.shares_memory(open_source(IMAGES).store.pixels, IMAGES)


def test_a_list_of_mixed_things_is_refused():
    with pytest.raises(InputError, match=r"a list of int, ndarray: give paths, .* uint8 arrays"):
        open_source([np.zeros((8, 8), np.uint8), 1])
    with pytest.raises(InputError, match=r"a list of NoneType, str: give paths"):
        open_source(np.array(["a.png", None], object))


def test_pillows_images_are_taken_as_they_are(tmp_path):
    grey = Image.fromarray(np.full((8, 9), 7, np.uint8))
    alone = read(open_source(grey), ImageRule((8, 9), 1))
    assert alone.pixels.tolist() == np.full((1, 8, 9, 1), 7).tolist()
    colour = Image.new("RGB", (20, 10), "red")
    source = open_source(iter([grey, colour]))
    rule, _ = infer_rule(source)
    assert (rule.channels, source.names) == (3, ("0", "1"))
    assert read(source, rule).pixels.shape == (2, 64, 64, 3)
    grey.save(tmp_path / "a.png")
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.fromarray(pixels(8, 16)).save(tmp_path / "e.png", exif=sideways)
    with Image.open(tmp_path / "e.png") as opened:
        assert infer_rule(open_source(opened))[0].image_size == (16, 8)
        rule_of_file = ImageRule((16, 8), 3)
        np.testing.assert_array_equal(
            read(open_source(opened), rule_of_file).pixels,
            read(open_source(tmp_path / "e.png"), rule_of_file).pixels,
        )
    with Image.open(tmp_path / "a.png") as opened, pytest.raises(InputError, match="given 3 times"):
        open_source([opened, grey, opened, opened])
    with Image.open(tmp_path / "a.png") as closed:
        pass
    with pytest.raises(UnreadableImage, match=r"^1 cannot be read"):
        read(open_source([grey, closed]), rule)


def test_pages_of_a_file_are_not_taken_for_its_last_one(tmp_path):
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "a.tif") as file:
        with pytest.raises(InputError, match=r"given 3 times, as ImageSequence .*page\.copy\(\)"):
            open_source(ImageSequence.Iterator(file))
        copies = open_source(page.copy() for page in ImageSequence.Iterator(file))
    assert read(copies, SMALL).pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_arrays_of_any_sizes_may_come_in_a_list():
    alike = open_source([IMAGES[0], IMAGES[1]])
    assert alike.is_decoded
    assert len(alike) == 2
    sizes = [np.full((8, 9), 7, np.uint8), np.full((12, 10, 3), (1, 2, 3), np.uint8)]
    for given in (sizes, np.array([*sizes, None], object)[:2]):
        source = open_source(given)
        assert read(source, ImageRule((8, 8), 3)).pixels[:, 0, 0].tolist() == [[7] * 3, [1, 2, 3]]
    with pytest.raises(
        InputError, match=r"^image 1, as an array of one: array of shape \(1, 9, 8, 1\), "
    ):
        open_source([sizes[0], np.zeros((9, 8))])
    with pytest.raises(InputError, match=r"^image 1, .* type bool: convert to 0\.\.255 first"):
        open_source([np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)])


def test_paths_may_come_from_whatever_yields_them(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for given in (tmp_path.glob("*.png"), np.array([str(tmp_path / "a.png")])):
        assert len(read(open_source(given), SMALL)) == 1


def test_home_is_found_in_lists_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert len(read(open_source(["~/a.png"]), SMALL)) == 1
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "~$a.png")
    assert open_source(["~$a.png"]).names == ("~$a.png",)


def test_many_images_do_not_flood_the_screen():
    source = open_source(np.zeros((9000, 8, 8), np.uint8))
    assert len(repr(source)) < 300
    assert len(repr(read(source, SMALL))) < 300


def test_what_makes_an_array_is_taken_as_one():
    tensor = torch.zeros((2, 8, 8, 3), dtype=torch.uint8)
    assert len(open_source(tensor)) == 2
    with pytest.raises(InputError, match=r"move the channels last"):
        open_source(tensor.permute(0, 3, 1, 2))
    with pytest.raises(InputError, match=r"^images cannot be read from a Tensor: Can't call numpy"):
        open_source(tensor.float().requires_grad_())


def test_an_array_files_error_names_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8)))
    with pytest.raises(InputError, match=r"x\.npy: array of shape \(3, 8, 8\), type float64"):
        open_source(tmp_path / "x.npy")


def test_text_called_npy_brings_no_advice_to_unpickle(tmp_path):
    (tmp_path / "x.npy").write_text("0,1,2\n")
    with pytest.raises(InputError, match=r"x\.npy: this is not a readable array file") as caught:
        open_source(tmp_path / "x.npy")
    assert "pickle" not in str(caught.value)


def test_one_picture_is_read_whatever_it_is_called(tmp_path):
    write_image(tmp_path / "a.png", (8, 9), 1, 0)
    (tmp_path / "a.png").rename(tmp_path / "picture")
    source = open_source(tmp_path / "picture")
    assert (len(source), source.header(0).size) == (1, (8, 9))
    (tmp_path / "text").write_text("no picture")
    with pytest.raises(InputError, match="text is of an unknown kind"):
        open_source(tmp_path / "text")


def test_labels_of_parts_may_be_columns_in_one_and_not_in_the_other(tmp_path):
    labels = np.array([4, 10, 4])
    np.savez(
        tmp_path / "a.npz", x_train=IMAGES, y_train=labels[:, None], x_test=IMAGES, y_test=labels
    )
    source = open_source(tmp_path / "a.npz", split="all")
    assert source.labels.tolist() == ["4", "10", "4"] * 2


@pytest.mark.parametrize("width", [1, 3])
def test_narrow_grey_images_may_come_in_a_list(width):
    images = [np.full((9, width), 7, np.uint8), np.full((12, width), 7, np.uint8)]
    for given in (images, images[:1] * 2):
        assert (read(open_source(given), ImageRule((8, 8), 1)).pixels == 7).all()


def test_cifar_files_in_each_others_place_are_refused(tmp_path):
    content, _ = cifar_batches()
    content["test_batch"] = content["batches.meta"]
    path = tmp_path / "cifar-10-python.tar.gz"
    write_cifar_tar(path, content)
    with pytest.raises(InputError, match="test_batch is not CIFAR-10: it does not hold images"):
        open_source(path, split="test")


def test_a_folder_in_a_list_is_named_as_one(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    source = open_source([tmp_path / "a.png", tmp_path / "b"])
    with pytest.raises(UnreadableImage, match="b cannot be read: it is a folder: name the images"):
        read(source, SMALL)
