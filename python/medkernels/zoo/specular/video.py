"""Videos cleaned frame by frame, and videos made from a photograph by a known motion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from medkernels.zoo.engine.logs import console
from medkernels.zoo.specular.estimation import Floats
from medkernels.zoo.specular.inpainting import Bools, Pixels, check_picture
from medkernels.zoo.specular.threads import in_order
from medkernels.zoo.specular.video_files import FPS, read_frames, write_video

Detect = Callable[[Pixels], Bools]
Fill = Callable[[Pixels, Bools], Pixels]
Look = Callable[[int, Pixels, Bools, Pixels], None]
_Cleaned = tuple[Pixels, Bools, Pixels]  # a frame, its mask, the frame without highlights


@dataclass(frozen=True)
class VideoSummary:
    """What `clean_video` did.

    Attributes
    ----------
    frames : int
    announced : int or None
        Frames that the file claims to have; more than `frames` if its end is damaged.
    size : (height, width)
    fps : float
        Of the video.
    shares : array [frames]
        The share of each frame's pixels that were marked.
    seconds : float
        Of reading, cleaning and writing together.
    """

    frames: int
    announced: int | None
    size: tuple[int, int]
    fps: float
    shares: Floats
    seconds: float

    @property
    def frames_per_second(self) -> float:
        """How fast it was."""
        return self.frames / max(self.seconds, 1e-9)


def clean_video(
    path: str | Path,
    out: str | Path,
    detect: Detect,
    fill: Fill,
    *,
    look: Look | None = None,
    progress: bool = True,
) -> VideoSummary:
    """Mark and fill in the highlights of every frame of a video, and write it anew.

    Parameters
    ----------
    path : path
        The video; see `read_frames`.
    out : path
        The cleaned video; see `write_video`. It may not be `path` itself. If this is interrupted, there is
        no new file, and an old one stays as it was.
    detect : callable
        Takes a frame [H,W,3] uint8, returns the mask [H,W] bool of its highlights. Like `fill` it is called
        from several threads at once, as many as `medkernels.get_num_threads` says.
    fill : callable
        Takes a frame and its mask, returns the frame without highlights.
    look : callable, optional
        Called for every frame, in order, with its number, the frame, its mask and the cleaned frame.
    progress : bool
        Show a bar if the error stream is a terminal.

    Returns
    -------
    VideoSummary

    Raises
    ------
    FileNotFoundError, TypeError, ValueError, OSError
        As `read_frames` and `write_video`.

    Notes
    -----
    Sound is not copied.
    """
    video, target = read_frames(path), Path(out)
    if target.exists() and target.samefile(video.path):
        raise ValueError(f"out must be another file than the video itself, {video.path}")
    shown = track(
        video,
        f"cleaning {video.path.name}",
        total=video.count,
        console=console,
        disable=not (progress and console.is_interactive),
    )
    shares: list[float] = []

    def step(rgb: Pixels) -> _Cleaned:
        mask = detect(rgb)
        return rgb, mask, fill(rgb, mask)

    def cleaned() -> Iterator[Pixels]:
        for number, (rgb, mask, filled) in enumerate(in_order(step, shown)):
            shares.append(float(mask.mean()))
            if look is not None:
                look(number, rgb, mask, filled)
            yield filled

    started = time.perf_counter()
    count = write_video(target, cleaned(), video.fps)
    seconds = time.perf_counter() - started
    return VideoSummary(count, video.count, video.size, video.fps, np.array(shares), seconds)


def make_moving_video(image: Pixels, out: str | Path, *, motion: Floats, fps: float = FPS) -> int:
    """Make a video of a picture seen by a moving camera.

    Parameters
    ----------
    image : [H,W,3] uint8
    out : path
        See `write_video`.
    motion : [N,3,3]
        Homographies from the picture to each frame, as of `medkernels.zoo.specular.pairs.camera_motion`. What
        lies beyond the picture is its mirror image.
    fps : float

    Returns
    -------
    int
        How many frames were written: N.

    Raises
    ------
    TypeError, ValueError, OSError
        As `write_video`; also if `motion` has another shape or holds what is not finite or not invertible.
    """
    picture, warps = check_picture(image), np.asarray(motion, np.float64)
    if warps.ndim != 3 or warps.shape[1:] != (3, 3):
        raise ValueError(f"motion must have shape [N, 3, 3], but has shape {list(warps.shape)}")
    if not np.isfinite(warps).all() or (np.linalg.matrix_rank(warps) < 3).any():
        raise ValueError("motion must hold homographies: finite and invertible")
    size = (picture.shape[1], picture.shape[0])
    views = (
        np.asarray(
            cv2.warpPerspective(picture, warp, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT),
            np.uint8,
        )
        for warp in warps
    )
    return write_video(out, views, fps)
