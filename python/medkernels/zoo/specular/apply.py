"""Frames cleaned one after another: masks, cleaned pictures, a table and a report."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
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


@dataclass
class Work:
    """What was done so far."""

    rows: list[Row] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    masks: list[Bools] = field(default_factory=list)
    cleaned: list[Pixels] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"detection": 0.0, "inpainting": 0.0})


def clean_frames(
    frames: Frames,
    cleaning: Cleaning,
    sequence: SequenceMatcher,
    out_dir: Path | None = None,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Mark and replace the highlights of each frame; what `Specular.predict` returns and writes.

    With `out_dir` masks and cleaned frames go there, without it they are in what is returned.

    Raises
    ------
    ValueError
        If no frame can be read.
    OSError
        If a file cannot be written.
    """
    work, started = Work(), time.perf_counter()
    shown = set(np.linspace(0, len(frames) - 1, SHOWN).round().astype(int).tolist())
    names = _Names()
    for number, sample in enumerate(frames.read("cleaning frames", progress=progress)):
        mask, cleaned = _clean(sample, cleaning, work)
        if out_dir is None:
            work.masks.append(mask)
            work.cleaned.append(cleaned)
        else:
            name = names.take(sample.name)
            for folder, pixels in (("masks", mask), ("cleaned", cleaned)):
                write_png(out_dir / folder / name, pixels)
                work.files.append(f"{folder}/{name}")
            if number in shown:
                work.examples.append(Example(sample, mask, cleaned))
        sequence.add(number, sample.name, cleaned)
    if not work.rows:
        raise frames.nothing("frames")
    # Matching is told apart: it takes far longer, and only some frames are matched.
    metrics = _metrics(work, frames, time.perf_counter() - started - sequence.seconds) | sequence.summary()
    if out_dir is not None:
        _write(out_dir, work, metrics, cleaning, frames, sequence)
    result = {
        "names": [row["frame"] for row in work.rows],
        "highlights": [row["highlights"] for row in work.rows],
        "share": [row["share"] for row in work.rows],
        "metrics": metrics,
        "matches": sequence.rows,
        "skipped": [list(entry) for entry in frames.skipped.items()],
        "files": work.files + sequence.files,
    }
    return result if out_dir is not None else result | {"masks": work.masks, "cleaned": work.cleaned}


def _clean(sample: Sample, cleaning: Cleaning, work: Work) -> tuple[Bools, Pixels]:
    started = time.perf_counter()
    mask = cleaning.detector(sample.rgb)
    detected = time.perf_counter()
    cleaned = cleaning.fill(sample.rgb, mask)
    seconds = {"detection": detected - started, "inpainting": time.perf_counter() - detected}
    for name, value in seconds.items():
        work.seconds[name] += value
    row: dict[str, Any] = {
        "frame": sample.name,
        "height": mask.shape[0],
        "width": mask.shape[1],
        "highlights": label(mask, connectivity=8)[1],
        "share": float(mask.mean()),
        **{f"{name}_ms": round(1000 * value, 3) for name, value in seconds.items()},
    }
    if sample.truth is not None:
        work.counts.append(count(mask, sample.truth))
        row |= {name: float(value) for name, value in scores(work.counts[-1]).items()}
    work.rows.append(row)
    return mask, cleaned


def _metrics(work: Work, frames: Frames, seconds: float) -> dict[str, Any]:
    busy = sum(work.seconds.values())
    number = len(work.rows)
    found: dict[str, Any] = {
        "frames": number,
        "skipped": len(frames.skipped),
        "highlights": sum(row["highlights"] for row in work.rows),
        "share": float(np.mean([row["share"] for row in work.rows])),
        "frames_per_second": {
            "detection": number / max(work.seconds["detection"], 1e-9),
            "detection_and_inpainting": number / max(busy, 1e-9),
            "with_files": number / max(seconds, 1e-9),
        },
    }
    if work.counts:
        found |= {"annotated": len(work.counts), **summarise(np.stack(work.counts))}
    return found


def _write(
    out_dir: Path,
    work: Work,
    metrics: dict[str, Any],
    cleaning: Cleaning,
    frames: Frames,
    sequence: SequenceMatcher,
) -> None:
    columns = dict.fromkeys(name for row in work.rows for name in row)
    blank = dict.fromkeys(columns, "")
    write_rows(out_dir / "metrics.csv", [blank | dict(row) for row in work.rows])
    work.files += ["metrics.csv", "metrics.json", "report.html"]
    if sequence.rows:
        write_rows(out_dir / "matches.csv", sequence.rows)
        work.files.append("matches.csv")
    settings = {**asdict(cleaning.detector), "inpainting": cleaning.method, "grow": cleaning.grow}
    text = json.dumps({**metrics, "settings": settings}, indent=2)
    write_text(out_dir / "metrics.json", text + "\n")
    write_predictions(work.examples, metrics, settings, sequence, frames.skipped, out_dir / "report.html")


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
