"""Frames cleaned one after another, from pictures or a video: masks, cleaned frames, a table and a report."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from medkernels.regions import label
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.specular.data import Frames, Sample
from medkernels.zoo.specular.images import write_png
from medkernels.zoo.specular.inpainting import Bools, Pixels, check_options, inpaint
from medkernels.zoo.specular.metrics import Counts, count, scores, summarise
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.report import Example, write_predictions
from medkernels.zoo.specular.sequence import SequenceMatcher
from medkernels.zoo.specular.tables import Row, write_rows
from medkernels.zoo.specular.threads import in_order
from medkernels.zoo.specular.video import clean_video
from medkernels.zoo.specular.video_files import CODECS, read_frames

SHOWN = 6  # frames in a report


@dataclass(frozen=True)
class Cleaning:
    """How highlights are found and replaced.

    Attributes
    ----------
    detector : Detector
    method, grow
        See `inpaint`.
    """

    detector: Detector
    method: str
    grow: int

    def __post_init__(self) -> None:
        check_options(self.method, self.grow, "inpainting")

    def fill(self, rgb: Pixels, mask: Bools) -> Pixels:
        """The frame with the marked pixels replaced."""
        return inpaint(rgb, mask, method=self.method, grow=self.grow)


class Work:
    """Cleans frames and remembers what was found and how long it took.

    `detect` and `fill` may be called from several threads at once, `record` from one, frame by frame.

    Parameters
    ----------
    cleaning : Cleaning
    sequence : SequenceMatcher
        Is handed each cleaned frame.
    shown : set of int
        Numbers of the frames that a report shows.
    """

    def __init__(self, cleaning: Cleaning, sequence: SequenceMatcher, shown: set[int]) -> None:
        self.cleaning, self.sequence, self.shown = cleaning, sequence, shown
        self.rows: list[Row] = []
        self.counts: list[Counts] = []
        self.examples: list[Example] = []
        self.files: list[str] = []
        self.seconds = {"detection": 0.0, "inpainting": 0.0}
        self._lock = threading.Lock()

    def detect(self, rgb: Pixels) -> Bools:
        """The mask of a frame's highlights."""
        started = time.perf_counter()
        mask = self.cleaning.detector(rgb)
        self._add("detection", time.perf_counter() - started)
        return mask

    def fill(self, rgb: Pixels, mask: Bools) -> Pixels:
        """The frame with these pixels filled in."""
        started = time.perf_counter()
        cleaned = self.cleaning.fill(rgb, mask)
        self._add("inpainting", time.perf_counter() - started)
        return cleaned

    def record(self, sample: Sample, mask: Bools, cleaned: Pixels) -> None:
        """Take down the next frame."""
        number = len(self.rows)
        row: dict[str, Any] = {
            "frame": sample.name,
            "height": mask.shape[0],
            "width": mask.shape[1],
            "highlights": label(mask, connectivity=8)[1],
            "share": float(mask.mean()),
        }
        if sample.truth is not None:
            self.counts.append(count(mask, sample.truth))
            row |= {name: float(value) for name, value in scores(self.counts[-1]).items()}
        self.rows.append(row)
        if number in self.shown:
            self.examples.append(Example(sample, mask, cleaned))
        self.sequence.add(number, sample.name, cleaned)

    def finish(
        self, seconds: float, skipped: Mapping[str, str], out_dir: Path | None, fps: float | None = None
    ) -> dict[str, Any]:
        """Write tables and report, if there is a folder, and return what `Specular.predict` does.

        Parameters
        ----------
        seconds : float
            Of everything, with reading and writing.
        skipped : mapping
        out_dir : path or None
        fps : float, optional
            Of a video.
        """
        metrics = self._metrics(seconds, skipped)
        if out_dir is not None:
            self._write_all(out_dir, metrics, skipped, fps)
        return {
            "names": [row["frame"] for row in self.rows],
            "highlights": [row["highlights"] for row in self.rows],
            "share": [row["share"] for row in self.rows],
            "metrics": metrics,
            "matches": self.sequence.rows,
            "skipped": [list(entry) for entry in skipped.items()],
            "files": self.files,
        }

    def _add(self, name: str, seconds: float) -> None:
        with self._lock:
            self.seconds[name] += seconds

    def _metrics(self, seconds: float, skipped: Mapping[str, str]) -> dict[str, Any]:
        number = len(self.rows)
        # Matching is told apart: it takes far longer, and only some frames are matched.
        taken = {
            "detection": self.seconds["detection"],
            "detection_and_inpainting": sum(self.seconds.values()),
            "with_files": seconds - self.sequence.seconds,
        }
        found: dict[str, Any] = {
            "frames": number,
            "skipped": len(skipped),
            "highlights": sum(row["highlights"] for row in self.rows),
            "share": float(np.mean([row["share"] for row in self.rows])),
            "frames_per_second": {name: number / max(value, 1e-9) for name, value in taken.items()},
        }
        if self.counts:
            found |= {"annotated": len(self.counts), **summarise(np.stack(self.counts))}
        return found | self.sequence.summary()

    def _write_all(
        self, out_dir: Path, metrics: dict[str, Any], skipped: Mapping[str, str], fps: float | None
    ) -> None:
        blank = dict.fromkeys((name for row in self.rows for name in row), "")
        write_rows(out_dir / "metrics.csv", [blank | dict(row) for row in self.rows])
        self.files += ["metrics.csv", "metrics.json", "report.html"]
        if self.sequence.rows:
            write_rows(out_dir / "matches.csv", self.sequence.rows)
            self.files += ["matches.csv", "matches"]
        cleaning = self.cleaning
        settings = {**asdict(cleaning.detector), "inpainting": cleaning.method, "grow": cleaning.grow}
        text = json.dumps({**metrics, "settings": settings}, indent=2)
        write_text(out_dir / "metrics.json", text + "\n")
        shares = None if fps is None else (fps, [row["share"] for row in self.rows])
        path = out_dir / "report.html"
        write_predictions(self.examples, metrics, settings, self.sequence, skipped, path, shares)


def clean_frames(
    frames: Frames,
    cleaning: Cleaning,
    sequence: SequenceMatcher,
    out_dir: Path | None = None,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Mark and replace the highlights of pictures; what `Specular.predict` returns and writes.

    With `out_dir` masks and cleaned frames go there, without it they are in what is returned.

    Raises
    ------
    ValueError
        If no frame can be read.
    OSError
        If a file cannot be written.
    """
    work = Work(cleaning, sequence, _spread(len(frames)) if out_dir is not None else set())
    masks, pictures, names = [], [], _Names()

    def step(item: tuple[Sample, str]) -> tuple[Sample, Bools, Pixels]:
        sample, name = item
        mask = work.detect(sample.rgb)
        cleaned = work.fill(sample.rgb, mask)
        if out_dir is not None:
            write_png(out_dir / "masks" / name, mask)
            write_png(out_dir / "cleaned" / name, cleaned)
        return sample, mask, cleaned

    started = time.perf_counter()
    samples = frames.read("cleaning frames", progress=progress)
    for sample, mask, cleaned in in_order(step, ((one, names.take(one.name)) for one in samples)):
        if out_dir is None:
            masks.append(mask)
            pictures.append(cleaned)
        work.record(sample, mask, cleaned)
    if not work.rows:
        raise frames.nothing("frames")
    work.files += [] if out_dir is None else ["masks", "cleaned"]
    found = work.finish(time.perf_counter() - started, frames.skipped, out_dir)
    return found if out_dir is not None else found | {"masks": masks, "cleaned": pictures}


def clean_recording(
    path: Path, cleaning: Cleaning, sequence: SequenceMatcher, out_dir: Path, *, progress: bool = True
) -> dict[str, Any]:
    """Mark and replace the highlights of a video; what `Specular.predict` returns and writes.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such video, or it cannot be read.
    OSError
        If a file cannot be written.
    """
    video = read_frames(path)
    # A file that does not know its length: a frame a second, as far as they are wanted.
    shown = _spread(video.count) if video.count else {round(i * video.fps) for i in range(SHOWN)}
    work = Work(cleaning, sequence, shown)

    def look(number: int, rgb: Pixels, mask: Bools, cleaned: Pixels) -> None:
        name = f"frame {number:06d}"
        write_png(out_dir / "masks" / f"{name}.png", mask)
        work.record(Sample(name, rgb, None), mask, cleaned)

    ending = path.suffix.lower() if path.suffix.lower() in CODECS else ".mp4"
    name = f"cleaned/{path.stem}{ending}"
    done = clean_video(path, out_dir / name, work.detect, work.fill, look=look, progress=progress)
    work.files += ["masks", name]
    skipped = {}
    if done.announced is not None and done.announced > done.frames:
        lost = done.announced - done.frames
        skipped[path.name] = f"{lost} of {done.announced} frames cannot be read"
    return work.finish(done.seconds, skipped, out_dir, video.fps)


def _spread(count: int) -> set[int]:
    """A few numbers from the first to the last."""
    return set(np.linspace(0, count - 1, SHOWN).round().astype(int).tolist())


class _Names:
    """File names for frames: their own with the ending .png, and still apart where that makes them equal."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        path = PurePosixPath(name)
        new = str(path.with_suffix(".png"))
        while new.lower() in self._taken:  # some disks do not tell capitals from small letters
            path = path.with_name(f"{path.name}.png")
            new = str(path)
        self._taken.add(new.lower())
        return new
