"""Arrays in, pictures out: images side by side, and what all pictures share. No torch, no files.

Shape letters: H W pixels, K channels (1 or 3). Images are uint8, 0 … 255. Lengths called ``cell``,
``gap`` and ``width`` are in CSS pixels; pictures hold ``DENSITY`` pixels for each of them.

Every figure is drawn for a `Style` (light or dark paper) and a width (a page or a phone), so that
a page can show the variant that fits its reader. The font is the one matplotlib carries, and no
date goes into a PNG: the same arrays give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Images = NDArray[np.uint8]
Style = Mapping[str, str]

DENSITY = 2
WIDE, NARROW = 790, 350  # CSS pixels: a page's text column, a phone
SHOWN = 1024  # pixels of a photograph's side, at most
CAPTION = 18  # CSS pixels under an image
EXAMPLES = 4  # of each class, above their reconstructions

# Blue and orange stay apart for colour-blind readers. Text colours (ink, muted, accent, other)
# have a contrast of at least 4.5 with their paper.
STYLES: dict[str, Style] = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1b1f24",
        "muted": "#59626d",
        "rule": "#d9dee4",
        "tint": "#e6effa",
        "accent": "#1f5fae",
        "other": "#a84c06",
    },
    "dark": {
        "paper": "#15181c",
        "ink": "#e7eaee",
        "muted": "#a0a9b4",
        "rule": "#353c45",
        "tint": "#1d2f47",
        "accent": "#82b6ff",
        "other": "#f2a65e",
    },
}


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture as PNG, without dates or other metadata."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=7)
    return buffer.getvalue()


def image_grid(
    images: Images,
    cell: float = 28,
    gap: int = 2,
    paper: str = "#ffffff",
    captions: Sequence[str] = (),
) -> Image.Image:
    """Lay images out as a table, enlarged smoothly.

    Parameters
    ----------
    images
        uint8 (rows, columns, H, W, K), K 1 or 3.
    cell
        Wanted longer side of one image in CSS pixels; the image is enlarged by a whole number of
        the screen's pixels, and never reduced.
    gap
        Space between images in CSS pixels, filled with `paper`.
    captions
        What stands under the images, row by row; light paper is assumed.
    """
    tiles = _enlarged(images, cell)
    rows, columns, height, width, _ = tiles.shape
    space, strip = gap * DENSITY, CAPTION * DENSITY if captions else 0
    down, across = height + strip + space, width + space
    sheet = np.empty((rows, columns, down, across, 3), np.uint8)
    sheet[:] = np.array(_rgb(paper), np.uint8)
    sheet[:, :, :height, :width] = tiles
    table = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * down, columns * across, 3)
    picture = Image.fromarray(table[: len(table) - space, : table.shape[1] - space])
    draw, letters = ImageDraw.Draw(picture), font(11)
    for place, caption in enumerate(captions):
        row, column = divmod(place, columns)
        middle = column * across + width // 2, row * down + height + strip // 2
        draw.text(middle, caption, STYLES["light"]["ink"], letters, anchor="mm")
    return picture


def heat_picture(image: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Lay what speaks for novelty over an image, in grey: glowing where there is most.

    The picture is reduced to `SHOWN` pixels a side at most.

    Parameters
    ----------
    image
        Of any size, RGB.
    heat
        (h, w) ≥ 0, of the whole image; its largest value glows brightest.
    """
    scale = min(1.0, SHOWN / max(image.size))
    size = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) / 255
    share = np.float32(heat / (heat.max() or 1))
    glow = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR))
    shown = (glow.clip(0, 1) ** 2.5)[..., None]  # what is half as novel hardly shows
    colours = matplotlib.colormaps["inferno"](0.25 + 0.7 * glow.clip(0, 1))[..., :3]
    blended = (1 - shown) * grey[..., None] + shown * colours
    return Image.fromarray((255 * blended).round().astype(np.uint8))


def reconstruction_table(
    rows: Sequence[tuple[str, str, Images]],
    classes: Sequence[str],
    normal_class: str,
    style: Style,
    width: int = WIDE,
) -> Image.Image:
    """Draw inputs above their reconstructions: a column for each class, a block for each example.

    Parameters
    ----------
    rows
        For each row of a block: label, name of the label's colour in `style`, and images,
        uint8 (classes, n, H, W, K) with n >= 1, of which `EXAMPLES` are shown.
    normal_class
        The class whose column is highlighted.
    """
    plain, bold = font(12 if width > NARROW else 11), font(15, bold=True)
    margin = max(int(plain.getlength(label)) for label, _, _ in rows) + 14 * DENSITY
    pitch = (width * DENSITY - margin) // len(classes)
    tiles = [_enlarged(images[:, :EXAMPLES], (pitch / DENSITY) * 0.9) for _, _, images in rows]
    _, shown, high, wide, _ = tiles[0].shape
    step, head, space = high + 2 * DENSITY, 30 * DENSITY, pitch // 3
    block = len(rows) * step + space
    sheet = Image.new(
        "RGB", (margin + pitch * len(classes), head + shown * block - space // 2), style["paper"]
    )
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(classes):
        left = margin + column * pitch
        if name == normal_class:
            band = (left, 0, left + pitch - 1, sheet.height - 1)
            pen.rounded_rectangle(band, 5 * DENSITY, fill=style["tint"])
        color = style["accent" if name == normal_class else "ink"]
        pen.text((left + pitch / 2, head / 2), name, color, bold, "mm")
    for example, (line, (label, color, _)) in product(range(shown), enumerate(rows)):
        top = head + example * block + line * step
        pen.text((0, top + high / 2), label, style[color], plain, "lm")
        for column in range(len(classes)):
            picture = Image.fromarray(tiles[line][column, example])
            sheet.paste(picture, (margin + column * pitch + (pitch - wide) // 2, top))
    return sheet


def _enlarged(images: Images, cell: float) -> Images:
    """Enlarge smoothly: uint8 (a, b, H, W, K) -> (a, b, H·k, W·k, 3), k whole, W·k near `cell`.

    Bicubic, not squares: the shape of a digit of 8×8 pixels is hard to see among its own edges.
    """
    a, b, high, wide, channels = images.shape
    times = max(1, int(cell * DENSITY) // max(high, wide))
    colour = images if channels == 3 else images.repeat(3, axis=4)
    tiles = [
        Image.fromarray(tile).resize((wide * times, high * times), Image.Resampling.BICUBIC)
        for tile in colour.reshape(a * b, high, wide, 3)
    ]
    return np.stack([np.asarray(tile) for tile in tiles]).reshape(a, b, *tiles[0].size[::-1], 3)


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Open the font that matplotlib carries, `size` in CSS pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size * DENSITY)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
