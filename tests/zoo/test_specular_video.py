"""Videos of `specular`: written and read again, cleaned, made by a known motion, and what goes wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

import medkernels as mk
from medkernels.zoo.specular import video_files
from medkernels.zoo.specular.inpainting import inpaint
from medkernels.zoo.specular.matching import MatchSettings, match_frames
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.pairs import between, camera_motion, pair_metrics
from medkernels.zoo.specular.standin import stand_in
from medkernels.zoo.specular.video import clean_video, make_moving_video
from medkernels.zoo.specular.video_files import CODECS, read_frames, write_video


def smooth(count=5, size=(48, 64)):
    """Frames that codecs with losses keep well, each of another colour."""
    y, x = np.mgrid[: size[0], : size[1]]
    base = np.stack([x * 2, y * 2, 128 + 0 * x], axis=2)
    return [np.uint8(np.roll(base, number, axis=2) // 2 + 10 * number) for number in range(count)]


@pytest.mark.parametrize("ending", sorted(CODECS))
@pytest.mark.parametrize("fps", [25, 29.97, 7.5])
def test_videos_are_read_as_they_were_written(tmp_path, ending, fps):
    frames, path = smooth(), tmp_path / "new" / f"a b{ending}"
    assert write_video(path, frames, fps) == len(frames)
    video = read_frames(path)
    assert (video.count, video.size) == (len(frames), (48, 64))
    assert video.fps == pytest.approx(fps, rel=1e-3)
    read = list(video)
    assert len(read) == len(frames)
    for wanted, found in zip(frames, read, strict=True):
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - wanted).mean() < (1e-9 if ending == ".mkv" else 6)
    assert len(list(video)) == len(frames)  # once more
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".mkv", ".avi"])
@pytest.mark.parametrize("size", [(47, 64), (48, 63), (1, 1), (33, 17)])
def test_odd_sides_are_made_even(tmp_path, ending, size):
    frames = smooth(3, size)
    write_video(tmp_path / f"a{ending}", frames)
    read = list(read_frames(tmp_path / f"a{ending}"))
    even = tuple(side + side % 2 for side in size)
    assert all(frame.shape == (*even, 3) for frame in read)
    if ending == ".mkv":
        for wanted, found in zip(frames, read, strict=True):
            assert np.array_equal(found[: size[0], : size[1]], wanted)
            assert np.array_equal(found[-1, : size[1]], wanted[-1])
            assert np.array_equal(found[: size[0], -1], wanted[:, -1])


def test_frames_may_be_read_in_part_and_at_once(tmp_path):
    write_video(tmp_path / "a.mkv", smooth())
    video = read_frames(str(tmp_path / "a.mkv"))
    first = next(iter(video))
    for one, other in zip(video, video, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(first, smooth()[0])


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_frames(tmp_path / "none.mp4")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_frames(tmp_path)
    for name, content in (("empty.mp4", b""), ("text.avi", b"no video" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no video"):
            read_frames(tmp_path / name)
    write_video(tmp_path / "whole.mp4", smooth(20))
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half\.mp4"):
        read_frames(tmp_path / "half.mp4")


def test_a_damaged_end_is_left_out(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    write_video(tmp_path / "whole.mkv", frames)
    whole = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    read = list(read_frames(tmp_path / "half.mkv"))
    assert 5 < len(read) < 20
    assert np.array_equal(read[3], frames[3])


@pytest.mark.parametrize(
    ("name", "frames", "fps", "error", "text"),
    [
        ("a.mp4", [], 25, ValueError, "at least one frame"),
        ("a.gif", smooth(1), 25, ValueError, r"path must end in \.mp4"),
        ("a", smooth(1), 25, ValueError, "path must end in"),
        ("a.mp4", smooth(1), 0, ValueError, "fps must be a number above 0"),
        ("a.mp4", smooth(1), float("nan"), ValueError, "fps must be"),
        ("a.mp4", smooth(1), "25", ValueError, "fps must be"),
        ("a.mp4", [np.zeros((8, 8), np.uint8)], 25, ValueError, r"shape \[H, W, 3\]"),
        ("a.mp4", [np.zeros((8, 8, 3))], 25, TypeError, "must be uint8"),
        ("a.avi", smooth(1) + smooth(1, (50, 64)), 25, ValueError, "frame 1 has shape"),
    ],
)
def test_bad_frames_leave_no_file(tmp_path, name, frames, fps, error, text):
    with pytest.raises(error, match=text):
        write_video(tmp_path / name, frames, fps)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_noticed(tmp_path, monkeypatch):
    Writer = cv2.VideoWriter

    class Lossy:
        fourcc = staticmethod(Writer.fourcc)

        def __init__(self, *options):
            self.writer = Writer(*options)
            self.isOpened, self.release = self.writer.isOpened, self.writer.release

        def write(self, image):
            pass

    monkeypatch.setattr(video_files.cv2, "VideoWriter", Lossy)
    (tmp_path / "a.avi").write_bytes(b"before")
    with pytest.raises(OSError, match="wrote 0 of 5 frames"):
        write_video(tmp_path / "a.avi", smooth())
    assert (tmp_path / "a.avi").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def highlights(tmp_path, count=6):
    path = tmp_path / "in.mkv"
    frames = [frame.rgb for frame in stand_in(count, 3, (96, 128))]
    write_video(path, frames)
    return path, frames


@pytest.mark.parametrize("threads", [1, 3])
def test_a_cleaned_video_holds_the_cleaned_frames(tmp_path, threads):
    path, frames = highlights(tmp_path)
    detector, seen, before = Detector(), [], mk.get_num_threads()
    mk.set_num_threads(threads)
    try:
        done = clean_video(
            path, tmp_path / "out.mkv", detector, inpaint, look=lambda *parts: seen.append(parts)
        )
    finally:
        mk.set_num_threads(before)
    masks = [detector(rgb) for rgb in frames]
    wanted = [inpaint(rgb, mask) for rgb, mask in zip(frames, masks, strict=True)]
    assert np.array_equal(list(read_frames(tmp_path / "out.mkv")), wanted)
    assert (done.frames, done.announced, done.size, done.fps) == (6, 6, (96, 128), 25)
    assert np.allclose(done.shares, [mask.mean() for mask in masks])
    assert done.frames_per_second == done.frames / done.seconds > 0
    assert [part[0] for part in seen] == list(range(6))
    for part, rgb, mask, filled in zip(seen, frames, masks, wanted, strict=True):
        assert all(np.array_equal(*both) for both in zip(part[1:], (rgb, mask, filled), strict=True))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("where", ["detect", "look"])
def test_a_run_that_is_interrupted_leaves_no_half_file(tmp_path, error, where):
    path, _ = highlights(tmp_path)
    (tmp_path / "out.mp4").write_bytes(b"before")
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 4:
            raise error("stop")

    def detect(rgb):
        if where == "detect":
            stop()
        return Detector()(rgb)

    with pytest.raises(error):
        clean_video(path, tmp_path / "out.mp4", detect, inpaint, look=stop if where == "look" else None)
    assert (tmp_path / "out.mp4").read_bytes() == b"before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.mkv", "out.mp4"]


def test_a_video_is_not_written_over_itself(tmp_path):
    path, _ = highlights(tmp_path, 2)
    before = path.read_bytes()
    (tmp_path / "link.mkv").symlink_to(path)
    for out in (path, tmp_path / "link.mkv"):
        with pytest.raises(ValueError, match="another file"):
            clean_video(path, out, Detector(), inpaint)
    assert path.read_bytes() == before


def test_a_video_shows_its_progress(tmp_path, monkeypatch, capsys):
    from rich.console import Console

    from medkernels.zoo.specular import video

    path, _ = highlights(tmp_path, 3)
    shown = Console(force_terminal=True, stderr=True, width=80)
    monkeypatch.setattr(video, "console", shown)
    clean_video(path, tmp_path / "a.mkv", Detector(), inpaint)
    assert "cleaning in.mkv" in capsys.readouterr().err
    clean_video(path, tmp_path / "b.mkv", Detector(), inpaint, progress=False)
    assert capsys.readouterr().err == ""


def test_matches_in_a_video_of_known_motion(tmp_path):
    """Of inliers between frames that follow each other, and a second apart, 9 in 10 are right."""
    photograph = cv2.resize(data.coffee(), (300, 200), interpolation=cv2.INTER_AREA)
    motion = camera_motion(27, (200, 300))
    assert make_moving_video(photograph, tmp_path / "a.mkv", motion=motion, fps=25) == 27
    frames = list(read_frames(tmp_path / "a.mkv"))
    detector = Detector()
    for model in ("fundamental", "homography"):
        chosen = MatchSettings(model=model)
        for first, second in ((0, 1), (1, 26)):
            found = match_frames(
                frames[first], frames[second], settings=chosen, clean=lambda rgb: inpaint(rgb, detector(rgb))
            )
            metrics = pair_metrics(found, between(motion, first, second))
            assert metrics["inliers"] > 150
            assert metrics["precision"] > 0.9
    # The first frame, at its middle, is the photograph enlarged.
    warped = cv2.warpPerspective(photograph, motion[0], (300, 200), flags=cv2.INTER_CUBIC)
    assert np.array_equal(frames[0][90:110, 140:160], warped[90:110, 140:160])


@pytest.mark.parametrize(
    ("motion", "text"),
    [
        (np.eye(3), r"shape \[N, 3, 3\]"),
        (np.zeros((2, 3, 3)), "invertible"),
        (np.full((1, 3, 3), np.nan), "finite"),
        (np.zeros((0, 3, 3)), "at least one frame"),
    ],
)
def test_bad_motions_are_refused(tmp_path, motion, text):
    with pytest.raises(ValueError, match=text):
        make_moving_video(np.zeros((10, 10, 3), np.uint8), tmp_path / "a.mkv", motion=motion)
    assert list(tmp_path.iterdir()) == []
