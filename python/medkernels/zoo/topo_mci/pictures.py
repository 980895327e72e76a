"""Pictures for reports: series and diagrams, distance matrices, maps of p-values, accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medkernels.zoo.engine.logs import Row
from medkernels.zoo.topo_mci.learners import Ints
from medkernels.zoo.topo_mci.persistence import Array, Chain, Floats

ALPHA = 0.01  # pairs of ROIs below this are marked, as published
COLORS = ("#0f766e", "#c2410c", "#4338ca")  # of dimensions of homology, and of classes
LEAST_P = 1e-12  # smaller ones get the same colour
LABELLED = 40  # most ROIs whose names stand at an axis


def draw_series(rows: Sequence[tuple[str, Array]], chain: Chain) -> Figure:
    """For each named series [T]: itself, two coordinates of its window, and its diagrams."""
    figure = Figure(figsize=(10, 2.6 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 3, squeeze=False, width_ratios=(2.2, 1, 1))
    for (left, middle, right), (name, series) in zip(grid, rows, strict=True):
        cloud, diagrams = chain.embed(series[None])[0], chain.diagrams(series[None])[0]
        left.plot(series, linewidth=0.9, color=COLORS[0])
        left.set_title(name, fontsize=9)
        left.set_xlabel("sample")
        middle.plot(cloud[:, 0], cloud[:, -1], ".-", linewidth=0.3, markersize=3, color=COLORS[0])
        middle.set_title("window: first and last coordinate", fontsize=9)
        middle.set_aspect("equal", adjustable="datalim")
        _diagram(right, diagrams)
    return figure


def draw_matrices(means: Sequence[Sequence[Floats]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Distance matrices [n,n], a row a dimension with a scale of its own, a column a class."""
    figure = Figure(figsize=(2.9 * len(columns) + 0.8, 2.7 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes, name, matrices in zip(grid, rows, means, strict=True):
        top = max(float(matrix.max()) for matrix in matrices) or 1.0
        for cell, matrix in zip(axes, matrices, strict=True):
            image = cell.imshow(matrix, vmin=0, vmax=top, cmap="viridis")
            cell.set_xticks([])
            cell.set_yticks([])
        axes[0].set_ylabel(name)
        figure.colorbar(image, ax=list(axes), shrink=0.8)
    for cell, name in zip(grid[0], columns, strict=True):
        cell.set_title(name, fontsize=10)
    return figure


def draw_p_map(p: Floats, rois: Sequence[str], title: str) -> Figure:
    """-log10 p of each pair of ROIs, with a dot on those below 0.01."""
    side = min(9.0, 3.2 + 0.12 * len(rois))
    figure = Figure(figsize=(side, side * 0.9), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(-np.log10(np.maximum(p, LEAST_P)), vmin=0, cmap="magma")
    rows, columns = np.nonzero(p < ALPHA)
    axes.plot(columns, rows, "o", color="#22d3ee", markeredgewidth=0, markersize=max(1.0, 48 / len(rois)))
    if len(rois) <= LABELLED:
        axes.set_xticks(range(len(rois)), rois, rotation=90, fontsize=6)
        axes.set_yticks(range(len(rois)), rois, fontsize=6)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, label="-log10 p", shrink=0.8)
    return figure


def draw_subjects(matrix: Floats, labels: Ints, classes: Sequence[str], title: str) -> Figure:
    """Distances [N,N] between subjects, which are put in order of their classes."""
    order = np.argsort(labels, kind="stable")
    figure = Figure(figsize=(4.6, 4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix[np.ix_(order, order)], cmap="viridis")
    ends = np.cumsum(np.bincount(labels, minlength=len(classes)))
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=1)
        axes.axvline(end - 0.5, color="white", linewidth=1)
    axes.set_yticks((ends + np.concatenate([[0], ends[:-1]])) / 2 - 0.5, classes, rotation=90, va="center")
    axes.set_xticks([])
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def draw_accuracies(values: Mapping[str, Sequence[float]], chance: float) -> Figure:
    """Held-out accuracies of the splits, a row a learner: a dot a split, a bar at the mean."""
    figure = Figure(figsize=(6.5, 0.8 + 0.42 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    for row, numbers in enumerate(values.values()):
        axes.plot(numbers, [row] * len(numbers), "o", color=COLORS[0], alpha=0.45, markersize=6)
        axes.plot([np.mean(numbers)] * 2, [row - 0.3, row + 0.3], color=COLORS[0], linewidth=2)
    axes.axvline(chance, color="gray", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlim(min(0.3, chance - 0.1), 1.03)
    axes.set_xlabel("held-out accuracy")
    axes.grid(alpha=0.3, axis="x")
    return figure


def draw_histories(histories: Mapping[str, Sequence[Row]]) -> Figure:
    """Training loss by epoch, a curve a training."""
    figure = Figure(figsize=(6.5, 3), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in histories.items():
        axes.plot([row["epoch"] for row in rows], [row["train_loss"] for row in rows], label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy of training")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _diagram(axes: Axes, diagrams: Sequence[Array]) -> None:
    finite: list[Any] = [bars[np.isfinite(bars[:, 1])] for bars in diagrams]
    top = max((float(bars.max()) for bars in finite if len(bars)), default=1.0) * 1.05
    axes.plot([0, top], [0, top], color="gray", linewidth=0.8)
    for k, bars in enumerate(finite):
        axes.plot(bars[:, 0], bars[:, 1], ".", color=COLORS[k], markersize=5, label=f"H{k}")
    axes.set_title("births and deaths", fontsize=9)
    axes.set_aspect("equal")
    axes.legend(fontsize=7, loc="lower right")
