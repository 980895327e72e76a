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


def diagrams(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges of each dimension of each item."""
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(
            "vietoris_rips", f"there is no kernel for JAX arrays on {jax.default_backend()!r}"
        )
    # Inside jax.grad alone values are known: without their derivative they are plain arrays.
    plain = [jax.lax.stop_gradient(array) for array in items.arrays]
    if any(isinstance(array, jax.core.Tracer) for array in plain):
        raise TypeError(
            f"{options.kind} must have values: vietoris_rips cannot be traced by jax.jit or jax.vmap, as "
            "the number of bars depends on values; call it outside of them (jax.grad alone is fine)"
        )
    found = diagrams_of_arrays([np.asarray(array) for array in plain], items.names, options)
    return [
        [
            (_attach(options, array, jnp.asarray(intervals), jnp.asarray(edges)), jnp.asarray(edges))
            for intervals, edges in item
        ]
        for array, item in zip(items.arrays, found, strict=True)
    ]


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
