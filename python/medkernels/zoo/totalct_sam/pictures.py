"""Pictures for reports: labels over slices in three directions, rows of slices, and curves of training."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from medkernels.zoo.engine.logs import Row
from medkernels.zoo.totalct_sam.volume import RAS, Floats, Labels, Volume, turns, voxel_sizes

SOFT_TISSUE = (-160.0, 240.0)  # HU that pictures show, from black to white
OPACITY = 0.55
GOLDEN = 0.618034  # of the colour circle from one label to the next: neighbours in number differ most
SLICES = 8  # of a row of axial slices
NAMED = 24  # most structures named below a picture
COLORS = ("#0f766e", "#c2410c")

# For each direction: the axis that is cut, and those that run across and up (right, anterior, superior).
DIRECTIONS = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}


def color_of(label: int) -> tuple[float, float, float]:
    """The colour of a label, the same in every picture."""
    return colorsys.hls_to_rgb((label * GOLDEN) % 1.0, 0.5 + 0.1 * (label % 3 - 1), 0.85)


def draw_directions(volume: Volume, labels: Labels, names: Sequence[str], title: str = "") -> Figure:
    """Labels over the axial, coronal and sagittal slice through their middle."""
    values, turned, sizes = _turned(volume, labels)
    inside = np.argwhere(turned)
    middle = np.median(inside, axis=0).astype(int) if len(inside) else np.array(turned.shape) // 2
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, (name, (cut, across, up)) in zip(figure.subplots(1, 3), DIRECTIONS.items(), strict=True):
        index = int(middle[cut])
        shown = (slice(None),) * cut + (index,)
        _slice(axes, values[shown], turned[shown], sizes[up] / sizes[across])
        if across == 0:  # the patient's right is at the left
            axes.invert_xaxis()
        axes.set_title(name, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10)
    named = [int(number) for number in np.unique(turned) if number][:NAMED]
    if named:
        handles = [Patch(color=color_of(number), label=names[number - 1]) for number in named]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    return figure


def draw_montage(volume: Volume, labels: Labels) -> Figure:
    """Axial slices from the lowest to the highest that is labelled."""
    values, turned, sizes = _turned(volume, labels)
    heights = np.flatnonzero(turned.any(axis=(0, 1)))
    low, high = (heights[0], heights[-1]) if len(heights) else (0, turned.shape[2] - 1)
    chosen = np.unique(np.linspace(low, high, SLICES).astype(int))
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    grid = figure.subplots(2, SLICES // 2, squeeze=False).ravel()
    for axes in grid[len(chosen) :]:
        axes.set_axis_off()
    for axes, index in zip(grid, chosen, strict=False):
        _slice(axes, values[:, :, index], turned[:, :, index], sizes[1] / sizes[0])
        axes.invert_xaxis()
        axes.set_title(f"slice {index}", fontsize=8)
    return figure


def draw_training(history: Sequence[Row]) -> Figure:
    """The loss without prompts and after clicks, by epoch."""
    terms = [term for term in ("plain", "clicked") if f"train_{term}" in history[0]]
    figure = Figure(figsize=(4.4 * len(terms), 3), layout="constrained")
    titles = {"plain": "without prompts", "clicked": "after the last click"}
    epochs = [row["epoch"] for row in history]
    for axes, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        for part, color in zip(("train", "valid"), COLORS, strict=True):
            if f"{part}_{term}" in history[0]:
                axes.plot(epochs, [row[f"{part}_{term}"] for row in history], color=color, label=part)
        axes.set_title(titles[term], fontsize=9)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cross-entropy + 1 - Dice")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return figure


def draw_scores(columns: Mapping[str, Mapping[str, float]]) -> Figure:
    """Dice of each structure, a bar for each column."""
    names = list(next(iter(columns.values())))
    figure = Figure(figsize=(min(12.0, 3 + 0.5 * len(names)), 3.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(columns)
    for number, (title, values) in enumerate(columns.items()):
        places = np.arange(len(names)) + (number - (len(columns) - 1) / 2) * width
        axes.bar(places, [values.get(name, 0.0) for name in names], width, label=title)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_ylim(0, 1)
    axes.set_ylabel("Dice")
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    return figure


def _turned(volume: Volume, labels: Labels) -> tuple[npt.NDArray[np.float32], Labels, Floats]:
    turn = turns.io_orientation(volume.affine)
    affine = volume.affine @ turns.inv_ornt_aff(turn, volume.values.shape)
    values = turns.apply_orientation(np.asarray(volume.values, np.float32), turn)
    return values, turns.apply_orientation(labels, turns.ornt_transform(turn, RAS)), voxel_sizes(affine)


def _slice(axes: Axes, values: npt.NDArray[np.float32], labels: Labels, aspect: float) -> None:
    """A slice [across,up] with its labels."""
    low, high = SOFT_TISSUE
    grey = ((values - low) / (high - low)).clip(0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for number in np.unique(labels):
        if number:
            inside = labels == number
            picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * np.array(color_of(int(number)))
    axes.imshow(picture.swapaxes(0, 1), origin="lower", aspect=float(aspect), interpolation="nearest")
    axes.set_axis_off()
