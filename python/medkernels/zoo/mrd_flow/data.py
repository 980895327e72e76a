"""Folders of samples: FCS files or tables, a file a sample, with the gates of experts.

Layout::

    data/a.fcs              a sample a file: FCS 2.0 to 3.1, or a CSV or TSV table with a header (also .gz)
    data/a.labels.csv       gates of its events, a row an event in the same order: columns of 0 and 1
    data/train/b.fcs        samples in train/, valid/ and test/ are used as that, others are split at random

Columns whose names begin with "blast" mark leukaemic cells, whatever sub-gate they stand for; of columns that
begin with "intact" only the events inside count. They may also be channels of the sample's own file. Channels
are found by what was stained ($PnS) or by their names ($PnN). Tables are taken as they are: compensated, and
scaled to [0, 4.5].
"""

from __future__ import annotations

import csv
import gzip
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medkernels.zoo.mrd_flow.fcs import Table, read_fcs
from medkernels.zoo.mrd_flow.markers import MARKERS, gates, select, within_range
from medkernels.zoo.mrd_flow.sample import Sample

PARTS = ("train", "valid", "test")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
LABELS = ".labels"  # before the ending of a table of gates
WRITTEN = (LABELS, ".events", ".mrd")  # what stands beside samples, and what `predict` writes


@dataclass(frozen=True)
class Reading:
    """How files become samples.

    Attributes
    ----------
    markers : tuple of str
        What the network reads.
    graph_markers : tuple of str or None
        What the k-NN graph is built on; `markers` if None.
    scaling : str
        See `read_fcs`.
    clean : bool
        Leave out events at the ends of the range.
    """

    markers: tuple[str, ...] = MARKERS
    graph_markers: tuple[str, ...] | None = None
    scaling: str = "logicle"
    clean: bool = True


def list_files(path: str | Path) -> list[Path]:
    """The sample files of a folder, or one file.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If it holds no sample.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"data: there is no folder or file {root}")
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    found = [
        file
        for file in files
        if file.is_file()
        and (_ending(file) == ".fcs" or _ending(file) in TABLES)
        and not _stem(file).endswith(WRITTEN)
        and not any(part.startswith(".") for part in file.relative_to(root.parent).parts)
    ]
    if not found:
        raise ValueError(f"data: {root} holds no samples; want .fcs files, or tables .csv or .tsv (also .gz)")
    return found


def part_of(file: Path, root: Path) -> str | None:
    """The part of the data that a file belongs to by its folder, if any."""
    inside = file.relative_to(root).parts[:-1] if root.is_dir() else ()
    return next((part for part in PARTS if inside and inside[0].lower() == part), None)


def read_sample(file: Path, root: Path, reading: Reading) -> Sample:
    """One sample of a folder.

    Raises
    ------
    ValueError
        If the file cannot be used; says why.
    OSError
        If it cannot be read.
    """
    table = read_fcs(file, scaling=reading.scaling) if _ending(file) == ".fcs" else read_table(file)
    if len(table.values) == 0:
        raise ValueError("no events")
    blasts, intact = gates(table)
    beside = labels_of(file)
    if beside is not None:
        marked = read_table(beside)
        if len(marked.values) != len(table.values):
            raise ValueError(
                f"{beside.name} has {len(marked.values)} rows, but the sample has {len(table.values)} events"
            )
        blasts, intact = (
            given if given is not None else own
            for given, own in zip(gates(marked), (blasts, intact), strict=True)
        )
        if blasts is None:
            raise ValueError(f"{beside.name} has no column whose name begins with 'blast'")
    features, missing = select(table, reading.markers)
    if len(missing) == len(reading.markers):
        there = ", ".join(dict.fromkeys(table.markers))
        raise ValueError(f"none of the markers {', '.join(reading.markers)}; it has {there}")
    keep: npt.NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    if reading.clean:
        keep &= within_range(features, reading.markers, missing)
    space = None
    if reading.graph_markers is not None:
        space, absent = select(table, reading.graph_markers)
        if len(absent) == len(reading.graph_markers):
            raise ValueError(f"none of the graph's markers {', '.join(reading.graph_markers)}")
        keep &= np.isfinite(space).all(axis=1)
        if reading.clean:
            keep &= within_range(space, reading.graph_markers, absent)
    if intact is not None:
        keep &= intact
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise ValueError(
            f"none of its {len(keep)} events lies within the range"
            + (" of [0, 4.5]: are its values scaled?" if reading.clean else "")
        )
    return Sample(
        name=file.relative_to(root if root.is_dir() else root.parent).as_posix(),
        features=features[rows],
        labels=None if blasts is None else blasts[rows].astype(np.int8),
        space=None if space is None else space[rows],
        rows=rows,
        total=len(keep),
        part=part_of(file, root),
    )


def read_table(file: Path) -> Table:
    """A table of numbers with a header, comma-, semicolon- or tab-separated.

    Raises
    ------
    ValueError
        If it is not.
    """
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
            separator = next((mark for mark in "\t;," if mark in header), ",")
            names = tuple(name.strip() for name in next(csv.reader([header], delimiter=separator), []))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tables without rows
                values = np.loadtxt(lines, np.float32, delimiter=separator, ndmin=2)
    except (EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise ValueError(f"not a readable table: {error}") from error
    if not values.size:
        values = values.reshape(0, len(names))
    if values.shape[1] != len(names):
        raise ValueError(f"a header of {len(names)} names over {values.shape[1]} columns")
    return Table(values, names, names)


def labels_of(file: Path) -> Path | None:
    """The table of gates beside a sample, if there is one."""
    places = (file.with_name(f"{_stem(file)}{LABELS}{ending}") for ending in TABLES)
    return next((place for place in places if place.is_file()), None)


def check_markers(name: str, markers: Sequence[str]) -> tuple[str, ...]:
    """Marker names as a tuple.

    Raises
    ------
    ValueError
        If there is none, or one comes twice.
    """
    given = (markers,) if isinstance(markers, str) else tuple(markers)
    if not given or len(set(given)) < len(given) or not all(isinstance(one, str) and one for one in given):
        raise ValueError(f"{name}: want different names of markers, got {list(given)}")
    return given


def _ending(file: Path) -> str:
    """The ending in lower case, with the one before ".gz"."""
    return "".join(file.suffixes[-2:]).lower() if file.suffix.lower() == ".gz" else file.suffix.lower()


def _stem(file: Path) -> str:
    return file.name[: len(file.name) - len(_ending(file))]
