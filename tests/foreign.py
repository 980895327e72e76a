"""A library nobody has heard of."""

from __future__ import annotations

from typing import Any

import numpy as np


class Foreign:
    """An array whose values are had by DLPack only; its dtypes are named as Open3D names them."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype.name.capitalize()

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    @classmethod
    def from_dlpack(cls, array: Any) -> Foreign:
        return cls(np.from_dlpack(array))

    def __getitem__(self, index: Any) -> Foreign:
        return Foreign(self.array[index])

    def __gt__(self, other: float) -> Foreign:
        return Foreign(self.array > other)

    def __float__(self) -> float:
        return float(self.array)

    def astype(self, dtype: Any) -> Foreign:
        return Foreign(self.array.astype(dtype))
