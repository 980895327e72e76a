"""The readable features: mean and spread of w, h, phi, r, g, b at each scale; 36 for three scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medkernels.zoo.asr.model import Ellipses, Explanation

Floats = npt.NDArray[np.float64]

QUANTITIES = ("w", "h", "phi", "r", "g", "b")
MEANINGS = {
    "w": "long semi-axis, px",
    "h": "short semi-axis, px",
    "phi": "direction of the long axis, rad",
    "r": "red",
    "g": "green",
    "b": "blue",
}


def attribute_names(spacings: Sequence[int]) -> list[str]:
    """Names such as ``mean_w_8`` and ``std_phi_32``, in the order of `case_attributes`."""
    return [
        f"{kind}_{name}_{spacing}" for spacing in spacings for name in QUANTITIES for kind in ("mean", "std")
    ]


def describe_attribute(name: str) -> str:
    """An attribute's name in words.

    >>> describe_attribute("std_w_16")
    'spread of long semi-axis, px, at scale 16'
    """
    kind, quantity, spacing = name.split("_")
    return f"{'mean' if kind == 'mean' else 'spread'} of {MEANINGS[quantity]}, at scale {spacing}"


def standard_form(scale: Ellipses) -> Tensor:
    """The six quantities [B,K,6] of a scale, with w the longer semi-axis and phi in [0, pi).

    (w, h, phi), (w, h, phi + pi) and (h, w, phi + pi/2) are one ellipse and must give one set of attributes.
    """
    long, short = scale.axes.amax(dim=-1), scale.axes.amin(dim=-1)
    swapped = scale.axes[..., 1] > scale.axes[..., 0]
    angle = torch.remainder(scale.angles + 0.5 * math.pi * swapped, math.pi)
    return torch.cat([long[..., None], short[..., None], angle[..., None], scale.colors], dim=-1)


def cell_tables(explanation: Explanation) -> list[Floats]:
    """For each scale the six quantities of every cell, [B,K,6] float64.

    Raises
    ------
    ValueError
        If the image is not RGB.
    """
    if explanation.background.shape[1] != 3:
        raise ValueError(f"attributes want RGB images, got {explanation.background.shape[1]} channels")
    return [standard_form(scale).detach().cpu().double().numpy() for scale in explanation.scales]


def case_attributes(cells: Sequence[Floats]) -> Floats:
    """Attributes of one case from the cells of all its patches.

    Angles are directions, not numbers: their mean and spread are circular, of the doubled angle.

    Parameters
    ----------
    cells : for each scale an array [..., 6], as `cell_tables` gives.

    Returns
    -------
    array
        [12 x scales], in the order of `attribute_names`; with three scales the 36 attributes of the paper.
    """
    values: list[float] = []
    for table in cells:
        flat = table.reshape(-1, len(QUANTITIES))
        for column, name in zip(flat.T, QUANTITIES, strict=True):
            values.extend(axial_mean_std(column) if name == "phi" else (column.mean(), column.std()))
    return np.array(values)


def axial_mean_std(angles: Floats) -> tuple[float, float]:
    """Circular mean in [0, pi) and circular standard deviation of directions, in radians."""
    resultant = np.exp(2j * angles).mean()
    length = max(abs(resultant), 1e-12)  # keeps the spread of evenly spread directions finite
    return float(np.angle(resultant) / 2 % math.pi), float(math.sqrt(max(0.0, -2 * math.log(length))) / 2)
