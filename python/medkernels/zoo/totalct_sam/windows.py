"""Windows over a volume, and the low-resolution lattice on which what they say is averaged.

A window begins at a multiple of the low-resolution step, so that its cells are cells of one lattice of the
whole volume: logits of overlapping windows are averaged there, and brought to full resolution once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from medkernels.zoo.totalct_sam.sizes import Sizes

WIDTH = 1 / 8  # of the Gaussian weight, as a share of the window: what MONAI and nnU-Net take

Place = tuple[int, int, int]


def lattice_shape(shape: Sequence[int], sizes: Sizes) -> Place:
    """Cells that cover a volume of so many voxels, and at least one window."""
    x, y, z = (max(sizes.low, -(-length // sizes.step)) for length in shape)
    return x, y, z


def origins(shape: Sequence[int], sizes: Sizes, overlap: float) -> list[Place]:
    """First cells of windows that cover a volume, in raster order.

    Parameters
    ----------
    overlap : float
        Share of a window's side that the next one shares with it, in [0, 1).
    """
    stride = max(1, round(sizes.low * (1 - overlap)))
    starts = []
    for cells in lattice_shape(shape, sizes):
        last = cells - sizes.low
        starts.append([*range(0, last, stride), last])
    return [(x, y, z) for x, y, z in itertools.product(*starts)]


def around(voxel: Sequence[float], shape: Sequence[int], sizes: Sizes) -> Place:
    """First cell of the window in whose middle a voxel lies, or of the nearest one inside the lattice."""
    cells = lattice_shape(shape, sizes)
    x, y, z = (
        min(max(round((at + 0.5 - sizes.window / 2) / sizes.step), 0), count - sizes.low)
        for at, count in zip(voxel, cells, strict=True)
    )
    return x, y, z


def gaussian(low: int, width: float = WIDTH) -> Tensor:
    """Weight of each cell of a window, [low,low,low]: greatest in its middle.

    Parameters
    ----------
    width : float
        Standard deviation, as a share of the window's side.
    """
    away = (torch.arange(low) - (low - 1) / 2) / (width * low)
    axis = torch.exp(-0.5 * away.square())
    return axis[:, None, None] * axis[:, None] * axis


class Lattice:
    """Weighted sums of the logits of windows, on one low-resolution lattice of a volume.

    Parameters
    ----------
    classes : int
    shape : sequence of int
        Voxels of the volume.
    sizes : Sizes
    device : torch device
    """

    def __init__(self, classes: int, shape: Sequence[int], sizes: Sizes, device: torch.device) -> None:
        cells = lattice_shape(shape, sizes)
        self.sums = torch.zeros(classes, *cells, device=device)
        self.weights = torch.zeros(cells, device=device)
        self.weight = gaussian(sizes.low).to(device)

    def add(self, place: Place, logits: Tensor) -> None:
        """Add a window's logits [C,low,low,low]."""
        part = cut(place, len(self.weight))
        self.sums[(slice(None), *part)] += self.weight * logits
        self.weights[part] += self.weight

    def mean(self) -> Tensor:
        """The weighted mean [C,x,y,z]; gives the sums away, as both would take the memory of two lattices."""
        return self.sums.div_(self.weights)


def cut(place: Place, low: int) -> tuple[slice, slice, slice]:
    """The part of the lattice that a window covers."""
    x, y, z = (slice(start, start + low) for start in place)
    return x, y, z
