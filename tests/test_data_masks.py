"""Masks of defects beside a test part: found, read as their images are, or a clear line."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from conftest import tiny_flags
from pyocgan.data import ImageRule, open_source
from pyocgan.data.masks import find_masks, read_masks
from pyocgan.detector import NoveltyDetector
from pyocgan.errors import InputError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def parts(tmp_path):
    """MVTec AD's layout: flawless noise, bright squares on some of it, and their masks."""
    rng = np.random.default_rng(0)
    for number in range(60):
        folder = "train/good" if number < 40 else "test/good" if number < 50 else "test/spot"
        pixels = rng.normal(90, 8, (40, 48)).clip(0, 255).astype(np.uint8)
        if folder == "test/spot":
            row, column = rng.integers(0, 30, 2)
            mask = np.zeros((40, 48), np.uint8)
            mask[row : row + 9, column : column + 9] = 255
            pixels[mask > 0] = 220
            save(tmp_path / "ground_truth" / "spot" / f"{number:03}_mask.png", mask)
        save(tmp_path / folder / f"{number:03}.png", pixels)
    return tmp_path


def test_masks_are_found_beside_the_test_part(parts):
    source = open_source(parts, split="test")
    masks = find_masks(source)
    assert len(masks) == 10
    image = parts / "test" / "spot" / "050.png"
    assert masks[str(image)] == parts / "ground_truth" / "spot" / "050_mask.png"
    masks[str(image)].rename(parts / "ground_truth" / "spot" / "050.png")
    assert find_masks(source)[str(image)] == parts / "ground_truth" / "spot" / "050.png"
    assert find_masks(source.with_paths()) == {}
    assert find_masks(open_source(np.zeros((2, 8, 8), np.uint8))) == {}


def test_a_mask_is_taken_as_its_image_is(tmp_path):
    image = save(tmp_path / "i.png", np.zeros((32, 32), np.uint8))
    block, line, ones = (np.zeros((32, 32), np.uint8) for _ in range(3))
    block[8:16, 4:12] = 255
    line[:, 5] = 255  # a quarter of a pixel of eight a side
    ones[8:16, 4:12] = 1
    paths = [save(tmp_path / f"{i}.png", m) for i, m in enumerate((block, line, ones))]
    found = read_masks([image] * 4, [*paths, None], ImageRule((8, 8), 3))
    expected = np.zeros((8, 8), bool)
    expected[2:4, 1:3] = True
    np.testing.assert_array_equal(found[0], expected)
    assert found[1].any(0).tolist() == [False, True] + [False] * 6
    assert found[2].sum() <= 4
    assert found[2][expected].any()
    assert not found[3].any()


def test_bad_masks(tmp_path):
    image = save(tmp_path / "i.png", np.zeros((32, 32), np.uint8))
    rule = ImageRule((32, 32), 1)
    small = save(tmp_path / "small.png", np.zeros((16, 32), np.uint8))
    with pytest.raises(InputError, match=r"small\.png is 16×32, its image 32×32: resize it"):
        read_masks([image], [small], rule)
    with pytest.raises(InputError, match=r"i\.png marks no pixel: what is novel must be white"):
        read_masks([image], [image], rule)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"cut\.png cannot be read"):
        read_masks([image], [tmp_path / "cut.png"], rule)


def test_evaluate_measures_where_defects_are(command, parts, tmp_path):
    flags = tiny_flags(scores="patches", epochs=1, stage="ae")
    chosen = ("--fpr=0.1", "--out", tmp_path / "m", "--quiet", *flags)
    assert command("train", parts, *chosen)[0] == 0
    code, out, _ = command("evaluate", tmp_path / "m", "--json", "--no-baselines")
    figure = json.loads(out)["pixel_auroc"]
    assert code == 0
    source = open_source(parts, split="test")
    found = NoveltyDetector.load(tmp_path / "m")
    truth = np.zeros((20, 40, 48), bool)
    for index, mask in enumerate(sorted((parts / "ground_truth" / "spot").iterdir())):
        truth[10 + index] = np.asarray(Image.open(mask)) > 0
    heat = found.heatmap(source)
    assert figure == pytest.approx(roc_auc_score(truth.ravel(), heat.ravel()))
    assert figure > 0.95
    out = command("evaluate", tmp_path / "m", "--no-baselines")[1]
    assert out.endswith(f"Where: over all pixels its heat map has an AUROC of {figure:.4f}.\n")
    mask = parts / "ground_truth" / "spot" / "050_mask.png"
    content = mask.read_bytes()
    assert command("evaluate", tmp_path / "m", "--no-baselines", "--scores", mask)[0] == 2
    assert mask.read_bytes() == content
    mask.write_bytes(content[:40])
    code, out, errors = command("evaluate", tmp_path / "m", "--json", "--no-baselines")
    assert (code, "pixel_auroc" in json.loads(out)) == (0, False)
    words = "050_mask.png cannot be read: .*; the heat map is not measured"
    assert any(re.search(words, line) for line in errors)
    mask.unlink()
    code, out, errors = command("evaluate", tmp_path / "m", "--json", "--no-baselines")
    assert "pixel_auroc" not in json.loads(out)
    assert "1 novel images have no mask: the heat map is not measured" in errors
