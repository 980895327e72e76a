"""The demonstration: synthetic bodies, from masks and DICOM slices to labelled NIfTI files, with clicks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo.engine import Report
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.totalct_sam.acceptance import one_thread
from medkernels.zoo.totalct_sam.apply import Judged
from medkernels.zoo.totalct_sam.data import list_sources, read_volume
from medkernels.zoo.totalct_sam.metrics import mean_over_scans
from medkernels.zoo.totalct_sam.phantom import CLASSES, phantom, write_dicom, write_subject
from medkernels.zoo.totalct_sam.pictures import draw_directions, draw_scores
from medkernels.zoo.totalct_sam.report import TOLD, add_pictures
from medkernels.zoo.totalct_sam.system import TotalCTSAMSystem
from medkernels.zoo.totalct_sam.volume import Volume

PARTS = {"train": 12, "valid": 2, "test": 2}  # bodies
UNSEEN = 100  # seed of the body that comes as DICOM
CLICKS = (0, 1, 3)
SPACING = 5.0  # mm
TRAINING: dict[str, Any] = {
    "max_epochs": 12,
    "batch_size": 8,
    "lr": 2.5e-3,
    "warmup_steps": 20,
    "checkpoint_every_epochs": 8,
    "tensorboard": False,
}
WINDOWS: dict[str, int] = {"clicks": 1, "contexts": 1, "draws": 14}


def run_demo(out_dir: Path) -> Path:
    """Train and judge on synthetic bodies, and write ``report.html`` and a model into ``out_dir``."""
    with one_thread():  # windows this small gain nothing from more
        return _run(out_dir)


def _run(out_dir: Path) -> Path:
    data = out_dir / "data"
    seed = 0
    for part, count in PARTS.items():
        for _ in range(count):
            write_subject(data / part / f"s{seed:04d}", phantom(seed))
            seed += 1
    test = [read_volume(source, CLASSES) for source in list_sources(data / "test")]
    judged: dict[str, dict[int, list[Judged]]] = {}
    systems = {}
    for name, memory in (("with memory", True), ("without memory", False)):
        system = TotalCTSAMSystem(size="tiny", classes=CLASSES, memory=memory, spacing=SPACING)
        system.fit(data, out_dir / name.replace(" ", "_"), resume=False, **TRAINING, **WINDOWS)
        systems[name] = system
        judged[name] = {
            clicks: [system.judge(volume, clicks=clicks, progress=False) for volume in test]
            for clicks in CLICKS
        }
    system = systems["with memory"]
    system.save_pretrained(out_dir / "model")

    unseen = phantom(UNSEEN, "unseen")
    folder = out_dir / "dicom" / "unseen"
    write_dicom(folder, unseen)
    plain = system.predict(folder)
    write_text(folder / "prompts.json", json.dumps({"space": "ras", "prompts": prompts_of(unseen)}, indent=2))
    told = system.predict(folder, out_dir / "predicted")

    report = Report(
        "Structures of bodies, with and without clicks",
        "totalct_sam on **synthetic** bodies: ellipsoids in Hounsfield units, no patient's data",
    )
    report.section(
        "Result",
        f"{PARTS['train']} bodies of {len(CLASSES)} structures are trained on, and {len(test)} others judged "
        "as a whole: windows of 32 voxels, averaged on one low-resolution lattice and brought to full "
        "resolution in one step. Clicks are simulated: on each structure in turn, where the labels so far "
        "are wrong.",
    )
    report.table(_table(judged), "Means over structures of the test bodies.")
    columns = {
        f"{clicks} clicks": {name: row["dice"] for name, row in _means(judged["with memory"][clicks]).items()}
        for clicks in (CLICKS[0], CLICKS[-1])
    }
    report.figure(draw_scores(columns), "Dice of each structure, with the memory.")
    first, last = (judged["with memory"][clicks][0] for clicks in (CLICKS[0], CLICKS[-1]))
    report.section("A test body", TOLD)
    assert first.volume.labels is not None
    for answer, title in (
        (first.volume.labels, "truth"),
        (first.labels, "without clicks"),
        (last.labels, f"after {CLICKS[-1]} clicks on each structure"),
    ):
        report.figure(draw_directions(first.volume, answer, CLASSES, title), f"{first.volume.name}: {title}.")
    report.section(
        "A DICOM series",
        "Another body, written as CT slices whose names tell no order. `predict` reads the folder with its "
        "`prompts.json`, one click on each structure, and writes labels as NIfTI, names and sizes; "
        "`predicted/report.html` is its own page.",
    )
    volume = read_volume(list_sources(folder)[0], CLASSES)
    assert unseen.labels is not None
    labels = plain["labels"]["unseen"]
    report.metrics({"s without prompts": float(plain["seconds"][0]), "s with": float(told["seconds"][0])})
    add_pictures(report, volume, labels, CLASSES)
    rows = [
        {
            "structure": name,
            "ml without prompts": plain["millilitres"]["unseen"].get(name, 0.0),
            "ml with": ml,
        }
        for name, ml in told["millilitres"]["unseen"].items()
    ]
    if rows:
        report.table(rows)
    return report.save(out_dir / "report.html")


def prompts_of(volume: Volume) -> list[dict[str, Any]]:
    """A click on each structure, in mm: the voxel of it that lies nearest to its middle."""
    assert volume.labels is not None
    rows = []
    for number, name in enumerate(CLASSES, start=1):
        voxels = np.argwhere(volume.labels == number)
        if len(voxels):
            near = voxels[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
            place = volume.affine[:3, :3] @ near + volume.affine[:3, 3]
            rows.append({"structure": name, "point": np.round(place, 2).tolist()})
    return rows


def _means(answers: Sequence[Judged]) -> dict[str, dict[str, float]]:
    return mean_over_scans([answer.scores for answer in answers])


def _table(judged: dict[str, dict[int, list[Judged]]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, by_clicks in judged.items():
        for clicks, answers in by_clicks.items():
            means = _means(answers).values()
            rows.append(
                {
                    "network": name,
                    "clicks on each structure": clicks,
                    "mean Dice": float(np.mean([row["dice"] for row in means])),
                    "mean IoU": float(np.mean([row["iou"] for row in means])),
                    "s a scan": float(np.mean([answer.seconds for answer in answers])),
                }
            )
    return rows
