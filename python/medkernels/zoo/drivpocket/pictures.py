"""Pictures for reports: structures with pockets from two sides, and how candidates are ranked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.scripts import COLORS
from medkernels.zoo.drivpocket.structure import Floats, Structure
from medkernels.zoo.drivpocket.view import LIGAND_COLOR, trace
from medkernels.zoo.drivpocket.writing import thinned

SHOWN = 3  # pockets drawn
SPACING = 1.5  # of the points drawn, Angstrom


def draw_structure(structure: Structure, pockets: Sequence[Pocket], *, shown: int = SHOWN) -> Figure:
    """The trace in grey, the first pockets in colour and ligands in black, from two sides."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    middle = structure.coords.mean(axis=0)
    axes = np.linalg.svd(structure.coords - middle, full_matrices=False)[2].T
    for cell, (across, up, depth) in ((left, (0, 1, 2)), (right, (0, 2, 1))):

        def flat(places: Floats, order: tuple[int, int, int] = (across, up, depth)) -> Floats:
            return np.asarray((places - middle) @ axes[:, list(order)], np.float32)

        _draw_trace(cell, structure, flat(structure.coords))
        for pocket in pockets[:shown]:
            points = flat(thinned(pocket.points, SPACING))
            color = COLORS[(pocket.rank - 1) % len(COLORS)]
            cell.plot(points[:, 0], points[:, 1], ".", ms=5, alpha=0.45, color=color, mec="none", zorder=2)
            x, y, _ = flat(pocket.centre[None])[0]
            label = {"boxstyle": "circle,pad=0.2", "fc": color, "ec": "white"}
            cell.text(x, y, str(pocket.rank), color="white", ha="center", va="center", bbox=label, zorder=4)
        for ligand in structure.ligands:
            atoms = flat(ligand.coords)
            cell.plot(atoms[:, 0], atoms[:, 1], "o", ms=3, color=LIGAND_COLOR, mew=0, zorder=3)
        cell.set_aspect("equal")
        cell.set_axis_off()
    return figure


def _draw_trace(cell: Axes, structure: Structure, places: Floats) -> None:
    runs = trace(structure)
    if not runs:
        cell.plot(places[:, 0], places[:, 1], ".", ms=1.5, color="0.75", zorder=1)
    for run in runs:
        cell.plot(places[run, 0], places[run, 1], "-", lw=1.3, color="0.72", zorder=1)
