"""Video files: read frame by frame, written whole or not at all."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.specular.inpainting import Pixels, check_picture

#: What OpenCV's wheel can write, by the ending of the file: MPEG-4, motion JPEG, and FFV1, which is lossless.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "FFV1"}
FPS = 25.0  # where a file does not say
GREATEST_FPS = 1000.0  # a file that says more, or nothing that is a number, does not know
EVEN = 2  # codecs that halve the resolution of colours need sides that are multiples of it


class VideoFrames:
    """The frames of a video file, [H,W,3] uint8 each; every iteration reads the file from its beginning.

    Attributes
    ----------
    path : Path
    count : int or None
        Frames, as the file says: it may be wrong if the file is damaged. None if it says nothing.
    fps : float
        Frames per second; 25 if the file does not say.
    size : (height, width)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"video: there is no file {self.path}")
        capture = self._open()
        try:
            count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
            done, first = capture.read()
        finally:
            capture.release()
        if not done:
            raise ValueError(f"video: {self.path} holds no frame that can be read")
        self.count = int(count) if math.isfinite(count) and count > 0 else None
        self.fps = float(fps) if math.isfinite(fps) and 0 < fps <= GREATEST_FPS else FPS
        self.size: tuple[int, int] = (first.shape[0], first.shape[1])

    def __iter__(self) -> Iterator[Pixels]:
        capture = self._open()
        try:
            while True:
                done, frame = capture.read()
                if not done:
                    return
                yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise ValueError(f"video: {self.path} is no video that OpenCV can read, or it is damaged")
        return capture


def read_frames(path: str | Path) -> VideoFrames:
    """Open a video file.

    Parameters
    ----------
    path : path
        MP4, AVI, MKV, MOV, MPEG, WebM and others that FFmpeg reads.

    Returns
    -------
    VideoFrames
        Iterate over it for the frames [H,W,3] uint8, red first. One frame is in memory at a time. A damaged
        end of a file is left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no video, or holds no frame that can be read.
    """
    return VideoFrames(path)


def write_video(path: str | Path, frames: Iterable[Pixels], fps: float = FPS) -> int:
    """Write frames to a video file, whole or not at all.

    Parameters
    ----------
    path : path
        Its ending says how: .mp4, .m4v and .mov MPEG-4, .avi motion JPEG, .mkv FFV1, which loses nothing.
        A file that is there already is replaced at the end.
    frames : iterable of [H,W,3] uint8
        Red first, all of one size. Odd sides are made even by repeating the last row or column, as video
        codecs need it.
    fps : float
        Frames per second, above 0 and at most 1000.

    Returns
    -------
    int
        How many frames were written.

    Raises
    ------
    TypeError, ValueError
        For another ending, no frames, frames of different sizes, or arrays that are none.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    codec = CODECS.get(target.suffix.lower())
    if codec is None:
        raise ValueError(f"path must end in {', '.join(CODECS)}, not {target.name!r}")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= GREATEST_FPS:
        raise ValueError(f"fps must be a number above 0 and at most {GREATEST_FPS:g}, not {fps!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # OpenCV goes by the ending too, so the unfinished file needs the same one: in a folder of its own.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        unfinished = Path(folder) / f"video{target.suffix.lower()}"
        count = _encode(unfinished, codec, frames, float(fps), target)
        with replacing(target) as temporary:
            unfinished.replace(temporary)
    return count


def _encode(path: Path, codec: str, frames: Iterable[Pixels], fps: float, target: Path) -> int:
    """Write the frames and return their number; `target` is what messages name."""
    writer: cv2.VideoWriter | None = None
    shape: tuple[int, ...] = ()
    count = 0
    try:
        for count, frame in enumerate(frames, 1):
            rgb = check_picture(frame)
            if writer is None:
                shape = rgb.shape
                height, width = (side + side % EVEN for side in shape[:2])
                writer = cv2.VideoWriter(
                    str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height)
                )
                if not writer.isOpened():
                    raise OSError(f"{target}: OpenCV cannot write {width} x {height} pixels as {codec}")
            if rgb.shape != shape:
                raise ValueError(
                    f"frames must have one size, but frame {count - 1} has shape {list(rgb.shape)}, "
                    f"the first one {list(shape)}"
                )
            writer.write(_even(rgb[..., ::-1]))
    finally:
        if writer is not None:
            writer.release()
    if count == 0:
        raise ValueError("frames must hold at least one frame")
    # OpenCV does not say when a disk is full: the file is looked at instead.
    written = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    held = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    written.release()
    if held < count:
        raise OSError(f"{target}: OpenCV wrote {held} of {count} frames; is the disk full?")
    return count


def _even(pixels: Pixels) -> Pixels:
    """With the last row and column repeated where their number is odd."""
    rows, columns = (side % EVEN for side in pixels.shape[:2])
    if rows or columns:
        return np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
