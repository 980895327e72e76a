"""`vietoris_rips` on JAX arrays: outside of `jit`, where the number of bars is known; with derivatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medkernels import _backends
from medkernels.topology._items import Items
from medkernels.topology._rips import Diagram, Options, diagrams_of_arrays
from medkernels.topology._rips_cuda import DeviceClouds, diagrams_of_device


def diagrams(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges of each dimension of each item."""
    # Inside jax.grad alone values are known: without their derivative they are plain arrays.
    plain = [jax.lax.stop_gradient(array) for array in items.arrays]
    if any(isinstance(array, jax.core.Tracer) for array in plain):
        raise TypeError(
            f"{options.kind} must have values: vietoris_rips cannot be traced by jax.jit or jax.vmap, as "
            "the number of bars depends on values; call it outside of them (jax.grad alone is fine)"
        )
    found = _found(plain, items.names, options)
    return [
        [
            (_attach(options, array, jnp.asarray(intervals), jnp.asarray(edges)), jnp.asarray(edges))
            for intervals, edges in item
        ]
        for array, item in zip(items.arrays, found, strict=True)
    ]


def _found(arrays: list[Any], names: list[str], options: Options) -> list[list[Diagram]]:
    """Intervals and edges in NumPy, from wherever the arrays are."""
    devices = {device for array in arrays for device in array.devices()}
    place, module = next(iter(devices)), None
    if place.platform in ("gpu", "cuda"):
        module = _backends.cuda_kernels("vietoris_rips")
    elif place.platform != "cpu":
        _backends.fall_back_to_cpu(
            "vietoris_rips", f"there is no kernel for JAX arrays on {place.platform!r}"
        )
    if module is None:
        return diagrams_of_arrays([np.asarray(array) for array in arrays], names, options)
    if len(devices) > 1:
        raise ValueError(f"{options.kind} must be on one device, but are on {len(devices)}")
    device = place.local_hardware_id
    stats = place.memory_stats()  # None for some of its allocators

    def allocate(count: int) -> tuple[int, Any]:
        memory = jnp.empty(count, jnp.uint8, device=place).block_until_ready()
        return memory.unsafe_buffer_pointer(), memory

    for array in arrays:
        array.block_until_ready()
    clouds = DeviceClouds(
        pointers=[array.unsafe_buffer_pointer() for array in arrays],
        shapes=[array.shape for array in arrays],
        names=names,
        dtype=arrays[0].dtype.name,
        device=device,
        stream=0,
        to_host=lambda i: np.asarray(arrays[i]),
        free=stats["bytes_limit"] - stats["bytes_in_use"] if stats else module.free_memory(device),
        allocate=allocate,
    )
    return diagrams_of_device(module, clouds, options)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attach(options: Options, array: Any, intervals: Any, edges: Any) -> Any:
    """`intervals`, which vary with `array` as the lengths of the edges do."""
    return intervals


@_attach.defjvp
def _attach_jvp(options: Options, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    array, intervals, edges = primals
    change = tangents[0]
    i, j = edges[:, 0::2], edges[:, 1::2]
    if options.kind == "distances":
        varied = jnp.where(i == j, 0.0, (change[i, j] + change[j, i]) / 2)
    else:
        varied = jnp.sum(_direction(options.metric, array[i] - array[j]) * (change[i] - change[j]), -1)
    return _attach(options, array, intervals, edges), varied


def _direction(metric: str, difference: Any) -> Any:
    """Gradient [..., D] of the length of an edge in its first point; 0 for an edge of length 0."""
    size = jnp.abs(difference)
    largest = jnp.max(size, -1, keepdims=True)
    if metric == "manhattan":
        return jnp.sign(difference)
    if metric == "chebyshev":
        chosen = jnp.arange(difference.shape[-1]) == jnp.argmax(size, -1)[..., None]
        return jnp.where(chosen, jnp.sign(difference), 0.0)
    # Scaled first, so that squares neither vanish nor overflow.
    unit = difference / jnp.where(largest > 0, jax.lax.stop_gradient(largest), 1.0)
    length = jnp.sqrt(jnp.where(largest > 0, jnp.sum(unit**2, -1, keepdims=True), 1.0))
    return jnp.where(largest > 0, unit / length, 0.0)
