"""specular as a zoo system: highlights of endoscopy marked, filled in, and frames matched."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from medkernels.zoo import register
from medkernels.zoo.engine import Fitted, HubSystem
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.specular.apply import SHOWN, Cleaning, clean_frames, clean_recording
from medkernels.zoo.specular.data import Data, is_video, open_frames
from medkernels.zoo.specular.inpainting import GROWN, METHODS, Bools, Pixels
from medkernels.zoo.specular.judge import OURS, judge
from medkernels.zoo.specular.matching import MatchSettings, PairMatches, match_frames
from medkernels.zoo.specular.metrics import flat
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.report import Example, write_fit
from medkernels.zoo.specular.search import GRID, best, candidates, search, split
from medkernels.zoo.specular.sequence import VIDEO_APART, SequenceMatcher
from medkernels.zoo.specular.tables import frame_rows, setting_rows, write_rows

PAPER = "Specular Region Detection and Covariant Feature Extraction, ICPR 2024"


@register(
    "specular",
    title="Marks specular highlights in endoscopy, fills them in, and matches frames",
    paper=PAPER,
    number=12,
)
class Specular(HubSystem):
    """Small bright stable regions and small pale patches, inpainting, and affine-covariant features.

    Nothing in it is learned: it can be applied as it is created. `fit` chooses the detector's settings on
    annotated frames.

    Parameters
    ----------
    delta, min_area, max_share, patch_share
        Of the detector: see `medkernels.zoo.specular.model.Detector`.
    inpainting : {"navier-stokes", "blend"}
        How highlights are filled in: see `medkernels.zoo.specular.inpainting.inpaint`.
    grow : int
        Pixels by which a mask is widened before it is filled in.
    matching : mapping, optional
        Options of `medkernels.zoo.specular.matching.MatchSettings` that are not to be the usual ones, such as
        ``{"model": "homography"}``.
    apart : int, optional
        Match frames so many apart; 0 matches none. If None 25 in videos, which is a second, and none in
        folders of pictures, which need not be a sequence.

    Examples
    --------
    >>> from medkernels import zoo
    >>> from medkernels.zoo.specular.standin import stand_in
    >>> system = zoo.create("specular", delta=20)
    >>> frame = stand_in(1)[0]
    >>> mask, cleaned = system.clean(frame.rgb)
    >>> bool((mask & frame.truth).sum() > 0.8 * frame.truth.sum())
    True
    >>> bool(system.match(frame.rgb, frame.rgb).inliers.mean() > 0.9)
    True
    """

    learned = False

    def __init__(
        self,
        *,
        delta: int = Detector.delta,
        min_area: int = Detector.min_area,
        max_share: float = Detector.max_share,
        patch_share: float = Detector.patch_share,
        inpainting: str = METHODS[0],
        grow: int = GROWN,
        matching: Mapping[str, Any] | None = None,
        apart: int | None = None,
    ) -> None:
        detector = Detector(delta, min_area, max_share, patch_share)
        self.cleaning = Cleaning(detector, inpainting, grow)
        self.matching = _match_settings(matching)
        if apart is not None and (isinstance(apart, bool) or not isinstance(apart, int) or apart < 0):
            raise ValueError(f"apart must be a whole number of at least 0, got {apart!r}")
        self.apart = apart

    @property
    def detector(self) -> Detector:
        """The detector with its settings; called with a frame [H,W,3] it returns the mask [H,W]."""
        return self.cleaning.detector

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that create this system as it is now, as JSON values."""
        cleaning = self.cleaning
        return {
            **asdict(cleaning.detector),
            "inpainting": cleaning.method,
            "grow": cleaning.grow,
            "matching": asdict(self.matching),
            "apart": self.apart,
        }

    def clean(self, rgb: Pixels) -> tuple[Bools, Pixels]:
        """The mask [H,W] of a frame's highlights, and the frame with these filled in.

        Parameters
        ----------
        rgb : [H,W,3] uint8

        Raises
        ------
        TypeError, ValueError
            If it is none.
        """
        mask = self.detector(rgb)
        return mask, self.cleaning.fill(rgb, mask)

    def match(self, first: Pixels, second: Pixels) -> PairMatches:
        """Match two frames, after their highlights are filled in.

        Parameters
        ----------
        first, second : [H,W,3] uint8

        Returns
        -------
        PairMatches
            Features of both frames, pairs of them, which of these agree, and the model that they agree with.

        Raises
        ------
        TypeError, ValueError
            If one of them is no frame.
        """
        return match_frames(first, second, settings=self.matching, clean=lambda rgb: self.clean(rgb)[1])

    def fit(
        self,
        data: Data,
        run_dir: str | Path,
        *,
        masks: str | Path | None = None,
        grid: Mapping[str, Sequence[float]] | None = None,
        held_out: float = 0.3,
        seed: int = 0,
        progress: bool = True,
    ) -> Fitted:
        """Choose the detector's settings by mean F1 on annotated frames; write the system and a report.

        All combinations of a grid are tried. The best settings become the system's, and ``run_dir`` gets
        ``model/``, ``metrics.json``, ``frames.csv`` (scores of each judged frame), ``settings.csv`` (every
        combination) and ``report.html``.

        Parameters
        ----------
        data : path or sequence
            Annotated frames; see `medkernels.zoo.specular.data`.
        run_dir : path
        masks : path, optional
            Folder of the masks, if they are not found by its name.
        grid : mapping, optional
            Lists of values by setting (``delta``, ``min_area``, ``max_share``, ``patch_share``). What is not
            in it stays as it is.
        held_out : float
            Share of the frames that are kept for judging, in [0, 1); with 0 the frames of the choice are
            judged. Frames in one sub-folder stay together.
        seed : int
            Of the frames that are held out.
        progress : bool
            Show a bar if the error stream is a terminal.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there are no annotated frames, or an option is out of range.
        """
        if isinstance(held_out, bool) or not 0 <= held_out < 1:
            raise ValueError(f"held_out must lie in [0, 1), got {held_out!r}")
        detectors = candidates(self.detector, GRID if grid is None else grid)
        frames, folder = open_frames(data, masks=masks).annotated(), Path(run_dir)
        started = time.perf_counter()
        chosen, judged_on = split([entry.name for entry in frames.entries], held_out, seed)
        counts = search(frames.part(chosen), detectors, progress=progress)
        before, winner = self.detector, detectors[best(counts)]
        self.cleaning = Cleaning(winner, self.cleaning.method, self.cleaning.grow)
        tested = frames.part(judged_on)
        judged = judge(tested, winner, progress=progress)
        done = Fitted(
            metrics={
                "settings": asdict(winner),
                "tried": len(detectors),
                "chosen_on": len(counts),
                "judged_on": len(judged.names),
                "held_out": len(chosen) + len(judged_on) == len(frames),
                "f1_before": judge(tested, before, progress=progress).f1(),
                "threshold": judged.level,
                "frames_per_second": len(judged.names) / max(judged.seconds, 1e-9),
                "scores": judged.summaries,
            },
            report=folder / "report.html",
            model=folder / "model",
            seconds=time.perf_counter() - started,
            rank=0,
            skipped=tuple(frames.skipped.items()),
        )
        self.save_pretrained(done.model)
        write_text(folder / "metrics.json", json.dumps(done.metrics, indent=2) + "\n")
        write_rows(folder / "frames.csv", frame_rows(judged))
        tried = setting_rows(detectors, counts)
        write_rows(folder / "settings.csv", tried)
        examples = [
            Example(sample, *self.clean(sample.rgb))
            for sample in tested.part(range(min(SHOWN, len(tested)))).read()
        ]
        write_fit(judged, tried, done.metrics, examples, frames.skipped, done.report)
        return done

    def predict(self, inputs: Data, out_dir: str | Path | None = None) -> dict[str, Any]:
        """Mark and fill in highlights.

        Parameters
        ----------
        inputs : path, array or sequence
            Frames; see `medkernels.zoo.specular.data`. Or a video file.
        out_dir : path, optional
            Where to write ``masks/``, ``cleaned/``, ``metrics.csv`` (a row a frame), ``metrics.json`` and
            ``report.html``; of frames with known masks also their scores, and of matched frames ``matches/``
            and ``matches.csv``. A video becomes a video in ``cleaned/``, and must have an `out_dir`.

        Returns
        -------
        dict
            ``names``, ``highlights`` (their number) and ``share`` (of the pixels) of each frame, ``metrics``
            with the frames per second, ``matches`` of frames, ``skipped`` files, and ``files`` and folders
            written; without `out_dir` also ``masks`` and ``cleaned``, lists of arrays.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there are no frames that can be read, or `out_dir` is their own folder.
        OSError
            If a file cannot be written.
        """
        folder = None if out_dir is None else Path(out_dir)
        if not is_video(inputs):
            matcher = SequenceMatcher(self.apart or 0, self.matching, folder)
            return clean_frames(open_frames(inputs, without=folder), self.cleaning, matcher, folder)
        if folder is None:
            raise ValueError("out_dir: a video needs a folder for what becomes of it")
        matcher = SequenceMatcher(VIDEO_APART if self.apart is None else self.apart, self.matching, folder)
        return clean_recording(Path(str(inputs)), self.cleaning, matcher, folder)

    def evaluate(self, data: Data, *, masks: str | Path | None = None) -> dict[str, float]:
        """Scores of the masks, and the F1 of the baselines on the same frames.

        Parameters
        ----------
        data : path or sequence
            Annotated frames; see `medkernels.zoo.specular.data`.
        masks : path, optional
            Folder of the masks, if they are not found by its name.

        Returns
        -------
        dict
            ``macro_`` (means over frames) and ``micro_`` (all pixels together) of accuracy, precision,
            recall, f1 and jaccard; the baselines' macro F1; the number of ``frames``, of those ``skipped``,
            and ``frames_per_second`` of the detector.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            If there are no annotated frames.
        """
        frames = open_frames(data, masks=masks).annotated()
        judged = judge(frames, self.detector, progress=True)
        found = flat(judged.summaries[OURS])
        for method in judged.counts:
            if method != OURS:
                found[f"macro_f1 of {method}"] = judged.f1(method)
        return found | {
            "frames": len(judged.names),
            "skipped": len(frames.skipped),
            "frames_per_second": len(judged.names) / max(judged.seconds, 1e-9),
        }

    def demo(self, out_dir: str | Path) -> Path:
        """Show the whole job on photographs, generated frames and a video, and write ``report.html``.

        Takes less than a minute; the settings of this system are used.
        """
        from medkernels.zoo.specular.demo import run_demo

        return run_demo(self, Path(out_dir))

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the settings to a folder; see `HubSystem.save_pretrained`."""
        return super().save_pretrained(save_directory, **({"config": self.config} | options))


def _match_settings(options: Mapping[str, Any] | None) -> MatchSettings:
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"matching: want options by name, such as {{'ratio': 0.8}}, got {options!r}")
    known = [field.name for field in fields(MatchSettings)]
    for name in options or ():
        if name not in known:
            raise ValueError(f"matching: want options out of {', '.join(known)}, got {name!r}")
    return MatchSettings(**(options or {}))
