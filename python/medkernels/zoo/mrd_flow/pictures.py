"""Pictures for reports: densities of marker pairs with blasts, MRD against the experts', training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from medkernels.zoo.engine.logs import Row
from medkernels.zoo.mrd_flow.apply import Answer

PAIRS = (("CD45", "SSC-A"), ("CD10", "CD20"), ("CD34", "CD38"), ("CD19", "CD10"))  # customary views
BINS = (40, 120)  # fewest and most, with the root of the number of events between them
DOTS = 4000  # most blasts drawn in one view
FOUND, MISSED, EXTRA = "#0f766e", "#4338ca", "#c2410c"
LEAST_MRD = 1e-5  # smaller shares stand at the edge of the picture


def choose_pairs(markers: Sequence[str]) -> list[tuple[int, int]]:
    """The customary views that these markers allow; the first markers in pairs if there are none."""
    places = {name.upper(): place for place, name in enumerate(markers)}
    pairs = [(places[x], places[y]) for x, y in PAIRS if x in places and y in places]
    return pairs or [(i, i + 1) for i in range(0, min(len(markers) - 1, 7), 2)]


def draw_events(answer: Answer, markers: Sequence[str]) -> Figure:
    """Density of all events in some pairs of markers, and the blasts over it."""
    pairs = choose_pairs(markers) or [(0, 0)]
    figure = Figure(figsize=(2.9 * len(pairs), 3.3), layout="constrained")
    bins = int(np.clip(np.sqrt(len(answer.sample)), *BINS))
    for axes, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        values = answer.sample.features
        axes.hist2d(values[:, x], values[:, y], bins=bins, cmap="Greys", norm=LogNorm(), rasterized=True)
        for name, color, chosen in _groups(answer):
            rows = np.flatnonzero(chosen)
            size = 3.0 if len(rows) < 500 else 1.2
            shown = rows[:: max(1, -(-len(rows) // DOTS))]
            axes.plot(
                values[shown, x],
                values[shown, y],
                ".",
                color=color,
                markersize=size,
                label=name,
                rasterized=True,
            )
        axes.set_xlabel(markers[x])
        axes.set_ylabel(markers[y])
        axes.tick_params(labelsize=7)
    figure.legend(
        *axes.get_legend_handles_labels(), fontsize=8, markerscale=3, loc="outside lower center", ncols=3
    )
    return figure


def draw_mrd(rows: Sequence[dict[str, Any]]) -> Figure:
    """MRD of each sample against the experts', both on logarithmic scales."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.add_subplot()
    truth, found = (
        np.maximum([float(row[name]) for row in rows], LEAST_MRD) for name in ("expert_mrd", "mrd")
    )
    axes.plot([LEAST_MRD, 1], [LEAST_MRD, 1], color="gray", linewidth=0.8)
    axes.loglog(truth, found, "o", color=FOUND, markersize=5, alpha=0.7)
    low = 0.7 * min(truth.min(), found.min())
    axes.set_xlim(low, 1)
    axes.set_ylim(low, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("MRD by experts")
    axes.set_ylabel("MRD found")
    axes.grid(alpha=0.3)
    return figure


def draw_training(history: Sequence[Row]) -> Figure:
    """Cross-entropy and mean F1 by epoch."""
    figure = Figure(figsize=(8.5, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axes, term, name in ((left, "entropy", "cross-entropy"), (right, "f1", "mean F1 of drawn events")):
        _curves(axes, epochs, history, term)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    right.legend(fontsize=8)
    return figure


def _curves(axes: Axes, epochs: Sequence[float], history: Sequence[Row], term: str) -> None:
    for part, color in (("train", FOUND), ("valid", EXTRA)):
        if f"{part}_{term}" in history[0]:
            axes.plot(epochs, [row[f"{part}_{term}"] for row in history], color=color, label=part)


def _groups(answer: Answer) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Blasts by whether the experts marked them too, each group with its name and colour."""
    if answer.sample.labels is None:
        return [("blasts found", FOUND, answer.found)]
    truth = answer.sample.labels > 0
    return [
        ("found, as by experts", FOUND, answer.found & truth),
        ("missed", MISSED, ~answer.found & truth),
        ("found beside experts", EXTRA, answer.found & ~truth),
    ]
