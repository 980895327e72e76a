"""Both ops in JAX: callbacks to the core, under jit; `wasserstein` with its own derivative and vmap."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medkernels import _backends
from medkernels.topology._wasserstein import Options, differentiate, match, matching_of
from medkernels.topology._wasserstein import matrix as matrix_of_arrays


def distance(a: Any, b: Any, options: Options, return_matching: bool) -> Any:
    """The distance of two JAX arrays or tracers, or of one and a NumPy array."""
    _check_device()
    a, b = jnp.asarray(a), jnp.asarray(b)
    found, partner = _distance(options, a, b)
    if not return_matching:
        return found
    plain = [jax.lax.stop_gradient(x) for x in (a, b, partner)]
    if any(isinstance(x, jax.core.Tracer) for x in plain):
        raise TypeError(
            "return_matching must be False where jax.jit or jax.vmap trace: the number of rows of a matching "
            "depends on values"
        )
    host_a, host_b, host_partner = (np.asarray(x) for x in plain)
    return found, jnp.asarray(matching_of(host_a, host_b, host_partner, options.drop))


def matrix(diagrams: Sequence[Any], others: Sequence[Any] | None, options: Options) -> Any:
    """Distances of all pairs of JAX arrays or tracers; NumPy arrays among them follow."""
    _check_device()
    columns = len(diagrams if others is None else others)
    shape = _shape((len(diagrams), columns), jax.dtypes.canonicalize_dtype(np.float64))

    def on_host(diagrams: Sequence[Any], others: Sequence[Any] | None) -> Any:
        sets = [None if each is None else [np.asarray(x) for x in each] for each in (diagrams, others)]
        return matrix_of_arrays(sets[0] or [], sets[1], options).astype(shape.dtype)

    return jax.pure_callback(on_host, shape, list(diagrams), None if others is None else list(others))


def _check_device() -> None:
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(
            "wasserstein", f"there is no kernel for JAX arrays on {jax.default_backend()!r}"
        )


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _shapes(a: Any) -> tuple[Any, Any]:
    """Of the distance and of the partners, in the widest types that JAX has switched on."""
    real, integer = (jax.dtypes.canonicalize_dtype(kind) for kind in (np.float64, np.int64))
    return _shape((), real), _shape(a.shape[:1], integer)


def _match_on_host(options: Options, shapes: tuple[Any, Any], a: Any, b: Any) -> tuple[Any, Any]:
    found, partner = match(np.asarray(a), np.asarray(b), options)
    return np.asarray(found, shapes[0].dtype), partner.astype(shapes[1].dtype)


def _differentiate_on_host(
    options: Options, a: Any, b: Any, partner: Any, found: Any, upstream: Any
) -> tuple[Any, ...]:
    host_a, host_b = np.asarray(a), np.asarray(b)
    partners = np.asarray(partner).astype(np.int64)
    grads = differentiate(
        host_a, host_b, partners, float(found), options.order, options.ground, float(upstream)
    )
    return grads[0].astype(host_a.dtype), grads[1].astype(host_b.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _distance(options: Options, a: Any, b: Any) -> tuple[Any, Any]:
    shapes = _shapes(a)
    host = partial(_match_on_host, options, shapes)
    found, partner = jax.pure_callback(host, shapes, a, b, vmap_method="sequential")
    return found, partner


def _forward(options: Options, a: Any, b: Any) -> tuple[Any, Any]:
    found, partner = _distance(options, a, b)
    return (found, partner), (a, b, partner, found)


def _backward(options: Options, kept: tuple[Any, ...], upstream: tuple[Any, Any]) -> Any:
    shapes = tuple(_shape(x.shape, x.dtype) for x in kept[:2])
    host = partial(_differentiate_on_host, options)
    return jax.pure_callback(host, shapes, *kept, upstream[0], vmap_method="sequential")


_distance.defvjp(_forward, _backward)
