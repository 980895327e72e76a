"""A structure with its pockets as a plotly figure that can be turned: trace, surfaces, linings, ligands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from medkernels.zoo.drivpocket.perception import bonds
from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.scripts import COLORS
from medkernels.zoo.drivpocket.structure import Floats, Ints, Ligand, Structure

HEIGHT = 620  # CSS px
STEP = 4.6  # residues whose atoms of the trace are farther apart than this are not joined, Angstrom
NUCLEIC_STEP = 8.0
TRACE = {"CA": STEP, "P": NUCLEIC_STEP}
BETWEEN = 4  # points of the drawn curve from one residue to the next
DISTANCE = 1.3  # of the camera from the middle, in edges of the figure
CELL = 1.0  # least cell of the lattice that a surface is drawn from, Angstrom
BLUR, LEVEL = 0.7, 0.35  # of surfaces: cells of blur, share of the greatest filling
TRACE_COLOR, LINING_COLOR, LIGAND_COLOR = "#9aa3ad", "#c3c9cf", "#1d2126"
ELEMENT_COLORS = {"O": "#d62728", "N": "#1f3fd6", "S": "#c9a400", "P": "#e07b00"}


def trace(structure: Structure) -> list[Ints]:
    """Atoms of the backbone's trace, a run for each stretch without gaps."""
    if structure.residue_of is None:
        return []
    runs: list[list[int]] = []
    for atom, name in enumerate(structure.atom_names):
        if name not in TRACE:
            continue
        chain = structure.residues[structure.residue_of[atom]].chain
        last = runs[-1][-1] if runs else None
        if last is not None and structure.residues[structure.residue_of[last]].chain == chain:
            gap = float(np.linalg.norm(structure.coords[atom] - structure.coords[last]))
            if structure.atom_names[last] == name and gap <= TRACE[name]:
                runs[-1].append(atom)
                continue
        runs.append([atom])
    return [np.array(run, np.int64) for run in runs]


def curve(places: Floats) -> Floats:
    """A smooth curve through points [n,3] -> [BETWEEN (n - 1) + 1,3]."""
    if len(places) < 3:
        return places
    steps = np.arange(len(places))
    dense = np.linspace(0, len(places) - 1, BETWEEN * (len(places) - 1) + 1)
    return np.asarray(CubicSpline(steps, places)(dense), np.float32)


def surface(places: Floats, spacing: float) -> tuple[Floats, Ints] | None:
    """Corners [v,3] and triangles [t,3] of a smooth surface around lattice points [m,3]; None without any."""
    if not len(places):
        return None
    margin = 3
    # A finer lattice would show more than eyes can; a lattice of its own would beat against the points'.
    cell = spacing * max(1, round(CELL / spacing))
    first = places[0] - 0.5 * spacing
    cells = np.floor((places - first) / cell).astype(np.int64)
    origin = cells.min(axis=0) - margin
    filled = np.zeros(tuple(cells.max(axis=0) - origin + 1 + margin), np.float32)
    filled[tuple((cells - origin).T)] = 1
    smooth = gaussian_filter(filled, BLUR)
    level = LEVEL * float(smooth.max())
    corners, triangles, _, _ = marching_cubes(smooth, level)  # type: ignore[no-untyped-call]
    return ((corners + origin + 0.5) * cell + first).astype(np.float32), triangles.astype(np.int64)


def view(structure: Structure, pockets: Sequence[Pocket], *, hidden_from: int = 4) -> Any:
    """The figure; pockets of a rank of at least `hidden_from` are shown once their name is clicked on."""
    figure = go.Figure()
    for number, run in enumerate(trace(structure)):
        places = curve(structure.coords[run])
        nearest = np.round(np.linspace(0, len(run) - 1, len(places))).astype(int).tolist()
        figure.add_trace(
            go.Scatter3d(
                **_xyz(places),
                mode="lines",
                line={"color": TRACE_COLOR, "width": 6},
                text=[_residue_name(structure, int(run[place])) for place in nearest],
                hoverinfo="text",
                name="backbone",
                legendgroup="backbone",
                showlegend=number == 0,
            )
        )
    if structure.residue_of is None:
        figure.add_trace(
            go.Scatter3d(
                **_xyz(structure.coords),
                mode="markers",
                marker={"color": TRACE_COLOR, "size": 2},
                hoverinfo="skip",
                name="atoms",
            )
        )
    for pocket in pockets:
        _add_pocket(figure, structure, pocket, shown=pocket.rank < hidden_from)
    for number, ligand in enumerate(structure.ligands):
        _add_ligand(figure, ligand, first=number == 0)
    axis = {"visible": False, "showspikes": False}
    # The first pocket faces the reader.
    toward = pockets[0].centre - structure.coords.mean(axis=0) if pockets else np.ones(3)
    eye = DISTANCE * toward / max(float(np.linalg.norm(toward)), 1e-3)
    up = np.eye(3)[np.abs(eye).argmin()]
    camera = {"eye": dict(zip("xyz", eye.tolist(), strict=True)), "up": dict(zip("xyz", up, strict=True))}
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "data",
            "dragmode": "orbit",
            "camera": camera,
        },
        legend={"itemsizing": "constant", "x": 0, "y": 1, "bgcolor": "rgba(255,255,255,0.7)"},
        font={"family": "system-ui, sans-serif", "size": 13},
        hoverlabel={"font": {"size": 13}},
    )
    return figure


def _add_pocket(figure: Any, structure: Structure, pocket: Pocket, *, shown: bool) -> None:
    color = COLORS[(pocket.rank - 1) % len(COLORS)]
    visible = True if shown else "legendonly"
    label = f"pocket {pocket.rank}"
    made = surface(pocket.points, pocket.spacing)
    if made is not None:
        corners, triangles = made
        figure.add_trace(
            go.Mesh3d(
                **_xyz(corners),
                **dict(zip("ijk", triangles.T.tolist(), strict=True)),
                color=color,
                opacity=0.55,
                name=label,
                legendgroup=label,
                showlegend=True,
                visible=visible,
                hoverinfo="text",
                text=f"{label}: probability {pocket.probability:.2f}, {pocket.volume:.0f} Å³",
                flatshading=False,
            )
        )
    if structure.residue_of is not None and len(pocket.atoms):
        around = np.flatnonzero(np.isin(structure.residue_of, structure.residue_of[pocket.atoms]))
        elements = [structure.elements[atom] for atom in around]
        names = [_residue_name(structure, atom) for atom in around.tolist()]
        path, texts = _sticks(structure.coords[around], elements, names)
        figure.add_trace(
            go.Scatter3d(
                **_xyz(path),
                mode="lines",
                line={"color": color, "width": 2},
                text=texts,
                hoverinfo="text",
                name=label,
                legendgroup=label,
                showlegend=made is None,
                visible=visible,
            )
        )


def _add_ligand(figure: Any, ligand: Ligand, *, first: bool) -> None:
    label = f"{ligand.name} {ligand.chain}{ligand.number}"
    elements = ligand.elements or ("C",) * len(ligand.coords)
    path, _ = _sticks(ligand.coords, elements, [label] * len(elements))
    shared = {"legendgroup": "ligand", "name": "ligand", "hoverinfo": "text"}
    figure.add_trace(
        go.Scatter3d(
            **_xyz(path),
            mode="lines",
            line={"color": LIGAND_COLOR, "width": 7},
            text=label,
            showlegend=first,
            **shared,
        )
    )
    figure.add_trace(
        go.Scatter3d(
            **_xyz(ligand.coords),
            mode="markers",
            marker={
                "size": 4.5,
                "color": [ELEMENT_COLORS.get(element, LIGAND_COLOR) for element in elements],
            },
            text=[f"{label}: {element}" for element in elements],
            showlegend=False,
            **shared,
        )
    )


def _sticks(coords: Floats, elements: Sequence[str], names: Sequence[str]) -> tuple[Floats, list[str]]:
    """Bonds as one path: both ends, then a gap."""
    gap = np.full(3, np.nan, np.float32)
    path, texts = [], []
    for atom, others in enumerate(bonds(coords, elements)):
        for other in others:
            if other > atom:
                path += [coords[atom], coords[other], gap]
                texts += [names[atom], names[other], ""]
    return np.array(path, np.float32).reshape(-1, 3), texts


def _xyz(places: Floats) -> dict[str, list[float | None]]:
    """Columns of a figure, to a hundredth of an Angstrom; gaps are None."""
    return {
        axis: [None if np.isnan(value) else round(float(value), 2) for value in column]
        for axis, column in zip("xyz", places.T, strict=True)
    }


def _residue_name(structure: Structure, atom: int) -> str:
    if structure.residue_of is None:
        return ""
    residue = structure.residues[structure.residue_of[atom]]
    return f"{residue.name} {residue.chain}{residue.number}{residue.insertion}"
