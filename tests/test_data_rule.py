"""The rule by which images become arrays, and how it is guessed."""

import numpy as np
import pytest
from PIL import Image

from data_fixtures import pixels, write_image
from pyocgan.data import ImageRule, averaged_down, infer_rule, inferring, open_source
from pyocgan.errors import UsageError


def test_description_names_every_choice():
    grey, colour = ImageRule((64, 64), 1), ImageRule((32, 48), 3)
    assert grey.describe() == (
        "taken at 64×64 pixels (other sizes resized: Pillow bilinear, antialiased), "
        "1 channel (ITU-R 601 luma)"
    )
    assert colour.describe().startswith("taken at 32×48 pixels")
    assert colour.describe().endswith("3 channels (RGB)")
    assert colour.describe(48).endswith("3 channels (RGB)")
    assert ImageRule((200, 100), 3).describe(64).endswith("; the networks see 64×32")
    assert ImageRule((32, 48), 1, bits=12).describe().endswith("; of 16 bits 4095 is white")


def test_dictionary_round_trip():
    rule = ImageRule((32, 48), 3)
    assert rule.to_dict() == {"image_size": [32, 48], "channels": 3, "bits": 16}
    assert ImageRule.from_dict(rule.to_dict()) == rule
    assert ImageRule.from_dict({"image_size": [32, 48], "channels": 3}) == rule, "of before bits"
    camera = ImageRule((32, 48), 1, bits=12)
    assert ImageRule.from_dict(camera.to_dict()) == camera
    assert camera.within(24).bits == 12
    shaped = ImageRule((32, 32), 3, proportions=(0.75, 4 / 3))
    assert shaped.to_dict()["proportions"] == [0.75, 1.3333]
    assert ImageRule.from_dict(shaped.to_dict()).proportions == (0.75, 1.3333)
    assert shaped == ImageRule((32, 32), 3), "it changes nothing of an image"


@pytest.mark.parametrize(
    ("size", "channels"), [((7, 64), 1), ((64, 257), 1), ((64, 64), 2), ((64, 64), 4)]
)
def test_out_of_range_is_a_usage_error(size, channels):
    with pytest.raises(UsageError, match=r"out of range|not possible"):
        ImageRule(size, channels)


def test_shrinking_antialiases():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # nearest-neighbour sampling would give all black or all white
    resized = ImageRule((16, 16), 1).apply(Image.fromarray(stripes))
    assert np.abs(resized.astype(int) - 127.5).max() < 40


def test_the_whole_image_is_used_whatever_its_aspect_ratio():
    wide = np.zeros((10, 100), np.uint8)
    wide[:, 50:] = 200
    resized = ImageRule((16, 16), 1).apply(Image.fromarray(wide))[..., 0]
    assert (resized[:, :7] == 0).all()
    assert (resized[:, 9:] == 200).all()


@pytest.mark.parametrize("shape", [(5, 20, 30), (5, 20, 30, 1), (5, 20, 30, 3), (5, 16, 12, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_and_images_go_the_same_way(shape, channels):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rule = ImageRule((16, 12), channels)
    result = rule.apply_array(images)
    assert result.shape == (5, 16, 12, channels)
    assert result.dtype == np.uint8
    one_by_one = [rule.apply(Image.fromarray(image.squeeze())) for image in images]
    np.testing.assert_array_equal(result, one_by_one)


def test_array_that_fits_is_not_touched():
    images = pixels(5 * 16, 12).reshape(5, 16, 12, 3)
    assert ImageRule((16, 12), 3).apply_array(images) is images


def write_sizes(folder, sizes, channels=1):
    for number, size in enumerate(sizes):
        write_image(folder / f"{number}.png", size=size, channels=channels)
    return open_source(folder)


@pytest.mark.parametrize(
    ("sizes", "expected", "note"),
    [
        ([(20, 30)] * 3, (20, 30), None),
        ([(8, 128)], (8, 128), None),
        ([(224, 256)] * 2, (224, 256), None),
        ([(200, 300)] * 2, (256, 256), "images of 200×300: resized to 256×256 (height×width)"),
        ([(7, 20)], (64, 64), "images of 7×20: resized to 64×64 (height×width)"),
        (
            [(24, 24), (100, 20), (50, 110)],
            (128, 128),
            "3 sizes from 24×24 to 50×110: all resized to 128×128 (height×width)",
        ),
        (
            [(24, 24), (100, 20), (200, 300)],
            (256, 256),
            "3 sizes from 24×24 to 200×300: all resized to 256×256 (height×width)",
        ),
    ],
)
def test_automatic_size(tmp_path, sizes, expected, note):
    rule, notes = infer_rule(write_sizes(tmp_path, sizes))
    assert rule.image_size == expected
    assert notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 300), (128, 128)), ((256, 256), (128, 128)), ((100, 100), (100, 100))],
)
def test_automatic_size_of_many_images_lets_all_of_them_lie_in_memory(
    tmp_path, monkeypatch, size, expected
):
    monkeypatch.setattr(inferring, "MOST_BYTES", 3 * 128 * 128)
    source = write_sizes(tmp_path, [size] * 3)
    assert infer_rule(source)[0].image_size == expected
    monkeypatch.setattr(inferring, "MOST_BYTES", 100)  # of no picture: the smallest square stays
    assert infer_rule(source)[0].image_size == (64, 64)
    assert infer_rule(source, image_size=200)[0].image_size == (200, 200)


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((64, 64), (64, 64)),
        ((256, 256), (64, 64)),
        ((100, 75), (64, 48)),
        ((8, 128), (8, 64)),
        ((65, 1 + 8), (64, 9)),
        ((30, 20), (30, 20)),
    ],
)
def test_averaged_down_images_are_as_if_resized_by_the_rule(size, seen):
    assert ImageRule(size, 3).within(64) == ImageRule(seen, 3)
    X = np.stack([pixels(*size, seed=seed) for seed in (0, 1)])
    expected = ImageRule(seen, 3).apply_array(X)
    np.testing.assert_array_equal(averaged_down(X, 64), expected)
    assert (averaged_down(X, 64) is X) == (size == seen)


@pytest.mark.parametrize(("given", "expected"), [(32, (32, 32)), ((20, 40), (20, 40))])
def test_explicit_size_wins(tmp_path, given, expected):
    rule, notes = infer_rule(write_sizes(tmp_path, [(50, 50)]), image_size=given)
    assert rule.image_size == expected
    assert "images of 50×50" in notes[0]


@pytest.mark.parametrize("given", [4, 300, (64, 7), "large", (1, 2, 3), None])
def test_impossible_size_is_a_usage_error(tmp_path, given):
    with pytest.raises(UsageError, match=r"out of range|not possible"):
        infer_rule(write_sizes(tmp_path, [(50, 50)]), image_size=given)


def test_impossible_channels_are_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="channels 2 is not possible"):
        infer_rule(write_sizes(tmp_path, [(50, 50)]), channels=2)


def test_one_colour_image_makes_all_colour(tmp_path):
    write_sizes(tmp_path, [(20, 20)] * 2)
    assert infer_rule(open_source(tmp_path))[0].channels == 1
    write_image(tmp_path / "colour.png", size=(20, 20), channels=3)
    rule, notes = infer_rule(open_source(tmp_path))
    assert rule.channels == 3
    assert notes == ("grey images repeated in all 3 channels",)
    rule, notes = infer_rule(open_source(tmp_path), channels=1)
    assert rule.channels == 1
    assert notes == ("images stored in colour reduced to grey",)


def test_notes_on_16_bits_and_transparency(tmp_path):
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "a.png")
    Image.new("LA", (20, 20)).save(tmp_path / "b.png")
    rule, notes = infer_rule(open_source(tmp_path))
    assert rule == ImageRule((20, 20), 1)
    assert notes == (
        "16-bit images reduced to 8 bits: 0 to 65535 becomes 0 to 255",
        "images with transparency laid on white",
    )


@pytest.mark.parametrize(
    ("brightest", "bits"),
    [(200, 8), (256, 10), (3901, 12), (4095, 12), (4096, 14), (16384, 16), (65535, 16)],
)
def test_white_is_what_the_bits_in_use_can_write(tmp_path, brightest, bits):
    values = np.linspace(0, brightest, 400).reshape(20, 20).astype(np.uint16)
    for name in ("a", "b"):
        Image.fromarray(values // (2 if name == "a" else 1)).save(tmp_path / f"{name}.png")
    Image.new("L", (20, 20), 255).save(tmp_path / "c.png")  # which has 8, and says nothing of 16
    source = open_source(tmp_path)
    rule, notes = infer_rule(source)
    assert rule.bits == bits
    used = "" if bits == 16 else f", of which {bits} are in use,"
    assert notes == (f"16-bit images{used} reduced to 8 bits: 0 to {2**bits - 1} becomes 0 to 255",)
    half, whole, other = rule.apply(source.image(0)), rule.apply(source.image(1)), source.image(2)
    expected = values.astype(float) / (2**bits - 1) * 255
    assert np.abs(whole[..., 0] - expected).max() <= 0.5
    assert np.abs(half[..., 0] - expected / 2).max() <= 1.5
    assert (rule.apply(other) == 255).all()


def test_brighter_than_white_is_white():
    values = np.full((8, 8), 5000, np.uint16)
    assert (ImageRule((8, 8), 1, bits=12).apply(Image.fromarray(values)) == 255).all()
    with pytest.raises(UsageError, match="bits in use must be 1 to 16"):
        ImageRule((8, 8), 1, bits=17)


def test_unreadable_headers_are_passed_over(tmp_path):
    write_sizes(tmp_path, [(20, 20)])
    (tmp_path / "bad.png").write_text("text")
    assert infer_rule(open_source(tmp_path)) == (ImageRule((20, 20), 1), ())


def test_an_array_is_judged_by_one_header(monkeypatch):
    source, asked = open_source(np.zeros((600, 9, 9), np.uint8)), []
    header = source.store.header
    monkeypatch.setattr(source.store, "header", lambda index: asked.append(index) or header(index))
    rule, _ = infer_rule(source)
    inferring.fitting_notes(source, rule)
    assert (rule.image_size, asked) == ((9, 9), [0, 0])


def test_headers_of_a_sample_are_read_once(tmp_path, monkeypatch):
    source, asked = write_sizes(tmp_path, [(20, 20), (40, 20), (20, 20)]), []
    header = source.store.header
    monkeypatch.setattr(source.store, "header", lambda index: asked.append(index) or header(index))
    rule = ImageRule((20, 20), 3)
    first = inferring.fitting_notes(source, rule)
    assert first == inferring.fitting_notes(source, rule) != ()
    assert asked == [0, 1, 2]


def test_headers_are_read_without_decoding(tmp_path):
    path = write_image(tmp_path / "cut.png", size=(100, 100))
    path.write_bytes(path.read_bytes()[:500])
    assert infer_rule(open_source(path))[0] == ImageRule((100, 100), 3)


@pytest.mark.parametrize(
    ("mode", "saved_with", "noted"),
    [("L", {}, False), ("L", {"transparency": 7}, True), ("P", {"transparency": 0}, True)],
)
def test_a_single_transparent_colour_is_noted(tmp_path, mode, saved_with, noted):
    Image.new(mode, (20, 20), 7).save(tmp_path / "a.png", **saved_with)
    notes = infer_rule(open_source(tmp_path))[1]
    assert ("images with transparency laid on white" in notes) == noted


def test_images_brighter_than_what_was_learned_are_noted():
    dark = np.full((3, 20, 20), 4000, np.uint16)
    rule = infer_rule(open_source(dark))[0]
    assert rule.bits == 12
    assert inferring.fitting_notes(open_source(dark), rule, odd_alone=True) == ()
    (note,) = inferring.fitting_notes(open_source(dark * 16), rule, odd_alone=True)
    assert note.startswith("of 16 bits 16 are in use, where the model takes 4095")
    assert note.endswith("divide by 16")


@pytest.mark.parametrize("size", [(300, 300), (4, 100), (257, 8)])
def test_images_of_sizes_that_no_rule_has_are_averaged_down(size):
    images = np.full((2, *size, 1), 9, np.uint8)
    seen = averaged_down(images, 64)
    assert max(seen.shape[1:3]) == 64
    assert (seen == 9).all()
