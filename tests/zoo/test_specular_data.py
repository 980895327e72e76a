"""Pictures and masks in files of every usual kind, and the folders they lie in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medkernels.zoo.specular.data import Frames, open_frames
from medkernels.zoo.specular.images import DAMAGED, natural, read_image, read_mask, write_png

FRAME = np.zeros((4, 5, 3), np.uint8)


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


@pytest.fixture
def mask():
    found = np.zeros((12, 17), bool)
    found[2:5, 3:9] = True
    return found


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF", "bmp"])
def test_colour_pictures_without_loss(tmp_path, rgb, ending):
    Image.fromarray(rgb).save(tmp_path / f"a.{ending}")
    found = read_image(tmp_path / f"a.{ending}")
    assert np.array_equal(found, rgb)
    assert found.flags.c_contiguous


def test_jpeg(tmp_path):
    smooth = np.repeat(np.linspace(0, 250, 64).astype(np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - smooth).max() <= 4
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - smooth).max() <= 8


def test_grey_pictures_get_three_channels(tmp_path, rgb):
    grey = rgb[..., 0]
    for name in ("a.png", "a.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name), np.repeat(grey[..., None], 3, axis=2))


def test_of_sixteen_bits_the_upper_eight_count(tmp_path, rgb):
    deep = rgb.astype(np.uint16) * 256 + 77
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 1])
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "big.tif", deep, photometric="rgb", byteorder=">")
    tifffile.imwrite(
        tmp_path / "planes.tif", np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"
    )
    for name in ("a.png", "a.tif", "big.tif", "planes.tif"):
        assert np.array_equal(read_image(tmp_path / name), rgb), name
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(rgb[..., 1:2], 3, axis=2))


def test_floating_point(tmp_path, rgb):
    tifffile.imwrite(tmp_path / "a.tif", (rgb / 255).astype(np.float32), photometric="rgb")
    assert np.array_equal(read_image(tmp_path / "a.tif"), rgb)
    for wrong in (rgb.astype(np.float32), np.full((4, 4, 3), np.nan, np.float32)):
        tifffile.imwrite(tmp_path / "b.tif", wrong, photometric="rgb")
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            read_image(tmp_path / "b.tif")


def test_transparent_parts_are_black(tmp_path, rgb):
    cover = np.full((12, 17, 1), 255, np.uint8)
    cover[:4], cover[4:6] = 0, 51
    expected = np.round(rgb * (cover / 255)).astype(np.uint8)
    Image.fromarray(np.concatenate([rgb, cover], axis=2)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.concatenate([rgb, cover], axis=2), photometric="rgb")
    for name in ("a.png", "a.tif"):
        assert np.abs(read_image(tmp_path / name).astype(int) - expected).max() <= 1, name
    Image.fromarray(np.concatenate([rgb[..., :1], cover], axis=2)).save(tmp_path / "grey.png")
    assert np.abs(read_image(tmp_path / "grey.png")[..., 2].astype(int) - expected[..., 0]).max() <= 1


def test_palettes_one_bit_and_turned_pictures(tmp_path, rgb):
    few = np.where(rgb[..., :1] > 127, np.uint8([200, 30, 40]), np.uint8([10, 20, 250]))
    Image.fromarray(few).quantize(2).save(tmp_path / "few.png")
    assert np.array_equal(read_image(tmp_path / "few.png"), few)
    Image.fromarray(rgb[..., 0] > 127).save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png")[..., 0], (rgb[..., 0] > 127) * np.uint8(255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.rot90(rgb, -1))


def test_damaged_files(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    tifffile.imwrite(tmp_path / "two.tif", np.stack([rgb, rgb]), photometric="rgb")
    for name, content in {
        "empty.png": b"",
        "torn.png": whole[: len(whole) // 2],
        "text.jpg": b"nothing",
        "text.tif": b"nothing",
        "empty.tif": b"",
        "torn.tif": (tmp_path / "two.tif").read_bytes()[:300],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DAMAGED):
            read_image(tmp_path / name)
        with pytest.raises(DAMAGED):
            read_mask(tmp_path / name)
    with pytest.raises(ValueError, match="holds 2 pictures, want one"):
        read_image(tmp_path / "two.tif")
    tifffile.imwrite(
        tmp_path / "many.tif", np.zeros((5, 6, 7), np.uint8), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ValueError, match="want a grey or colour picture"):
        read_image(tmp_path / "many.tif")
    tifffile.imwrite(tmp_path / "deep.tif", np.full((5, 6), 70000, np.uint32))
    with pytest.raises(ValueError, match="want 8 or 16 bits a channel, got values 70000 to 70000"):
        read_image(tmp_path / "deep.tif")


def test_masks_of_every_kind(tmp_path, mask):
    kinds = {
        "white.png": mask * np.uint8(255),
        "ones.png": mask * np.uint8(1),
        "deep.png": mask * np.uint16(65535),
        "deep-ones.png": mask * np.uint16(1),
        "colour.png": np.repeat(mask[..., None] * np.uint8(255), 3, axis=2),
        "cover.png": np.repeat(mask[..., None] * np.uint8(255), 4, axis=2) | np.uint8([0, 0, 0, 255]),
    }
    for name, values in kinds.items():
        cv2.imwrite(str(tmp_path / name), values)
    Image.fromarray(mask).save(tmp_path / "bits.png")
    tifffile.imwrite(tmp_path / "share.tif", mask.astype(np.float32))
    tifffile.imwrite(tmp_path / "white.tif", mask * np.uint8(255))
    for name in [*kinds, "bits.png", "share.tif", "white.tif"]:
        found = read_mask(tmp_path / name)
        assert found.dtype == np.bool_
        assert np.array_equal(found, mask), name
    Image.fromarray(mask.repeat(8, axis=0).repeat(8, axis=1) * np.uint8(255)).save(
        tmp_path / "a.jpg", quality=80
    )
    assert (read_mask(tmp_path / "a.jpg")[4::8, 4::8] == mask).all()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "none.png")
    assert not read_mask(tmp_path / "none.png").any()
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6)).save(tmp_path / "labels.png")
    with pytest.raises(ValueError, match="or 0 and 255, but the greatest value is 29"):
        read_mask(tmp_path / "labels.png")


def test_what_is_written_is_read(tmp_path, rgb, mask):
    write_png(tmp_path / "new" / "a.png", rgb)
    write_png(tmp_path / "new" / "m.png", mask)
    write_png(tmp_path / "new" / "f.png", np.asfortranarray(rgb)[:, ::-1])
    assert np.array_equal(read_image(tmp_path / "new" / "a.png"), rgb)
    assert np.array_equal(read_mask(tmp_path / "new" / "m.png"), mask)
    assert np.array_equal(read_image(tmp_path / "new" / "f.png"), rgb[:, ::-1])
    assert len(list((tmp_path / "new").iterdir())) == 3
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_png(tmp_path / "file" / "a.png", rgb)


@given(st.lists(st.integers(0, 10**6), min_size=1), st.text("ab_", max_size=3))
def test_numbers_in_names_count_as_numbers(numbers, prefix):
    names = [f"{prefix}{number}.png" for number in numbers]
    assert sorted(names, key=natural) == [f"{prefix}{number}.png" for number in sorted(numbers)]


def fill(folder, rgb, names):
    for name in names:
        write_png(folder / name, rgb)


def test_a_folder_of_frames(tmp_path, rgb):
    fill(tmp_path, rgb, ["10.png", "2.png", "deep/1.png", ".hidden.png", ".cache/1.png"])
    (tmp_path / "notes.txt").touch()
    (tmp_path / "3.png").write_bytes(b"torn")
    frames = open_frames(tmp_path)
    assert [entry.name for entry in frames.entries] == ["2.png", "3.png", "10.png", "deep/1.png"]
    assert [sample.name for sample in frames.read()] == ["2.png", "10.png", "deep/1.png"]
    assert list(frames.skipped) == ["notes.txt", "3.png"]
    assert "cannot identify" in frames.skipped["3.png"]
    assert [sample.name for sample in frames.read()] == [
        "2.png",
        "10.png",
        "deep/1.png",
    ]
    one = open_frames(tmp_path / "2.png")
    assert [sample.name for sample in one.read()] == ["2.png"]
    assert next(one.read()).truth is None
    with pytest.raises(ValueError, match="want frames with masks, found none"):
        frames.annotated()


@pytest.mark.parametrize(
    ("images", "masks"),
    [("Original", "Ground Truth"), ("frames", "masks"), ("anything", "ground_truth"), ("images", "GT")],
)
def test_annotated_folders(tmp_path, rgb, mask, images, masks):
    fill(tmp_path / images, rgb, ["1.png", "2.png", "s/3.png", "alone.png"])
    for name in ("1.tif", "s/3.tif"):
        (tmp_path / masks / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / masks / name, mask * np.uint8(255))
    tifffile.imwrite(tmp_path / masks / "2.tif", mask[:5] * np.uint8(255))
    tifffile.imwrite(tmp_path / masks / "orphan.tif", mask * np.uint8(255))
    for frames in (open_frames(tmp_path), open_frames(tmp_path / images, masks=tmp_path / masks)):
        assert len(frames) == 4
        assert {sample.name for sample in frames.read() if sample.truth is None} == {"alone.png"}
        paired = frames.annotated()
        found = list(paired.read())
        assert [sample.name for sample in found] == ["1.png", "s/3.png"]
        assert all(np.array_equal(sample.truth, mask) for sample in found)
        assert paired.skipped == {
            f"{masks}/orphan.tif": f"no frame of that name in {images}",
            "2.png": "the frame has shape [12, 17], its mask [5, 17]",
            "alone.png": "no mask of that name",
        }


def test_masks_inside_the_folder_of_frames(tmp_path, rgb, mask):
    fill(tmp_path, rgb, ["1.png", "2.png"])
    fill(tmp_path / "masks", mask, ["1.png", "2.png"])
    for frames in (open_frames(tmp_path), open_frames(tmp_path, masks=tmp_path / "masks")):
        assert [sample.name for sample in frames.annotated().read()] == ["1.png", "2.png"]


def test_folders_that_are_not_clear(tmp_path, rgb, mask):
    with pytest.raises(FileNotFoundError, match="data: there is no file or folder"):
        open_frames(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"want pictures .* \(notes.txt: no picture, by its name\)"):
        open_frames(tmp_path / "empty")
    fill(tmp_path / "a" / "frames", rgb, ["1.png"])
    fill(tmp_path / "a" / "masks", mask, ["2.png"])
    with pytest.raises(ValueError, match=r"no file of .*frames has the name of one in .*masks"):
        open_frames(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="masks: there is no folder"):
        open_frames(tmp_path / "a" / "frames", masks=tmp_path / "absent")
    fill(tmp_path / "a" / "gt", mask, ["1.png"])
    with pytest.raises(ValueError, match=r"several folders that may hold masks \(gt, masks\)"):
        open_frames(tmp_path / "a")
    fill(tmp_path / "b" / "one", rgb, ["1.png"])
    fill(tmp_path / "b" / "two", rgb, ["1.png"])
    fill(tmp_path / "b" / "masks", mask, ["1.png"])
    with pytest.raises(ValueError, match=r"several folders that may hold their frames \(one, two\)"):
        open_frames(tmp_path / "b")
    (tmp_path / "b" / "masks" / "1.bmp").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1.bmp and 1.png differ in their ending only"):
        open_frames(tmp_path / "b" / "one", masks=tmp_path / "b" / "masks")


def test_arrays(rgb, mask):
    for data, number, known in (
        (rgb, 1, 0),
        (np.stack([rgb, rgb]), 2, 0),
        ([rgb, rgb, rgb], 3, 0),
        ((rgb, mask), 1, 1),
        ([(rgb, mask), (rgb, ~mask)], 2, 2),
        ((rgb, rgb), 2, 0),
    ):
        frames = open_frames(data)
        assert isinstance(frames, Frames)
        found = list(frames.read())
        assert (len(found), sum(sample.truth is not None for sample in found)) == (number, known)
        assert all(np.array_equal(sample.rgb, rgb) for sample in found)


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        ([], ValueError, "want at least one frame"),
        (np.zeros((4, 5), np.uint8), ValueError, r"data: frame 0: rgb must have shape \[H, W, 3\]"),
        (np.zeros((4, 5, 3)), TypeError, "data: frame 0: rgb must be uint8"),
        (
            [(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), bool))],
            ValueError,
            r"mask must be bool of shape \[4, 5\]",
        ),
        ([(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)))], ValueError, "but is float64"),
        (7, ValueError, "data: frame 0"),
        (None, TypeError, "data: frame 0"),
    ],
)
def test_arrays_of_another_kind(data, kind, error):
    with pytest.raises((kind, TypeError), match=error):
        open_frames(data)
