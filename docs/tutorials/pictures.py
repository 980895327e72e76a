"""Redraw the pictures of the tutorials from their code: ``python docs/tutorials/pictures.py [PAGE ...]``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

FOLDER = Path(__file__).parent


def main() -> None:
    """Run the code of the pages that are named, or of all, and show what it drew."""
    pages = {"render": render, "topology": topology}
    for name in sys.argv[1:] or pages:
        pages[name]()


def blocks(page: str) -> Iterator[str]:
    """The Python blocks of a page."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    yield from re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def render() -> None:
    """Ellipses: variants, and the fit before and after."""
    drawn: dict = {}
    start = None
    for block in blocks("render.md"):
        if "errors = []" in block:
            before, after = block.split("errors = []")
            exec(before, drawn)
            start = drawn["draw"]().detach().numpy()
            exec("errors = []" + after, drawn)
        else:
            exec(block, drawn)
    save("render-variants.png", drawn["variants"])
    fit = {"image": drawn["image"], "start": start, "after 300 steps": drawn["draw"]().detach().numpy()}
    save("render-fit.png", fit)


def save(name: str, pictures: dict) -> None:
    """Pictures [1, 3, H, W] side by side under their names."""
    figure, places = plt.subplots(1, len(pictures), figsize=(2.6 * len(pictures), 1.8), layout="constrained")
    for place, (title, image) in zip(places, pictures.items(), strict=True):
        place.imshow(np.clip(image[0].transpose(1, 2, 0), 0, 1))
        place.set_title(title, fontsize=9)
        place.set_axis_off()
    figure.savefig(FOLDER / name, dpi=90)


def topology() -> None:
    """A cloud with the edges of its longest loop, and the circle that a loss makes clean."""
    drawn: dict = {}
    for block in blocks("topology.md"):
        exec(block, drawn)
    noisy, clean = drawn["noisy"], drawn["points"].detach().numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
    show_cloud(left, noisy, "cloud")
    i, j, k, l = drawn["loop_edges"][drawn["longest"]]
    for ends, color, label in (((i, j), "tab:green", "birth"), ((k, l), "tab:red", "death")):
        left.plot(*noisy[list(ends)].T, color=color, label=label)
    left.legend(fontsize=7, loc="upper right")
    show_diagrams(right, (drawn["components"], drawn["loops"]), "diagrams")
    figure.savefig(FOLDER / "topology-diagram.png", dpi=90)

    figure, places = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
    show_cloud(places[0], noisy, "start")
    show_diagrams(places[1], (drawn["components"], drawn["loops"]), "diagrams at the start")
    show_cloud(places[2], clean, "after 200 steps")
    show_diagrams(places[3], [d.detach().numpy() for d in drawn["diagrams"]], "diagrams after 200 steps")
    figure.savefig(FOLDER / "topology-loss.png", dpi=90)


def show_cloud(place: plt.Axes, points: np.ndarray, title: str) -> None:
    """Points [P, 2] in a square."""
    place.plot(*points.T, ".", color="tab:blue")
    place.set(xlim=(-1.7, 1.7), ylim=(-1.7, 1.7), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    place.set_title(title, fontsize=9)


def show_diagrams(place: plt.Axes, diagrams: list, title: str) -> None:
    """Deaths over births; bars that never die are left out."""
    place.plot([0, 2], [0, 2], color="grey", linewidth=0.8)
    for diagram, label, marker in zip(diagrams, ("components", "loops"), (".", "^"), strict=True):
        place.plot(*diagram[np.isfinite(diagram[:, 1])].T, marker, label=label, markersize=6)
    place.set(xlim=(-0.05, 2), ylim=(-0.05, 2), aspect="equal", xlabel="birth", ylabel="death")
    place.legend(fontsize=7, loc="lower right")
    place.set_title(title, fontsize=9)


if __name__ == "__main__":
    main()
