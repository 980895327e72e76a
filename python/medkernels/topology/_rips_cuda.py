"""What `vietoris_rips` does with arrays in the memory of a CUDA device, of whatever framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core
from medkernels.topology._rips import BYTES_OF_A_PAIR, LARGEST, Diagram, Options, check_values


@dataclass(frozen=True)
class DeviceClouds:
    """C-contiguous arrays of one dtype on one device.

    Attributes
    ----------
    pointers, shapes, names, dtype
        Addresses, shapes and names of the arrays, and what their values are, float32 or float64.
    device, stream
        Number of the device, and handle of the stream that the arrays are ready on.
    to_host
        Copies the array with a number to the host.
    free
        Bytes of device memory that the framework can allocate.
    allocate
        Allocates bytes of device memory for work on the stream: their address, and the object that holds
        them.
    """

    pointers: Sequence[int]
    shapes: Sequence[tuple[int, int]]
    names: Sequence[str]
    dtype: str
    device: int
    stream: int
    to_host: Callable[[int], npt.NDArray[Any]]
    free: int
    allocate: Callable[[int], tuple[int, Any]]


def diagrams_of_device(module: ModuleType, clouds: DeviceClouds, options: Options) -> list[list[Diagram]]:
    """Intervals and edges, in NumPy, of each dimension of each cloud.

    The device takes as many clouds at a time as fit in its memory.
    """
    _check_sizes(module, clouds, options)
    described = [
        (p, rows, columns) for p, (rows, columns) in zip(clouds.pointers, clouds.shapes, strict=True)
    ]
    found: list[list[Diagram]] = []
    while len(found) < len(described):
        rest = described[len(found) :]
        held: list[Any] = []
        done, bad, first, edges, lengths, ranks, open_first, open_ranks = module.topology.vietoris_rips(
            rest,
            clouds.dtype == "float64",
            *options,
            LARGEST[clouds.dtype],
            clouds.device,
            clouds.stream,
            clouds.free,
            partial(_allocate, clouds, held),
        )
        if bad >= 0:
            place = len(found) + bad
            check_values(clouds.to_host(place), clouds.names[place], options.kind)
            raise RuntimeError(f"{clouds.names[place]} was changed while it was read")
        sizes = [rows for _, rows, _ in rest[:done]]
        if options.max_dim == 1:
            parts = (sizes, first, edges, lengths, open_first, open_ranks, options.max_dim)
            found += _core.topology.vietoris_rips_sorted(*parts)
        else:
            found += _core.topology.vietoris_rips_cores(sizes, first, edges, ranks, lengths, options.max_dim)
    return found


def _allocate(clouds: DeviceClouds, held: list[Any], count: int) -> int:
    """The address of `count` bytes that last as long as `held`."""
    pointer, holder = clouds.allocate(count)
    held.append(holder)
    return pointer


def _check_sizes(module: ModuleType, clouds: DeviceClouds, options: Options) -> None:
    """Refuse clouds that do not fit in memory, before anything is allocated."""
    width = np.dtype(clouds.dtype).itemsize
    host = _backends.available_memory()
    for (rows, _), name in zip(clouds.shapes, clouds.names, strict=True):
        if rows > module.topology.most_points:
            raise ValueError(f"{name} holds {rows} points, more than {module.topology.most_points}, on a GPU")
        needed = module.topology.rips_memory(rows, width == 8)
        _checks.check_memory(f"{name} with {rows} points on the GPU", needed, clouds.free)
        if options.max_dim == 1:  # all edges come to the host
            pairs = rows * (rows - 1) // 2
            _checks.check_memory(f"{name} with {rows} points", pairs * (width + BYTES_OF_A_PAIR), host)


def joined(found: Sequence[Sequence[Diagram]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], list[int]]:
    """All intervals, all edges as 64-bit integers, and the number of rows of each diagram."""
    flat = [diagram for item in found for diagram in item]
    intervals = np.concatenate([intervals for intervals, _ in flat])
    edges = np.concatenate([edges for _, edges in flat]).astype(np.int64)
    return intervals, edges, [len(intervals) for intervals, _ in flat]
