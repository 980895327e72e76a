"""Stand-in data: pairs of crops, of which the first alone tells the class of what the second shows.

A body is noise with a marker ball, bright or dark, and an organ ball that always looks the same. The marker's
sign is the organ's class. Marker and organ lie in different crops, so that only a memory of the first crop
can name the class in the second. In a share of the training bodies both lie in the second crop: local
attention then trains the projections of keys and values, which the memory itself gives no gradient.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

SIDE = 16  # of a crop, voxels
NOISE = 0.3  # standard deviation
MARKER_RADIUS, MARKER = 2.5, 3.0
ORGAN_RADIUS, ORGAN = 3.5, 1.2
TOGETHER = 0.3  # share of training bodies with the marker in the second crop
CLASSES = ("organ of a bright marker", "organ of a dark marker")

Crops = dict[str, Tensor]


def body(seed: int, number: int, *, together: float) -> Crops:
    """One body: windows [2,1,16,16,16] and labels [2,16,16,16], which hang on seed and number alone."""
    rng = np.random.default_rng([seed, number])
    crops = NOISE * rng.standard_normal((2, SIDE, SIDE, SIDE), np.float32)
    labels = np.zeros(crops.shape, np.uint8)
    kind = int(rng.integers(2))
    organ = _ball(ORGAN_RADIUS, rng)
    while (marker := _ball(MARKER_RADIUS, rng) & ~organ).sum() == 0:
        continue
    crops[int(rng.random() < together)][marker] += MARKER if kind == 0 else -MARKER
    crops[1][organ] += ORGAN
    labels[1][organ] = kind + 1
    return {"windows": torch.from_numpy(crops)[:, None], "labels": torch.from_numpy(labels)}


class Bodies(Dataset[Crops]):
    """Bodies number `first` and after."""

    def __init__(self, count: int, seed: int, *, first: int = 0, together: float = TOGETHER) -> None:
        self.items = [body(seed, first + number, together=together) for number in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Crops:
        return self.items[index]


def _ball(radius: float, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A ball at a random place, wholly inside the crop."""
    middle = rng.uniform(radius, SIDE - 1 - radius, 3)
    away = np.moveaxis(np.indices((SIDE,) * 3), 0, -1) - middle
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = np.square(away).sum(axis=-1) <= radius**2
    return inside
