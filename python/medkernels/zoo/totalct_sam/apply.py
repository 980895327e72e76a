"""A trained network applied to whole CTs: labels, sizes of structures, and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.totalct_sam.clicks import next_click
from medkernels.zoo.totalct_sam.cohort import Data, Reading, Skipped, listed, stream, tracked
from medkernels.zoo.totalct_sam.metrics import Counts, Scores, confusion, structure_scores, summarised
from medkernels.zoo.totalct_sam.model import TotalCTSAM
from medkernels.zoo.totalct_sam.prompts import read_prompts
from medkernels.zoo.totalct_sam.session import CoarseMask, Prompt, Session
from medkernels.zoo.totalct_sam.tables import structure_rows, write_answer
from medkernels.zoo.totalct_sam.volume import Labels, Scan, Volume, prepare


@dataclass(frozen=True)
class Judged:
    """One CT with labels, and what the network made of it.

    Attributes
    ----------
    volume : Volume
    labels : uint8 [X,Y,Z]
        On the grid of the volume.
    counts : [C,C]
        True labels by given ones.
    scores : dict
        Dice and IoU of each structure.
    seconds : float
        Of the network, without reading and clicking.
    """

    volume: Volume
    labels: Labels
    counts: Counts
    scores: Scores
    seconds: float


def label_volume(
    network: TotalCTSAM,
    reading: Reading,
    volume: Volume,
    ask: Callable[[Scan], Sequence[Prompt | CoarseMask]] | None = None,
    *,
    overlap: float = 0.5,
    progress: bool = True,
) -> tuple[Labels, float]:
    """Labels of a CT on its own grid, and the seconds that the network took.

    Parameters
    ----------
    ask : callable, optional
        Given the scan, the prompts that are answered one after the other.
    """
    scan = prepare(volume, reading.spacing)
    prompts = ask(scan) if ask else ()
    started = time.perf_counter()
    session = Session(
        network, scan, overlap=overlap, shown=partial(tracked, what=volume.name, progress=progress)
    )
    for prompt in prompts:
        session.add(prompt)
    labels = session.labels()
    seconds = time.perf_counter() - started
    return scan.restored(labels), seconds


def judge(
    network: TotalCTSAM,
    reading: Reading,
    volume: Volume,
    *,
    overlap: float = 0.5,
    clicks: int = 0,
    seed: int = 0,
    progress: bool = True,
) -> Judged:
    """Label a CT and compare with its own labels.

    Parameters
    ----------
    clicks : int
        Simulated clicks on each structure of the CT, round by round: where the labels so far are wrong.
    seed : int
        Of the clicks.
    """
    assert volume.labels is not None
    scan = prepare(volume, reading.spacing)
    assert scan.labels is not None
    started = time.perf_counter()
    session = Session(
        network, scan, overlap=overlap, shown=partial(tracked, what=volume.name, progress=progress)
    )
    seconds = time.perf_counter() - started
    rng = np.random.default_rng(seed)
    structures = [int(number) for number in np.unique(scan.labels) if number]
    for number in range(clicks):
        for structure in structures:
            found, truth = session.labels() == structure, scan.labels == structure
            click = next_click(found, truth, number, rng, scan.spacing)
            if click is not None:
                started = time.perf_counter()
                session.add(Prompt(structure, np.array([click.voxel], np.float64), click.positive))
                seconds += time.perf_counter() - started
    started = time.perf_counter()
    labels = session.labels()
    seconds += time.perf_counter() - started
    restored = scan.restored(labels)
    counts = confusion(restored, volume.labels, network.classes)
    return Judged(volume, restored, counts, structure_scores(counts, reading.classes), seconds)


def predict(
    network: TotalCTSAM,
    reading: Reading,
    data: Data,
    out_dir: Path | None,
    prompts: Path | None,
    overlap: float,
) -> dict[str, Any]:
    """What `TotalCTSAMSystem.predict` returns and writes."""
    from medkernels.zoo.totalct_sam.report import PredictionReport

    skipped: Skipped = []
    rows: list[dict[str, Any]] = []
    sizes: dict[str, Any] = {}
    files: list[str] = []
    arrays: dict[str, Labels] = {}
    page = PredictionReport(reading.classes)
    for volume, source in stream(data, reading, skipped):
        beside = prompts or (source.prompts if source else None)
        try:
            labels, seconds = label_volume(
                network,
                reading,
                volume,
                partial(_asked, beside, reading) if beside else None,
                overlap=overlap,
            )
        except ValueError as error:
            if prompts is not None or source is None:
                raise
            skipped.append((volume.name, str(error)))
            continue
        found = structure_rows(labels, volume.affine, reading.classes)
        rows.append({"scan": volume.name, "seconds": seconds, "structures": len(found)})
        sizes[volume.name] = {row["structure"]: row["ml"] for row in found}
        if out_dir is None:
            arrays[volume.name] = labels
        else:
            files += write_answer(out_dir, volume, labels, reading.classes)
            page.add(volume, labels, found, seconds)
    if not rows:
        raise ValueError(f"data: no CT can be used ({listed(skipped)})")
    if out_dir is not None:
        files.append(page.save(out_dir))
    return {
        "scans": [row["scan"] for row in rows],
        "seconds": np.array([row["seconds"] for row in rows]),
        "millilitres": sizes,
        **({"labels": arrays} if arrays else {}),
        "skipped": [list(entry) for entry in skipped],
        "files": files,
    }


def _asked(path: Path, reading: Reading, scan: Scan) -> list[Prompt | CoarseMask]:
    return read_prompts(path, scan, reading.classes)


def evaluate(
    network: TotalCTSAM, reading: Reading, data: Data, *, overlap: float, clicks: int
) -> dict[str, float]:
    """What `TotalCTSAMSystem.evaluate` returns."""
    skipped: Skipped = []
    judged = [
        (answer.scores, answer.counts, answer.seconds)
        for volume, _ in stream(data, reading, skipped, labelled=True)
        for answer in [judge(network, reading, volume, overlap=overlap, clicks=clicks)]
    ]
    if not judged:
        raise ValueError(f"data: no CT can be judged ({listed(skipped)})")
    scores, tables, seconds = zip(*judged, strict=True)
    found = summarised(scores, tables)
    return found | {
        "seconds_a_scan": float(np.mean(seconds)),
        "scans": len(judged),
        "skipped": len(skipped),
    }
