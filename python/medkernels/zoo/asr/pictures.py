"""Pictures for reports: which ellipses matter, their outlines over the image, the course of the error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from torch import Tensor

from medkernels.zoo.asr.model import ASR, Ellipses, Explanation

SHOWN = 0.15  # least contrast of an ellipse that is drawn or listed
OUTLINE = "#39e639"


class Outlines(NamedTuple):
    """Ellipses of one scale in image coordinates, as rows."""

    centers: npt.NDArray[np.float64]  # [N,2] px
    axes: npt.NDArray[np.float64]  # [N,2] px
    angles: npt.NDArray[np.float64]  # [N] rad
    beneath: npt.NDArray[np.float64]  # [N,3] colour at the centre without the ellipse
    colors: npt.NDArray[np.float64]  # [N,3] colour at the centre with it
    contrast: npt.NDArray[np.float64]  # [N]

    def where(self, keep: npt.NDArray[Any]) -> Outlines:
        """Those rows only."""
        return Outlines(*(part[keep] for part in self))


@torch.no_grad()
def appearances(
    model: ASR, explanation: Explanation, size: tuple[int, int]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """How each ellipse shows at its centre, by scale.

    The colour beneath it [B,K,C], from the background and coarser scales; the colour with it [B,K,C]; and its
    contrast [B,K], the distance of the two in RGB of [0,1]. An ellipse whose centre lies outside the image
    has contrast 0.
    """
    found = []
    for number, scale in enumerate(explanation.scales):
        beneath = model.render(explanation, size, finest=number + 1)
        x, y = scale.centers.round().long().unbind(dim=-1)
        inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
        place = y.clamp(0, size[0] - 1) * size[1] + x.clamp(0, size[1] - 1)
        under = beneath.flatten(2).gather(2, place[:, None].expand(-1, beneath.shape[1], -1)).transpose(1, 2)
        change = scale.opacity[..., None] * (scale.colors - under)
        found.append((under, under + change, change.norm(dim=-1) * inside))
    return found


def outlines(
    model: ASR,
    explanation: Explanation,
    size: tuple[int, int],
    corners: Sequence[Sequence[int]] | npt.NDArray[Any],
) -> list[Outlines]:
    """For each scale the ellipses of all patches that reach the contrast `SHOWN`, strongest first.

    Parameters
    ----------
    corners : for each patch of the batch its top and left in the image; (0, 0) gives patch coordinates.
    """
    found = []
    shift = np.asarray(corners, np.float64)[:, None, ::-1]
    for scale, looks in zip(explanation.scales, appearances(model, explanation, size), strict=True):
        arrays = [part.detach().cpu().double().numpy() for part in (*scale[:3], *looks)]
        arrays[0] = arrays[0] + shift
        rows = Outlines(*(part.reshape(-1, *part.shape[2:]) for part in arrays))
        order = np.argsort(-rows.contrast, kind="stable")
        found.append(rows.where(order[rows.contrast[order] >= SHOWN]))
    return found


def draw_outlines(
    image: npt.NDArray[Any],
    rows: Outlines,
    title: str = "",
    *,
    paint: Callable[[Outlines], list[str]] | None = None,
    inches: float = 6.0,
) -> Figure:
    """Outlines over an image [H,W,3].

    Parameters
    ----------
    paint : gives each outline's colour; green for all if None.
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(inches, inches * height / width))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(image, interpolation="bicubic")
    sizes, edges = 2 * rows.axes, OUTLINE if paint is None else paint(rows)
    axes.add_collection(
        EllipseCollection(
            sizes[:, 0],
            sizes[:, 1],
            np.degrees(rows.angles),
            units="xy",
            offsets=rows.centers,
            offset_transform=axes.transData,
            facecolors="none",
            edgecolors=edges,
            linewidths=1.1,
        )
    )
    if title:
        axes.set_title(title)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()
    return figure


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_name: str, y_name: str
) -> Figure:
    """Curves (x, y) by name, y on a logarithmic axis."""
    figure = Figure(figsize=(6.5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name)
    axes.set_yscale("log")
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure


def pick(explanation: Explanation, row: int) -> Explanation:
    """The explanation of one image of a batch, as a batch of one."""
    scales = tuple(Ellipses(*(part[row : row + 1] for part in scale)) for scale in explanation.scales)
    return Explanation(scales, explanation.background[row : row + 1])


def to_picture(image: Tensor) -> npt.NDArray[np.float32]:
    """[3,H,W] -> [H,W,3] in [0,1]."""
    picture: npt.NDArray[np.float32] = image.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    return picture


def draw_slices(volumes: Mapping[str, npt.NDArray[Any]], places: Sequence[int]) -> Figure:
    """Slices [H,W] of volumes [D,H,W] in [0,1], a row a volume."""
    figure = Figure(figsize=(1.5 * len(places) + 1, 1.55 * len(volumes)), layout="constrained")
    grid = figure.subplots(len(volumes), len(places), squeeze=False)
    for row, (name, volume) in zip(grid, volumes.items(), strict=True):
        for axes, place in zip(row, places, strict=True):
            axes.imshow(volume[place], cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name)
    for axes, place in zip(grid[0], places, strict=True):
        axes.set_title(f"z = {place}", fontsize=9)
    return figure
