"""Folders of histology images: kinds of files, damaged files, cases, splits, regions of large files."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.data import immunohistochemistry

from medkernels.zoo.asr.data import (
    Patches,
    from_arrays,
    load_folder,
    tissue_patches,
    tissue_share,
)
from medkernels.zoo.asr.slides import open_slide, to_rgb, to_uint8
from medkernels.zoo.asr.splits import split_cases


@pytest.fixture(scope="module")
def tissue():
    return immunohistochemistry()[:128, :128]


def read(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, slide.height, slide.width)


def save(tissue, path, **options):
    Image.fromarray(tissue).save(path, **options)
    return path


def test_png_and_tiff_in_all_layouts_are_read_alike(tissue, tmp_path):
    save(tissue, tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", tissue, photometric="rgb", tile=(32, 32), compression="deflate")
    tifffile.imwrite(tmp_path / "c.tiff", tissue, photometric="rgb", rowsperstrip=16)
    planes = np.ascontiguousarray(np.moveaxis(tissue, -1, 0))
    tifffile.imwrite(tmp_path / "d.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "e.tif", tissue.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(tmp_path / "f.tif", (tissue / 255).astype(np.float32), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "g.tif") as file:  # a pyramid, the smaller level as a sub-image
        file.write(tissue, photometric="rgb", tile=(32, 32), subifds=1)
        file.write(tissue[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(read(path), tissue), path.name


def test_jpeg_is_read_nearly(tissue, tmp_path):
    assert np.abs(read(save(tissue, tmp_path / "a.jpg", quality=95)).astype(int) - tissue).mean() < 4


def test_grey_of_8_and_16_bits_and_one_bit(tissue, tmp_path):
    grey = tissue[..., 1]
    save(grey, tmp_path / "a.png")
    save(grey.astype(np.uint16) * 257, tmp_path / "b.png")
    tifffile.imwrite(tmp_path / "c.tif", grey, photometric="minisblack")
    tifffile.imwrite(tmp_path / "d.tif", 255 - grey, photometric="miniswhite")
    for path in sorted(tmp_path.iterdir()):
        assert np.array_equal(read(path), np.repeat(grey[..., None], 3, axis=2)), path.name
    Image.fromarray(grey > 100).save(tmp_path / "e.png")
    assert np.array_equal(read(tmp_path / "e.png")[..., 0], np.where(grey > 100, 255, 0))


def test_transparent_pixels_are_white_and_palettes_are_colors(tissue, tmp_path):
    cover = np.full((*tissue.shape[:2], 1), 255, np.uint8)
    cover[:10] = 0
    save(np.concatenate([tissue, cover], axis=2), tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "b.tif", np.concatenate([tissue, cover], 2), photometric="rgb", extrasamples=["unassalpha"]
    )
    for name in ("a.png", "b.tif"):
        pixels = read(tmp_path / name)
        assert (pixels[:10] == 255).all(), name
        assert np.array_equal(pixels[10:], tissue[10:]), name
    few = Image.fromarray(tissue).quantize(16)
    few.save(tmp_path / "c.png")
    colors = np.asarray(few.convert("RGB"))
    assert np.array_equal(read(tmp_path / "c.png"), colors)
    table = np.zeros((3, 256), np.uint16)
    table[:, :16] = np.array(few.getpalette()[:48], np.uint16).reshape(16, 3).T * 257
    tifffile.imwrite(tmp_path / "d.tif", np.asarray(few), photometric="palette", colormap=table)
    assert np.array_equal(read(tmp_path / "d.tif"), colors)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros((4, 4), np.int32), "8 or 16 bits"),
        (np.full((4, 4), 2.0), "must lie in"),
        (np.full((4, 4), np.nan), "must lie in"),
    ],
)
def test_other_pixel_types_are_refused(values, error):
    with pytest.raises(ValueError, match=error):
        to_uint8(values)


def test_many_channels_are_refused():
    with pytest.raises(ValueError, match="5 channels"):
        to_rgb(np.zeros((4, 4, 5), np.uint8))


def test_a_large_tiled_file_is_read_by_region(tmp_path):
    side = 24_000  # 1.7 GB as RGB
    tile = np.full((256, 256, 3), (180, 120, 160), np.uint8)
    path = tmp_path / "slide.tif"
    count = (-(-side // 256)) ** 2

    def tiles():
        for _ in range(count):
            yield tile

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_slide(path) as slide:
        assert (slide.height, slide.width) == (side, side)
        found = list(tissue_patches(slide, 256, 256, 0.5, 5, np.random.default_rng(0)))
    assert len(found) == 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.fixture
def cohort(tissue, tmp_path):
    """Two classes with good and bad files."""
    for name in ("benign", "nodular"):
        (tmp_path / name).mkdir()
        for number in range(3):
            save(np.rot90(tissue, number), tmp_path / name / f"s{number}.png")
    deep = tmp_path / "nodular" / "case9"
    deep.mkdir()
    save(tissue, deep / "a.png")
    save(tissue, deep / "b.jpg")
    bad = tmp_path / "benign"
    (bad / "note.txt").write_text("not an image")
    (bad / "empty.png").write_bytes(b"")
    (bad / "broken.tif").write_bytes(b"II*\0garbage")
    whole = (bad / "s0.png").read_bytes()
    (bad / "half.png").write_bytes(whole[: len(whole) // 2])
    save(np.full((128, 128, 3), 250, np.uint8), bad / "glass.png")
    save(tissue[:20], bad / "small.png")
    (bad / ".hidden.png").write_bytes(b"")
    return tmp_path


def test_a_folder_gives_patches_cases_and_classes_and_names_what_it_skips(cohort):
    patches = load_folder(cohort, patch=64, progress=False)
    assert patches.classes == ("benign", "nodular")
    assert patches.cases == (
        "benign/s0", "benign/s1", "benign/s2", "nodular/case9", "nodular/s0", "nodular/s1", "nodular/s2",
    )  # fmt: skip
    assert patches.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert patches.labelled
    assert np.bincount(patches.case_of).tolist() == [4, 4, 4, 8, 4, 4, 4]
    reasons = dict(patches.skipped)
    assert sorted(name.split("/")[1] for name in reasons) == [
        "broken.tif", "empty.png", "glass.png", "half.png", "note.txt", "small.png",
    ]  # fmt: skip
    assert "not an image" in reasons["benign/note.txt"]
    assert "no patch with 25% tissue" in reasons["benign/glass.png"]
    assert "smaller than a patch" in reasons["benign/small.png"]
    assert all(reasons.values())


def test_patches_lie_where_their_corners_say(cohort):
    patches = load_folder(cohort, patch=48, stride=40, progress=False)
    for index in (0, 3, len(patches) - 1):
        top, left = patches.corners[index]
        whole = read(cohort / patches.images[index])
        assert np.array_equal(patches.pixels[index], whole[top : top + 48, left : left + 48])
    assert patches.corners.max() + 48 <= 128


def test_the_same_seed_gives_the_same_patches(cohort):
    first, again, other = (
        load_folder(cohort, patch=32, max_patches=3, seed=seed, progress=False) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.corners, other.corners)


def test_images_without_classes(tissue, tmp_path):
    save(tissue, tmp_path / "a.png")
    patches = load_folder(tmp_path, patch=64, progress=False)
    assert patches.cases == ("a",)
    assert patches.classes == ()
    assert not patches.labelled


def test_empty_missing_and_useless_folders_are_errors(tissue, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no files"):
        load_folder(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no image .* gave a patch \(a.txt: not an image"):
        load_folder(tmp_path)
    with pytest.raises(NotADirectoryError, match="the file"):
        load_folder(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("option", "value"),
    [("patch", 0), ("stride", -1), ("max_patches", 0), ("min_tissue", 1.5), ("min_tissue", -1.0)],
)
def test_options_out_of_range_are_named(cohort, option, value):
    with pytest.raises(ValueError, match=option):
        load_folder(cohort, **{option: value})


def test_tissue_is_told_from_glass(tissue):
    assert tissue_share(np.full((8, 8, 3), 245, np.uint8)) == 0
    assert tissue_share(tissue) > 0.9
    pale_blue = np.full((8, 8, 3), (200, 215, 240), np.uint8)
    assert tissue_share(pale_blue) == 1


@pytest.mark.parametrize(
    ("pictures", "labels", "error"),
    [
        (np.zeros((2, 1, 8, 8)), None, "want shape"),
        (np.zeros((0, 3, 8, 8)), None, "want shape"),
        (np.full((2, 3, 8, 8), 2.0), None, "want values"),
        (np.full((2, 3, 8, 8), np.nan), None, "want values"),
        (np.zeros((2, 3, 8, 8)), [0], "labels"),
    ],
)
def test_bad_arrays_are_refused(pictures, labels, error):
    with pytest.raises(ValueError, match=error):
        from_arrays(pictures, labels)


def test_turned_patches_hold_the_same_pixels():
    pixels = np.random.default_rng(0).random((3, 3, 8, 8))
    patches = from_arrays(pixels)
    plain, turned = Patches(patches, np.arange(3), turn=False), Patches(patches, np.arange(3), turn=True)
    for index in range(3):
        assert plain[index].flatten(1).sort().values.equal(turned[index].flatten(1).sort().values)
    assert Patches(patches, np.arange(3), turn=False, crop=5)[0].shape == (3, 5, 5)


def test_splits_keep_the_share_of_each_class():
    labels = np.array([0] * 20 + [1] * 10 + [2] * 5)
    rest, held_out = split_cases(labels, 0.2, seed=1)
    assert np.bincount(labels[held_out]).tolist() == [4, 2, 1]
    assert sorted([*rest, *held_out]) == list(range(35))
    inner, outer = split_cases(labels, 0.5, seed=1, among=held_out)
    assert sorted([*inner, *outer]) == held_out.tolist()
