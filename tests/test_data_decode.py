"""Formats, modes, orientation, and every kind of file that cannot be read."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from data_fixtures import pixels, png_header, write_image
from pyocgan.data import ImageRule, UnreadableImage, open_source
from pyocgan.data.decode import as_mode, decode, read_header

GREY = ImageRule((12, 16), 1)
RGB = ImageRule((12, 16), 3)


def saved(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_the_pixels_back(format, channels):
    image = Image.fromarray(pixels(channels=channels))
    options = {"lossless": True} if format == "WEBP" else {}
    rule = GREY if channels == 1 else RGB
    decoded = rule.apply(decode(saved(image, format, **options)))
    # WebP stores grey as RGB, and the luma of equal R, G, B is that value again.
    np.testing.assert_array_equal(decoded, pixels(channels=channels).reshape(rule.shape))


def test_jpeg_is_close():
    smooth = Image.linear_gradient("L").resize((16, 12))
    decoded = GREY.apply(decode(saved(smooth, "JPEG", quality=95)))[..., 0]
    assert np.abs(decoded.astype(int) - np.asarray(smooth)).max() < 6


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_become_8_by_257(format):
    values = np.array([0, 128, 129, 257, 32768, 65278, 65535, 1], np.uint16).repeat(24)
    image = Image.fromarray(values.reshape(12, 16))
    decoded = GREY.apply(decode(saved(image, format)))
    expected = np.round(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoded.ravel(), expected)
    assert decoded.min() == 0
    assert decoded.max() == 255


def test_32_bit_integers_are_read_as_16_bits_or_refused():
    values = np.full((12, 16), 65535, np.int32)
    assert GREY.apply(Image.fromarray(values)).min() == 255
    with pytest.raises(UnreadableImage, match=r"outside 0\.\.65535"):
        GREY.apply(Image.fromarray(values + 1))


def test_1_bit_becomes_black_and_white():
    image = Image.fromarray(pixels(channels=1) > 127)
    decoded = GREY.apply(decode(saved(image, "PNG")))
    np.testing.assert_array_equal(decoded[..., 0], (pixels(channels=1) > 127) * 255)


def test_palette_becomes_its_colours():
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    decoded = RGB.apply(decode(saved(image, "PNG")))
    assert (decoded == [10, 20, 30]).all()


def test_palette_with_transparent_colour_is_laid_on_white():
    image = Image.new("P", (16, 12), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    decoded = RGB.apply(decode(saved(image, "PNG", transparency=1)))
    assert (decoded == 255).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("LA", (40, 0), (255, 255, 255)),
        ("LA", (40, 255), (40, 40, 40)),
    ],
)
def test_transparency_is_laid_on_white(mode, colour, expected):
    decoded = RGB.apply(decode(saved(Image.new(mode, (16, 12), colour), "PNG")))
    assert tuple(decoded[0, 0]) == expected


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb(format):
    image = Image.new("CMYK", (16, 12), (0, 255, 255, 0))  # red
    red, green, blue = RGB.apply(decode(saved(image, format)))[5, 5].astype(int)
    assert red > 250
    assert max(green, blue) < 5


def test_luma_is_itu_r_601():
    image = Image.new("RGB", (16, 12), (200, 100, 50))
    expected = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert (GREY.apply(image) == expected).all()


def test_white_is_white_in_a_tiff_of_12_bits():
    """8×8 pixels, black and white columns, which Pillow reads and does not write."""
    row = "".join(f"{value:012b}" for value in [0, 4095] * 4)
    data = int(row * 8, 2).to_bytes(96, "big")
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(data)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    content = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    content += struct.pack("<H", len(tags)) + entries + bytes(4)
    seen = np.asarray(as_mode(decode(io.BytesIO(content)), "L"))
    np.testing.assert_array_equal(seen, np.tile([0, 255], (8, 4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_big_tiff_is_a_tiff(channels):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(pixels(16, 12, channels))
    file = saved(image, "TIFF", big_tiff=True, exif=exif)
    assert file.getvalue().startswith(b"II\x2b\0")
    assert read_header(file).size == (12, 16)
    file.seek(0)
    upright = np.rot90(pixels(16, 12, channels), -1)
    np.testing.assert_array_equal(np.asarray(decode(file)), upright)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_upright_image(format, orientation):
    upright = np.zeros((12, 16), np.uint8)
    upright[:4, :4] = 255  # one bright corner, at the top left
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), format, exif=exif, **options)
    assert read_header(file).size == (12, 16)
    file.seek(0)
    decoded = np.asarray(decode(file).convert("L"))
    assert decoded.shape == (12, 16)
    assert np.abs(decoded.astype(int) - upright).max() < 40


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def with_xmp(image, format, xmp):
    if format != "PNG":
        return saved(image, format, xmp=xmp)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
    return saved(image, "PNG", pnginfo=chunks)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("xmp", "size"), [(XMP, (12, 16)), (XMP.replace(b"6", b"3"), (16, 12))])
def test_orientation_that_stands_in_xmp_alone(format, xmp, size):
    file = with_xmp(Image.fromarray(pixels(16, 12)), format, xmp)
    assert read_header(file).size == size
    file.seek(0)
    assert decode(file).size == size[::-1]


@pytest.mark.parametrize("in_exif", [None, 1, 6])
def test_xmp_of_a_tiff_counts_where_its_own_entry_is_missing(in_exif):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = XMP
    if in_exif is not None:
        tags[0x0112] = in_exif
    file = saved(Image.fromarray(pixels(16, 12)), "TIFF", tiffinfo=tags)
    size = read_header(file).size
    file.seek(0)
    assert decode(file).size == size[::-1] == ((12, 16) if in_exif == 1 else (16, 12))


def test_the_header_of_a_png_takes_no_decoding():
    for xmp in (XMP, b"none"):
        content = with_xmp(Image.fromarray(pixels(64, 48)), "PNG", xmp).getvalue()
        head = content[: content.index(b"IDAT") + 8]
        assert read_header(io.BytesIO(head)).size == ((48, 64) if xmp == XMP else (64, 48))


@pytest.mark.parametrize("odd", [0x0100, 0x011A, 0x0213])  # numbers, written as text
def test_an_odd_entry_of_exif_spoils_no_photograph(odd):
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHI4s", odd, 2, 2, b"x")]
    ordered = sorted(entries, key=lambda entry: struct.unpack("<H", entry[:2]))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(ordered) + bytes(4)
    file = saved(Image.fromarray(pixels(16, 12)), "JPEG", exif=exif, quality=95)
    assert read_header(file).size == (12, 16)
    file.seek(0)
    assert decode(file).size == (16, 12)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_exif_that_is_none_is_passed_over(format):
    file = saved(Image.fromarray(pixels()), format, exif=b"Exif\x00\x00no such thing")
    assert read_header(file).size == (12, 16)
    file.seek(0)
    assert decode(file).size == (16, 12)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_a_negative_tiff_is_read_as_it_looks(bits, dtype):
    values = np.full((12, 16), 40, np.uint8).astype(dtype) * (1 if bits == 8 else 257)
    content = saved(Image.fromarray(values), "TIFF").getvalue()
    black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(black_is_zero) == 1
    negative = content.replace(black_is_zero, struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert (GREY.apply(decode(io.BytesIO(negative))) == 255 - 40).all()


def test_one_transparent_grey_of_16_bits_is_laid_on_white():
    values = np.full((12, 16), 40_000, np.uint16)
    values[:4] = 300
    buffer = saved(Image.fromarray(values), "PNG", transparency=300)
    found = GREY.apply(decode(buffer))[..., 0]
    assert (found[:4] == 255).all()
    assert (found[4:] == round(40_000 / 257)).all()


def test_16_bit_images_are_turned_too():
    values = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 300
    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(Image.fromarray(values), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(file)), np.rot90(values, -1))


def frames(format, *kinds, **options):
    """Three images in one file, 7, 99, 99 all over; `kinds` of the last two, as TIFF has them."""
    first, *others = (Image.new("L", (16, 12), value) for value in (7, 99, 99))
    for other, kind in zip(others, kinds, strict=bool(kinds)):
        other.encoderinfo = {"tiffinfo": {254: kind}}
    return saved(first, format, save_all=True, append_images=others, **options)


def test_first_frame_of_an_animation():
    assert (GREY.apply(decode(frames("WEBP", lossless=True))) == 7).all()


@pytest.mark.parametrize("kinds", [(1, 1), (1, 4)])
def test_thumbnails_and_masks_behind_a_tiff_are_passed_over(kinds):
    assert (GREY.apply(decode(frames("TIFF", *kinds))) == 7).all()


@pytest.mark.parametrize(("kinds", "pages"), [((), 3), ((0, 2), 3), ((0, 1), 2)])
@pytest.mark.parametrize("read", [decode, read_header])
def test_a_stack_of_pages_is_refused_whoever_reads_it(read, kinds, pages):
    with pytest.raises(UnreadableImage, match=f"is a stack of {pages} pages: save each as a file"):
        read(frames("TIFF", *kinds))


def test_large_jpeg_is_drafted_without_visible_change(tmp_path):
    photo = Image.radial_gradient("L").resize((1024, 1024), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.jpg", quality=95)
    source = open_source(tmp_path / "photo.jpg")
    rule = ImageRule((32, 32), 1)
    drafted = source.image(0, at_least=rule.enough_pixels)
    assert drafted.size == (128, 128)
    full = rule.apply(source.image(0)).astype(int)
    assert np.abs(full - rule.apply(drafted)).max() <= 2


def test_small_jpeg_is_not_drafted(tmp_path):
    write_image(tmp_path / "small.jpg", size=(200, 200))
    assert open_source(tmp_path / "small.jpg").image(0, at_least=128).size == (200, 200)


def png(**changes):
    content = saved(Image.fromarray(pixels(64, 64)), "PNG").getvalue()
    return content[: changes.get("length", len(content))]


UNREADABLE = {
    "empty": (b"", "is empty"),
    "text": (b"not an image at all", "is not a PNG, JPEG, BMP, TIFF or WebP image"),
    "short": (b"ab", "is not a PNG"),
    "truncated png": (png(length=3000), "is cut short"),
    "png header only": (png(length=20), "cut short|damaged"),
    "gif": (saved(Image.new("L", (16, 12)), "GIF").getvalue(), "is not a PNG"),
    "float tiff": (saved(Image.new("F", (16, 12)), "TIFF").getvalue(), "floating-point"),
    "bomb": (png_header(25000, 20000), "is 25000×20000 pixels, over the limit of 100 megapixels"),
    "jpeg start": (b"\xff\xd8\xff\xe0" + bytes(50), "is damaged|is cut short"),
    "riff": (b"RIFF" + bytes(40), "is damaged"),
    "big tiff, reversed": (b"MM\0\x2b\0\x08" + bytes(40), "is a BigTIFF with the high bytes first"),
    "big tiff start": (b"II\x2b\0\x08\0\0\0" + bytes(40), "is damaged|is cut short"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_say_why_in_one_line(kind, tmp_path):
    content, reason = UNREADABLE[kind]
    (tmp_path / "bad.png").write_bytes(content)
    source = open_source(tmp_path / "bad.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableImage, match=reason) as caught:
            GREY.apply(source.image(0))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_just_below_pillows_warning_limit_leaks_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_header(io.BytesIO(png_header(9999, 10000))).size == (9999, 10000)


def test_pillows_warnings_on_damaged_exif_stay_in():
    damaged = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + bytes(6)
    content = saved(Image.fromarray(pixels()), "JPEG", exif=damaged).getvalue()
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(content)).getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(io.BytesIO(content)).size == (16, 12)
        assert read_header(io.BytesIO(content)).size == (12, 16)


def test_jpeg_cut_short_is_refused_not_filled_with_grey():
    content = saved(Image.fromarray(pixels(64, 64)), "JPEG").getvalue()
    with pytest.raises(UnreadableImage, match="is cut short"):
        decode(io.BytesIO(content[: len(content) // 2]))


def test_text_bomb_in_a_png_is_refused():
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("note", "a" * 70_000_000, zip=True)
    file = saved(Image.new("L", (16, 12)), "PNG", pnginfo=chunks)
    with pytest.raises(UnreadableImage, match="is damaged"):
        decode(file)


@pytest.mark.parametrize("mode", ["LAB", "La"])
def test_unsupported_pixels_are_named(mode):
    with pytest.raises(UnreadableImage, match=f"of the kind {mode}"):
        GREY.apply(Image.new(mode, (16, 12)))
