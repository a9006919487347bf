"""Folders and zip files: which images, in what order, of which classes and parts."""

import os
import zipfile
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from data_fixtures import pixels, write_image, write_tree, zip_tree
from pyocgan.data import ImageRule, UnreadableImage, open_source, read, stores
from pyocgan.data.tree import natural_key
from pyocgan.errors import InputError, UsageError

RULE = ImageRule((12, 16), 3)


@pytest.fixture(params=["folder", "zip file"])
def opened(request, tmp_path):
    """Open paths, once as a folder and once as a zip file."""

    def open_paths(paths, **options):
        root = write_tree(tmp_path / "images", paths)
        if request.param == "zip file":
            root = zip_tree(root, tmp_path / "images.zip")
        return open_source(root, **options)

    open_paths.kind = request.param
    return open_paths


def test_flat_images_have_natural_order_and_no_labels(opened):
    source = opened(["img10.png", "img2.png", "img1.BMP", "b/../a.tiff"])
    assert source.names == ("a.tiff", "img1.BMP", "img2.png", "img10.png")
    assert source.labels is None
    assert source.classes == ()
    assert source.description == f"{opened.kind} of 4 images"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_class_is_found_however_its_letters_are_composed(opened, forms):
    typed, stored = (normalize(form, "Schräg") for form in forms)
    source = opened([f"{stored}/a.png", "gerade/b.png"])
    assert source.class_name(typed) == stored
    assert len(source.of_class(typed)) == 1


def test_names_and_pixels_belong_together(opened):
    paths = ["a10.png", "a9.png", "a1.png"]
    images = read(opened(paths), RULE)
    assert images.names == ("a1.png", "a9.png", "a10.png")
    for name, found in zip(images.names, images.pixels, strict=True):
        np.testing.assert_array_equal(found, pixels(seed=paths.index(name)))


def test_first_folder_names_the_class(opened):
    source = opened(["good/1.png", "good/deep/2.png", "crack/1.png", "dent/1.png"])
    assert source.classes == ("crack", "dent", "good")
    assert source.labels.tolist() == ["crack", "dent", "good", "good"]
    assert source.description == f"{opened.kind} of 4 images in 3 classes (crack, dent, good)"


def test_classes_in_natural_order(opened):
    assert opened([f"c{n}/1.png" for n in (10, 9, 1)]).classes == ("c1", "c9", "c10")


def test_a_single_folder_is_a_class(opened):
    assert opened(["good/1.png", "good/2.png"]).classes == ("good",)


def test_images_beside_folders_mean_no_classes(opened):
    assert opened(["1.png", "good/2.png"]).labels is None


def test_hidden_files_and_doubles_are_left_out(opened):
    paths = ["a.png", ".b.png", ".cache/c.png", "__MACOSX/d.png", "$RECYCLE.BIN/S-1/$R1.png"]
    assert opened(paths).names == ("a.png",)


@pytest.fixture
def refused(monkeypatch):
    """Refuse to list folders of one name, as mode 000 does to all but root."""
    scandir = os.scandir

    def refuse(name):
        def listed(path):
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", listed)

    return refuse


@pytest.mark.parametrize("name", [".Trashes", "__MACOSX", "@eaDir", "lost+found"])
def test_hidden_folders_are_not_even_listed(tmp_path, refused, name):
    card = write_tree(tmp_path / "card", ["a.png", f"{name}/b.png", f"deep/{name}/c.png"])
    refused(name)
    assert open_source(card).names == ("a.png",)


def test_a_hidden_folder_is_read_where_it_is_the_one_named(tmp_path):
    assert len(open_source(write_tree(tmp_path / ".photos", ["a.png", "b/c.png"]))) == 2


def test_a_folder_that_cannot_be_listed_is_an_input_error(tmp_path, refused):
    card = write_tree(tmp_path / "card", ["a.png", "shut/b.png"])
    refused("shut")
    with pytest.raises(InputError, match="shut cannot be listed: Permission denied; get the right"):
        open_source(card)


PARTS = ["train/good/1.png", "train/good/2.png", "test/good/3.png", "test/hole/4.png"]


@pytest.mark.parametrize(
    ("split", "names", "classes"),
    [
        ("train", ("train/good/1.png", "train/good/2.png"), ("good",)),
        ("test", ("test/good/3.png", "test/hole/4.png"), ("good", "hole")),
        ("all", tuple(sorted(PARTS)), ("good", "hole")),
    ],
)
def test_train_and_test_parts(opened, split, names, classes):
    source = opened([*PARTS, "ground_truth/hole/4_mask.png"], split=split)
    assert source.names == names
    assert source.classes == classes
    if split != "all":
        assert source.description.startswith(f"{split} part of a {opened.kind}: 2 images in ")


def test_folders_that_are_divided_themselves_are_not_taken_for_classes(opened):
    """MVTec AD: an object's test part holds its defects."""
    paths = [f"{name}/{path}" for name in ("bottle", "cable") for path in PARTS]
    for split in ("train", "test", "all"):
        with pytest.raises(InputError, match=r"\(bottle, cable\): .*name one of them"):
            opened([*paths, "grid/good/1.png"], split=split)


def test_such_folders_are_refused_wherever_they_lie_side_by_side(tmp_path):
    for name, part in (("bottle", "test"), ("cable", "val")):
        write_tree(tmp_path / "mvtec" / name, ["train/good/1.png", f"{part}/good/2.png"])
    with pytest.raises(InputError, match=r"name one of them, such as .*/mvtec/bottle$"):
        open_source(tmp_path)
    assert len(open_source(tmp_path / "mvtec" / "cable")) == 1


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAIN", "test")])
def test_parts_may_have_capitals(opened, train, test):
    paths = [f"{train}/good/1.png", f"{test}/good/2.png", f"{test}/hole/3.png"]
    assert opened(paths).names == (f"{train}/good/1.png",)
    source = opened(paths, split="test")
    assert source.names == (f"{test}/good/2.png", f"{test}/hole/3.png")
    assert source.classes == ("good", "hole")


def test_a_part_in_capitals_alone_keeps_its_meaning(opened):
    assert opened(["Train/good/1.png", "Train/bad/1.png"]).classes == ("bad", "good")
    with pytest.raises(InputError, match="holds no images in its test part"):
        opened(["Train/good/1.png", "Train/bad/1.png"], split="test")


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_images_beside_the_parts_are_counted(opened, split):
    source = opened([*PARTS, "val/good/5.png", "val/good/6.png", "7.png"], split=split)
    assert source.description.endswith(") (left out beside train and test: 3 images)")


@pytest.mark.parametrize("validation", ["val", "Valid", "validation"])
def test_validation_images_are_the_test_part_where_there_is_no_other(opened, validation):
    paths = ["train/good/1.png", f"{validation}/good/2.png", f"{validation}/hole/3.png"]
    assert opened(paths).names == ("train/good/1.png",)
    source = opened(paths, split="test")
    assert set(source.names) == set(paths[1:])
    assert source.classes == ("good", "hole")
    assert source.description.startswith(f"test ({validation.lower()}) part of a {opened.kind}: 2")
    source = opened([*paths, "test/good/4.png"], split="test")
    assert source.names == ("test/good/4.png",)
    assert source.description.endswith("(left out beside train and test: 2 images)")


@pytest.mark.parametrize("classes", [("other", "val"), ("train", "val", "valid")])
def test_validation_images_beside_anything_else_are_a_class(opened, classes):
    assert opened([f"{name}/1.png" for name in classes]).classes == classes


def test_nothing_beside_the_parts_is_not_spoken_of(opened):
    assert "left out" not in opened(PARTS).description


def test_train_is_the_default_part(opened):
    assert opened(PARTS).classes == ("good",)


def test_parts_without_classes(opened):
    source = opened(["train/1.png", "test/2.png"], split="test")
    assert source.names == ("test/2.png",)
    assert source.labels is None


def test_missing_part_is_an_input_error(opened):
    with pytest.raises(InputError, match="holds no images in its test part"):
        opened(["train/good/1.png"], split="test")


def test_split_means_nothing_without_parts(opened):
    assert len(opened(["a/1.png", "b/1.png"], split="test")) == 2


def test_coil_names_give_classes(opened):
    names = [f"coil-100/obj{k}__{angle}.png" for k in (10, 2) for angle in (0, 5, 10)]
    source = opened(names)
    assert source.classes == ("2", "10")
    assert source.names[:3] == tuple(f"coil-100/obj2__{angle}.png" for angle in (0, 5, 10))
    assert source.labels.tolist() == ["2"] * 3 + ["10"] * 3
    assert set(source.of_class(2).labels) == {"2"}


def test_zip_wrapper_is_looked_through(tmp_path):
    folder = write_tree(tmp_path / "x", ["good/1.png", "crack/1.png"])
    archive = zip_tree(folder, tmp_path / "x.zip", inside="dataset/")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/dataset/._1.png", "junk")
    source = open_source(archive)
    assert source.classes == ("crack", "good")
    assert len(read(source, RULE)) == 2


def write_zip(path, folder, members):
    """Zip one image under each name, as it stands."""
    with zipfile.ZipFile(path, "w") as archive:
        for seed, member in enumerate(members):
            archive.write(write_image(folder / f"{seed}.png", seed=seed), member)
    return path


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["home/me/photos/good/1.png", "home/me/photos/crack/1.png"], ("crack", "good")),
        (["home/me/photos/widget/1.png", "home/me/photos/widget/2.png"], ("widget",)),
        (["./photos/good/1.png", "./photos/crack/1.png"], ("crack", "good")),
        (["home/x/train/good/1.png", "home/x/test/hole/2.png"], ("good",)),
        (["home/x/train/widget/1.png", "home/x/train/widget/2.png"], ("widget",)),
        (["good/batch1/1.png", "good/batch2/1.png"], ("good",)),
        (["photos/Good/batch1/1.png", "photos/Good/batch2/1.png"], ("Good",)),
        (["home/1.png", "home/deep/2.png"], ("home",)),
    ],
)
def test_all_folders_around_a_zip_are_looked_through(tmp_path, paths, classes):
    source = open_source(write_zip(tmp_path / "x.zip", tmp_path, paths))
    assert source.classes == classes
    assert len(read(source, RULE)) == len(source)


def test_batches_of_a_normal_class_are_one_class(opened):
    assert opened(["good/batch1/1.png", "good/batch2/1.png"]).classes == ("good",)


def test_folders_in_a_zip_may_be_parted_by_backslashes(tmp_path):
    members = ["photos\\good\\2.png", "photos\\good\\1.png", "photos\\crack\\1.png"]
    archive = write_zip(tmp_path / "x.zip", tmp_path, members)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("photos\\good\\", b"")
        opened.writestr("photos\\odd.png\\", b"")
    source = open_source(archive)
    assert source.names == ("crack/1.png", "good/1.png", "good/2.png")
    assert source.labels.tolist() == ["crack", "good", "good"]
    for found, seed in zip(read(source, RULE).pixels, (2, 1, 0), strict=True):
        np.testing.assert_array_equal(found, pixels(seed=seed))


@pytest.mark.skipif(os.name == "nt", reason="there a backslash always parts folders")
def test_a_backslash_beside_slashes_belongs_to_the_name(tmp_path):
    archive = write_zip(tmp_path / "x.zip", tmp_path, ["good/a\\b.png", "c\\d/1.png"])
    assert open_source(archive).classes == ("c\\d", "good")


def test_zip_with_train_alone_keeps_its_part(tmp_path):
    folder = write_tree(tmp_path / "x", ["train/good/1.png", "train/bad/1.png"])
    archive = zip_tree(folder, tmp_path / "x.zip")
    assert open_source(archive).classes == ("bad", "good")
    with pytest.raises(InputError, match="test part"):
        open_source(archive, split="test")


@pytest.mark.parametrize("content", [[], ["notes.txt"]])
def test_empty_folder(tmp_path, content):
    for name in content:
        (tmp_path / name).write_text("hello")
    with pytest.raises(InputError, match=r"holds no images: looked for bmp, jfif, jpeg"):
        open_source(tmp_path)


def test_empty_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w"):
        pass
    with pytest.raises(InputError, match="holds no images"):
        open_source(tmp_path / "x.zip")


def test_large_members_of_a_zip_are_refused_and_not_unpacked(tmp_path, monkeypatch):
    archive = zip_tree(write_tree(tmp_path / "a", ["0.png", "1.png"]), tmp_path / "x.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("2.png", bytes(5_000_000))
    monkeypatch.setattr(stores, "LIMIT_BYTES", 4_000_000)
    source = open_source(archive)
    unpacked = []
    real = zipfile.ZipExtFile.read

    def read_less(file, n=-1):
        unpacked.append(len(content := real(file, n)))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read_less)
    with pytest.raises(UnreadableImage, match="is not a PNG"):
        source.header(2)
    with pytest.raises(UnreadableImage, match="is 5 MB large, over the limit"):
        source.image(2)
    assert sum(unpacked) < 100_000
    assert source.header(1) == source.header(0)


def test_not_a_zip(tmp_path):
    (tmp_path / "x.zip").write_text("no")
    with pytest.raises(InputError, match="is not a readable zip file"):
        open_source(tmp_path / "x.zip")


def test_damaged_member_is_named(tmp_path):
    folder = write_tree(tmp_path / "x", ["a.png", "b.png"])
    archive = zip_tree(folder, tmp_path / "x.zip")
    content = bytearray(archive.read_bytes())
    content[100] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.png cannot be read: it is damaged inside"):
        read(open_source(archive), RULE)


def test_zip_taken_away_is_an_unreadable_image(tmp_path):
    archive = zip_tree(write_tree(tmp_path / "x", ["a.png"]), tmp_path / "x.zip")
    source = open_source(archive)
    archive.unlink()
    with pytest.raises(UnreadableImage, match="cannot be unpacked"):
        source.image(0)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_but_not_in_circles(tmp_path):
    write_tree(tmp_path, ["store/1.png", "root/a/2.png"])
    (tmp_path / "root" / "b").symlink_to(tmp_path / "store")
    (tmp_path / "root" / "a" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "a" / "above").symlink_to(tmp_path)
    assert open_source(tmp_path / "root").names == ("a/2.png", "b/1.png")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_beside_a_folder_takes_nothing_from_it(tmp_path):
    write_tree(tmp_path, ["train/good/1.png", "train/good/2.png", "test/bad/3.png"])
    (tmp_path / "test" / "good").symlink_to(tmp_path / "train" / "good")
    assert open_source(tmp_path, split="train").names == ("train/good/1.png", "train/good/2.png")
    assert open_source(tmp_path, split="test").labels.tolist() == ["bad", "good", "good"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match="named pipe"):
        open_source(tmp_path).image(0)


def test_images_of_kinds_that_are_not_read_are_counted(opened):
    source = opened(["a.png", "b.jfif", "c.gif", "d/e.GIF", "f.pgm", ".hidden.gif", "g.txt.png"])
    assert source.names == ("a.png", "b.jfif", "g.txt.png")
    left_out = "(left out, for these kinds are not read: 2 gif, 1 pgm)"
    assert source.description == f"{opened.kind} of 3 images {left_out}"


def test_where_no_image_is_read_the_others_are_named(opened):
    with pytest.raises(InputError, match=r"holds no images: looked for bmp.* not read: 1 gif\)"):
        opened(["a.gif"])


def test_a_zip_that_names_an_image_twice_is_refused(tmp_path):
    archive = zip_tree(write_tree(tmp_path / "x", ["a/0.png", "b/1.png"]), tmp_path / "x.zip")
    with (
        zipfile.ZipFile(archive, "a") as opened,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        opened.write(tmp_path / "x" / "b" / "1.png", "a/0.png")
    with pytest.raises(InputError, match=r"holds 'a/0.png' more than once: pack it again"):
        open_source(archive)


def test_a_folder_in_a_zip_is_no_image(tmp_path):
    archive = zip_tree(write_tree(tmp_path / "x", ["b.png"]), tmp_path / "x.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("a.png/", b"")
    assert open_source(archive).names == ("b.png",)


def test_long_numbers_in_names_are_in_order(opened):
    names = [f"{'9' * 100}.png", "10.png", "9.png", "010.png"]
    assert opened(names).names == ("9.png", "010.png", "10.png", names[0])
    assert natural_key("9" * 5000) > natural_key("8" * 5000) > natural_key("8" * 4999)


def test_single_image(tmp_path):
    source = open_source(write_image(tmp_path / "one.JPG"))
    assert source.names == ("one.JPG",)
    assert source.description == "image file one.JPG: 1 image"


def test_unknown_class_lists_and_suggests(opened):
    source = opened(["crack/1.png", "good/1.png"])
    with pytest.raises(UsageError, match=r"unknown class 'god': did you mean 'good'\?.*crack"):
        source.of_class("god")
    with pytest.raises(UsageError, match="unknown class '7'"):
        source.of_class(7)


def test_class_without_labels_is_a_usage_error(opened):
    source = opened(["1.png"])
    with pytest.raises(UsageError, match="names no classes"):
        source.of_class("good")
    with pytest.raises(UsageError, match="names no classes"):
        source.is_novel(0)


def test_class_by_name_number_and_truth(opened):
    source = opened(["crack/1.png", "good/1.png", "good/2.png"])
    for normal in ("good", 1, "1"):
        assert source.of_class(normal).names == ("good/1.png", "good/2.png")
        assert source.is_novel(normal).tolist() == [True, False, False]
    assert source.of_class("good").description.startswith("2 images of class good from ")
    assert source.of_class("good").classes == ("crack", "good")


def test_a_number_never_counts_classes_that_are_named_by_numbers(opened):
    source = opened(["3/1.png", "7/1.png"])
    assert source.class_name(7) == "7"
    with pytest.raises(UsageError, match="unknown class '0'"):
        source.of_class(0)


def test_subset_by_index_and_mask(opened):
    source = opened([f"{n}.png" for n in range(5)])
    assert source.subset([3, 1]).names == ("3.png", "1.png")
    assert source.subset([3, 1]).subset([1]).names == ("1.png",)
    assert source.subset(np.arange(5) > 3).names == ("4.png",)
    assert len(source.subset([])) == 0
    expected = read(source, RULE).pixels[[3, 1]]
    np.testing.assert_array_equal(read(source.subset([3, 1]), RULE).pixels, expected)
    nested = source.subset([3, 1]).subset([0])
    np.testing.assert_array_equal(read(nested, RULE).pixels, expected[:1])
