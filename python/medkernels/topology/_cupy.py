"""`vietoris_rips` on CuPy arrays."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from medkernels import _backends
from medkernels.topology._items import Items
from medkernels.topology._rips import Diagram, Options, diagrams_of_numpy
from medkernels.topology._rips_cuda import DeviceClouds, diagrams_of_device, joined


def _allocate(count: int) -> tuple[int, Any]:
    memory = cupy.cuda.alloc(count)
    return memory.ptr, memory


def diagrams(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges of each dimension of each item."""
    module = _backends.cuda_kernels("vietoris_rips")
    if module is None:
        arrays = [cupy.asnumpy(array) for array in items.arrays]
        found = diagrams_of_numpy(items._replace(arrays=arrays), options)
    else:
        with items.arrays[0].device:
            ready = [cupy.ascontiguousarray(array) for array in items.arrays]
            found = diagrams_of_device(
                module,
                DeviceClouds(
                    pointers=[array.data.ptr for array in ready],
                    shapes=[array.shape for array in ready],
                    names=items.names,
                    dtype=ready[0].dtype.name,
                    device=ready[0].device.id,
                    stream=cupy.cuda.get_current_stream().ptr,
                    to_host=lambda i: cupy.asnumpy(ready[i]),
                    free=ready[0].device.mem_info[0] + cupy.get_default_memory_pool().free_bytes(),
                    allocate=_allocate,
                ),
                options,
            )
    *arrays, counts = joined(found)
    ends = np.cumsum(counts)[:-1]
    with items.arrays[0].device:
        intervals, edges = (cupy.split(cupy.asarray(array), ends) for array in arrays)
    pairs, dims = list(zip(intervals, edges, strict=True)), options.max_dim + 1
    return [pairs[k : k + dims] for k in range(0, len(pairs), dims)]
