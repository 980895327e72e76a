"""Clicks as an annotator would make them: simulated from what is labelled wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medkernels.regions import label

Mask = npt.NDArray[np.bool_]
CENTRED = 2  # first clicks that fall into the middle of the largest error


@dataclass(frozen=True)
class Click:
    """A voxel that an annotator points at.

    Attributes
    ----------
    voxel : tuple of int
    positive : bool
        Whether it belongs to the structure: it was missed; otherwise it was labelled and does not.
    """

    voxel: tuple[int, int, int]
    positive: bool


def random_points(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """A voxel drawn evenly from those where two masks differ, for each item of a batch.

    Parameters
    ----------
    found, truth : bool [B,z,y,x]

    Returns
    -------
    points : float [B,3]
        Its indices.
    kinds : int64 [B]
        1 where the structure was missed, 0 where it was found and is not there, -1 where the masks agree.

    Notes
    -----
    Draws from torch's global generator of the CPU, as a training that is resumed must repeat it.
    """
    points = torch.zeros(len(found), 3)
    kinds = torch.full((len(found),), -1)
    for item, (one, other) in enumerate(zip(found, truth, strict=True)):
        wrong = (one ^ other).flatten().nonzero()[:, 0]
        if len(wrong):
            chosen = int(wrong[int(torch.randint(len(wrong), ()))])
            points[item] = torch.tensor(np.unravel_index(chosen, one.shape), dtype=torch.float32)
            kinds[item] = int(other.flatten()[chosen])
    return points.to(found.device), kinds.to(found.device)


def next_click(
    found: Mask,
    truth: Mask,
    number: int,
    rng: np.random.Generator,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Click | None:
    """The click that an annotator makes next, of a structure [X,Y,Z]; None where nothing is wrong.

    The first two fall into the middle of the largest connected error: evenly on voxels that lie further
    than half of the greatest distance from its border. Later ones fall evenly on all errors.

    Parameters
    ----------
    number : int
        Clicks made before.
    spacing : tuple of float
        Of the voxels, mm.
    """
    wrong = found ^ truth
    if not wrong.any():
        return None
    if number < CENTRED:
        place = _in_the_middle(largest_error(found, truth), rng, spacing)
    else:
        place = _drawn(wrong, rng)
    return Click(place, bool(truth[place]))


def largest_error(found: Mask, truth: Mask) -> Mask:
    """The largest connected region that is missed, or found and not there; ties: missed, then the first."""
    best: Mask | None = None
    size = 0
    for wrong in (truth & ~found, found & ~truth):
        if wrong.any():
            regions, _, measures = label(wrong, connectivity=26, return_measures=True)
            if measures.area.max() > size:
                size, best = int(measures.area.max()), regions == measures.area.argmax() + 1
    if best is None:
        raise ValueError("found and truth are equal: there is no error")
    return best


def _in_the_middle(
    region: Mask, rng: np.random.Generator, spacing: tuple[float, float, float]
) -> tuple[int, int, int]:
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(region))
    # The border of the volume is a border too: one voxel of nothing all around.
    depth = distance_transform_edt(np.pad(region[box], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    x, y, z = _drawn(depth > depth.max() / 2, rng)
    return x + box[0].start, y + box[1].start, z + box[2].start


def _drawn(mask: Mask, rng: np.random.Generator) -> tuple[int, int, int]:
    places = np.flatnonzero(mask)
    x, y, z = np.unravel_index(places[rng.integers(len(places))], mask.shape)
    return int(x), int(y), int(z)
