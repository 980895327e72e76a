"""Points and what belongs to them in the memory of a CUDA device: on the way to its kernels and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _device
from medkernels._items import Kind, dtype_name, placed

#: Coordinates up to here keep squared distances finite, by the dtype of the points.
MOST = {"float32": 1e18, "float64": 1e150}
#: Bytes of an index in a result.
INDEX_BYTES = 8


class OnDevice(NamedTuple):
    """Arrays of a call on one device.

    Attributes
    ----------
    module, device
        What works on them, and where.
    arrays, names
        C-contiguous torch tensors or CuPy arrays without derivatives; what messages call them.
    """

    module: ModuleType
    device: _device.Device
    arrays: list[Any]
    names: list[str]

    def described(self) -> list[tuple[int, ...]]:
        """The address and the shape of each array."""
        return [(self.device.pointer(array), *map(int, array.shape)) for array in self.arrays]

    def rows(self, counts: Sequence[int], shape: tuple[int, ...], dtype: str) -> Rows:
        """An array to be filled, with so many rows of this shape for each item."""
        return Rows(self.device.empty((sum(counts), *shape), dtype), list(counts))

    def check_room(self, needed: int) -> None:
        """Refuse work for which the memory of the device is too small.

        Raises
        ------
        ValueError
            If `needed` bytes exceed what the framework can allocate.
        """
        name = self.names[0].partition("[")[0]
        _checks.check_memory(f"{name} on the GPU", needed, self.device.free())

    def refuse_coordinate(self, number: int) -> NoReturn:
        """Raise for the array in which a kernel has found a coordinate that is not finite or too large."""
        most = MOST[dtype_name(self.arrays[number])]
        wanted = f"finite and at most {most:.0e} in size".replace("e+", "e")
        self.refuse(number, wanted, lambda values: np.abs(values) <= most)

    def refuse(
        self, number: int, wanted: str, good: Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]]
    ) -> NoReturn:
        """Raise ValueError for the array in which a kernel has found a value that is not `good`."""
        name, values = self.names[number], self.device.to_host(self.arrays[number]).ravel()
        bad = np.flatnonzero(~good(values))
        if len(bad) == 0:
            raise RuntimeError(f"{name} was changed while it was read")
        raise ValueError(
            f"{name} must be {wanted}, but element {bad[0]} (in row-major order) is {values[bad[0]]:.6g}"
        )


class Rows(NamedTuple):
    """Rows of all items in one array, and how many each has."""

    array: Any
    counts: list[int]

    def given_back(self, many: bool, batch: bool) -> Any:
        """An array for one item or a `batch`, else a list of the parts."""
        if not many:
            return self.array
        if batch and self.counts:
            return self.array.reshape(len(self.counts), self.counts[0], *self.array.shape[1:])
        return [self.array[begin:end] for begin, end in pairwise(accumulate(self.counts, initial=0))]


def on_device(op: str, kind: Kind, arrays: Sequence[Any], names: Sequence[str]) -> OnDevice | None:
    """The arrays of a call if there are any, on a CUDA device, and the CUDA module is to work on them there.

    Raises
    ------
    BackendError
        If there is no such module or no device, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
    """
    if not kind.on_gpu or not arrays:
        return None
    module = _backends.cuda_kernels(op)
    if module is None:
        return None
    ready = [_device.contiguous(array) for array in placed(kind, arrays)]
    return OnDevice(module, _device.device_of(kind.like), ready, list(names))
