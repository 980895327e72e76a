"""Labels of upsampled logits by the definition: upsampled as a whole, one axis after the other."""

from __future__ import annotations

import numpy as np


def resample(values: np.ndarray, axis: int, count: int) -> np.ndarray:
    """One axis with `count` values, in the arithmetic of the dtype."""
    from_count = values.shape[axis]
    rows = np.moveaxis(values, axis, 0)
    result = np.empty((count, *rows.shape[1:]), values.dtype)
    for i in range(count):
        place = max(0.0, from_count / count * (i + 0.5) - 0.5)
        before = min(int(place), from_count - 1)
        after = min(before + 1, from_count - 1)
        weight = place - before if after > before else 0.0
        low, high = values.dtype.type(1.0 - weight), values.dtype.type(weight)
        result[i] = low * rows[before] + high * rows[after]
    return np.moveaxis(result, 0, axis)


def upsample_argmax(logits: np.ndarray, *, size: tuple[int, ...]) -> np.ndarray:
    """As `medkernels.segmentation.upsample_argmax`, to the last bit."""
    dense = logits
    for axis, count in enumerate(size, start=2):
        dense = resample(dense, axis, count)
    return dense.argmax(axis=1).astype(np.uint8 if logits.shape[1] <= 256 else np.int32)
