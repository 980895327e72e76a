"""Frames of a sequence, matched some frames apart while they are cleaned one after another."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medkernels.zoo.specular.inpainting import Pixels
from medkernels.zoo.specular.match_pictures import draw_matches
from medkernels.zoo.specular.matching import MatchSettings, match_frames
from medkernels.zoo.specular.tables import Row

VIDEO_APART = 25  # frames, one second: the distance that the paper matches at
KEPT = 2  # pictures of matches for a report


class Key(NamedTuple):
    """The frame that the next one is matched with."""

    name: str
    rgb: Pixels


@dataclass
class SequenceMatcher:
    """Matches every `apart`-th frame with the one before it in that row.

    Attributes
    ----------
    apart : int
        0 matches nothing.
    settings : MatchSettings
    out_dir : Path or None
        Where pictures of the matches go, in ``matches/``, numbered as the rows.
    rows : list of mappings
        One a pair of frames.
    pictures : list of (picture, text)
        Of the first pairs.
    seconds : float
        Of matching and of the pictures.
    """

    apart: int
    settings: MatchSettings
    out_dir: Path | None = None
    rows: list[Row] = field(default_factory=list)
    pictures: list[tuple[Pixels, str]] = field(default_factory=list)
    seconds: float = 0.0
    _key: Key | None = None

    def add(self, number: int, name: str, cleaned: Pixels) -> None:
        """Take the next frame, without its highlights; `number` counts from 0."""
        if self.apart == 0 or number % self.apart:
            return
        before, self._key = self._key, Key(name, cleaned)
        if before is None:
            return
        started = time.perf_counter()
        found = match_frames(before.rgb, cleaned, settings=self.settings)
        row: dict[str, Any] = {"first": before.name, "second": name, **found.counts, "model": found.model}
        row |= {"seconds": round(sum(found.seconds.values()), 4), "message": found.message}
        self.rows.append(row)
        if self.out_dir is not None:
            file = f"matches/{len(self.rows):04d}.png"
            picture = draw_matches(before.rgb, cleaned, found, self.out_dir / file)
            if len(self.pictures) < KEPT:
                text = f"{before.name} and {name}: {row['inliers']} inliers of {row['pairs']} pairs"
                self.pictures.append((picture, text))
        self.seconds += time.perf_counter() - started

    def summary(self) -> dict[str, Any]:
        """Means over the pairs of frames; empty without any."""
        if not self.rows:
            return {}
        features = [(row["features_first"] + row["features_second"]) / 2 for row in self.rows]
        return {
            "matched": len(self.rows),
            "features_a_frame": float(np.mean(features)),
            "pairs_a_match": float(np.mean([row["pairs"] for row in self.rows])),
            "inliers_a_match": float(np.mean([row["inliers"] for row in self.rows])),
        }
