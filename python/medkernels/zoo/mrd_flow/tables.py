"""Files for people and other programs: the events and the MRD of samples."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.mrd_flow.fcs import add_columns

if TYPE_CHECKING:
    from medkernels.zoo.mrd_flow.apply import Answer

LEFT_OUT = -1  # stands for the events that were not judged
ROWS = 100_000  # of a table of events, written at a time


def write_sample(out_dir: Path, answer: Answer, source: Path | None) -> list[str]:
    """Write the events of a sample as a table, and as FCS if it came as that; return the names."""
    sample = answer.sample
    probabilities = np.full(sample.events, LEFT_OUT, np.float32)
    blasts = np.full(sample.events, LEFT_OUT, np.float32)
    rows = slice(None) if sample.rows is None else sample.rows
    probabilities[rows], blasts[rows] = answer.probabilities, answer.found
    inside = PurePosixPath(sample.name)
    name = inside.name
    for ending in (".gz", ".csv", ".tsv", ".fcs"):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    written = [str(inside.with_name(f"{name}.events.csv"))]
    with replacing(out_dir / written[0]) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write("event,probability,blast\n")
        for start in range(0, sample.events, ROWS):
            part = slice(start, start + ROWS)
            numbers = range(start, min(start + ROWS, sample.events))
            values = zip(numbers, probabilities[part].tolist(), blasts[part].tolist(), strict=True)
            file.writelines(
                f"{event},,\n" if blast < 0 else f"{event},{probability:.6g},{int(blast)}\n"
                for event, probability, blast in values
            )
    if source is not None and source.suffix.lower() == ".fcs":
        written.append(str(inside.with_name(f"{name}.mrd.fcs")))
        add_columns(source, out_dir / written[1], {"MRD_PROBABILITY": probabilities, "MRD_BLAST": blasts})
    return written


def write_mrd(out_dir: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write one line a sample; return the file's name."""
    write_rows(out_dir / "mrd.csv", rows)
    return "mrd.csv"


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with the columns in the order they are first met, whole or not at all."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
