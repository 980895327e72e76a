"""Wasserstein distances between all pairs of persistence diagrams."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _interop
from medkernels.topology._wasserstein import (
    Device,
    Options,
    as_diagram,
    check_options,
    device_module,
    matrix,
    matrix_on_device,
    starts,
)


def wasserstein_matrix(
    diagrams: Any, others: Any = None, *, order: float = 1, ground: float = 2, essential: str = "match"
) -> Any:
    """Exact Wasserstein or bottleneck distances between all pairs of diagrams.

    Parameters
    ----------
    diagrams
        N diagrams: a list of [n, 2], or [N, n, 2]. Births and deaths, float32 or float64, in one unit; each
        as for :func:`medkernels.topology.wasserstein`.
    others
        M more diagrams of the same kind: distances are from each of `diagrams` to each of these. None:
        distances among `diagrams`.
    order, ground, essential
        As for :func:`medkernels.topology.wasserstein`.

    Returns
    -------
    array
        [N, N] or [N, M] float64 (float32 for JAX without x64), in the unit of the diagrams, of the kind and
        on the device of `diagrams`. Without `others` it is exactly symmetric with an exactly zero diagonal.

    Raises
    ------
    ValueError, TypeError
        As for :func:`medkernels.topology.wasserstein`; also for a single diagram.
    medkernels.BackendError
        On a GPU for `order` other than 1, or without CUDA kernels or a device, unless
        ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Each diagram is checked and sorted once, then threads go over the pairs; costs of a pair as for
    :func:`medkernels.topology.wasserstein`. Memory is that of the result, of a float64 copy of the diagrams,
    and of one pair a thread. Results do not depend on the number of threads. On CUDA devices a block of
    threads takes a pair. There is no gradient: for that, add up distances of
    :func:`medkernels.topology.wasserstein`.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> diagrams = [np.array([[0.0, 2.0]]), np.array([[0.0, 3.0], [1.0, 1.5]]), np.empty((0, 2))]
    >>> mk.topology.wasserstein_matrix(diagrams, ground=np.inf)
    array([[0.  , 1.25, 1.  ],
           [1.25, 0.  , 1.75],
           [1.  , 1.75, 0.  ]])
    """
    options = check_options(order, ground, essential)
    values = {"diagrams": _listed(diagrams, "diagrams")}
    if others is not None:
        values["others"] = _listed(others, "others")
    sets = {
        name: [as_diagram(item, f"{name}[{i}]") for i, item in enumerate(items)]
        for name, items in values.items()
    }
    came = {
        f"{name}[{i}]": [] if isinstance(item, (list, tuple)) else item
        for name, items in values.items()
        for i, item in enumerate(items)
    }
    framework = _interop.common_framework(came)
    if framework == "torch":
        from medkernels.topology import _wasserstein_torch

        return _wasserstein_torch.matrix(sets["diagrams"], sets.get("others"), options)
    if framework == "jax":
        from medkernels.topology import _wasserstein_jax

        return _wasserstein_jax.matrix(sets["diagrams"], sets.get("others"), options)
    if framework == "cupy":
        return _cupy_matrix(sets["diagrams"], sets.get("others"), options)
    like = next((each for each in came.values() if _interop.framework_of(each) == framework), None)
    return _interop.restorer(like)(matrix(sets["diagrams"], sets.get("others"), options))


def _listed(value: Any, name: str) -> list[Any]:
    """The diagrams of a list or of an array [N, n, 2]."""
    if isinstance(value, (list, tuple)):
        return list(value)
    array = value if hasattr(value, "ndim") else _interop.numpy_view(value, name)
    if array.ndim != 3:
        raise ValueError(
            f"{name} must be a list of diagrams [n, 2] or have shape [N, n, 2], "
            f"but has shape {list(array.shape)}"
        )
    return list(array)


def _cupy_matrix(diagrams: list[Any], others: list[Any] | None, options: Options) -> Any:
    import cupy

    device, *rest = [x.device for x in [*diagrams, *(others or [])] if isinstance(x, cupy.ndarray)]
    if any(each != device for each in rest):
        raise ValueError("diagrams are on several devices: use one")
    sets = [diagrams] if others is None else [diagrams, others]
    module = device_module(options)
    if module is None:
        arrays = [[cupy.asnumpy(d) for d in items] for items in sets]
        return cupy.asarray(matrix(arrays[0], None if others is None else arrays[1], options))
    with device:
        found = cupy.empty((len(sets[0]), len(sets[-1])))
        on_device = [[cupy.asarray(d, dtype=cupy.float64) for d in items] for items in sets]
        packed = [
            (cupy.asnumpy(cupy.concatenate(x)) if x else np.empty((0, 2)), starts(x)) for x in on_device
        ]
        free = device.mem_info[0] + cupy.get_default_memory_pool().free_bytes()
        place = Device(device.id, cupy.cuda.get_current_stream().ptr, free, _allocate)
        matrix_on_device(module, packed, options, place, found.data.ptr)
    return found


def _allocate(count: int) -> tuple[int, Any]:
    import cupy

    memory = cupy.cuda.alloc(count)
    return memory.ptr, memory
