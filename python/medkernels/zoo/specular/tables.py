"""Tables for spreadsheets: a row a frame, a row a pair of frames, a row a combination of settings."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.specular.judge import Judged
from medkernels.zoo.specular.metrics import NAMES, Counts, scores
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.search import GRID

Row = Mapping[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows under the names of the first one, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def frame_rows(judged: Judged) -> list[Row]:
    """A row for each method and frame."""
    rows: list[Row] = []
    for method, counts in judged.counts.items():
        values = scores(counts)
        rows += [
            {"method": method, "frame": frame, **{name: values[name][i] for name in NAMES}}
            for i, frame in enumerate(judged.names)
        ]
    return rows


def setting_rows(detectors: Sequence[Detector], counts: Counts) -> list[Row]:
    """A row for each combination of settings, given its counts [N,K,4], the best first."""
    found = {name: value.mean(axis=0) for name, value in scores(counts).items()}
    order = np.argsort(-found["f1"], kind="stable")
    return [
        {name: getattr(detectors[k], name) for name in GRID} | {name: found[name][k] for name in NAMES}
        for k in order
    ]
