"""Which channel of a file holds which marker."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medkernels.zoo.mrd_flow.fcs import BLAST, INTACT, Table, gate_of, plain

MARKERS = ("TIME", "FSC-A", "FSC-W", "SSC-A", "CD20", "CD10", "CD45", "CD34", "CD19", "CD38", "SYTO41")
OF_RANGE = 0.001  # events this near to an end of the range are spill-over
RANGE = (0.0, 4.5)
LOW = RANGE[0] + OF_RANGE * (RANGE[1] - RANGE[0])
HIGH = RANGE[1] - OF_RANGE * (RANGE[1] - RANGE[0])


def find_channel(table: Table, marker: str) -> int | None:
    """The column of a marker, or None.

    Its name may stand as it is in the stain or the channel's name, or as one word of it: "CD19 PE-Cy7-A"
    holds CD19. Of several columns the first one counts.
    """
    wanted = plain(marker)
    for names in (table.markers, table.names):
        for column, name in enumerate(names):
            if plain(name) == wanted:
                return column
    for column, name in enumerate(table.markers):
        if wanted in (plain(word) for word in re.split(r"[\s_:/()]+", name)):
            return column
    return None


def select(table: Table, markers: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
    """The markers [n,len(markers)] of a file, 0 where it has none of that name; and those it lacks."""
    chosen = np.zeros((len(table.values), len(markers)), np.float32)
    missing = []
    for place, marker in enumerate(markers):
        column = find_channel(table, marker)
        if column is None:
            missing.append(marker)
        else:
            chosen[:, place] = table.values[:, column]
    return chosen, missing


def within_range(
    values: npt.NDArray[np.float32], markers: Sequence[str], missing: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Events [n] whose every measured marker is finite and no nearer than 0.1 % to an end of the range."""
    measured = [place for place, marker in enumerate(markers) if marker not in missing]
    part = values[:, measured]
    return np.asarray(((part >= LOW) & (part <= HIGH)).all(axis=1))


def gates(table: Table) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.bool_] | None]:
    """Blasts [n] and intact events [n], where columns tell them.

    Every column whose name begins with "blast" counts, whatever sub-gate it is, and so for "intact".
    """
    found: list[npt.NDArray[np.bool_] | None] = []
    for gate in (BLAST, INTACT):
        columns = [i for i, name in enumerate(table.names) if gate_of(name) == gate]
        inside = table.values[:, columns]
        if not np.isin(inside, (0, 1)).all():
            raise ValueError(f"column {table.names[columns[0]]!r}: want 0 or 1 for each event")
        found.append(np.asarray((inside > 0).any(axis=1)) if columns else None)
    return found[0], found[1]
