"""The ops between points and grids in JAX: callbacks to the core with their own derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from medkernels import _backends, _interop
from medkernels.points import _grids
from medkernels.points._grids import Op, Options


def run(op: Op, arrays: Sequence[Any], counts: Sequence[int], options: Options) -> Any:
    """Compute with JAX arrays or tracers."""
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(op.name, f"JAX arrays on {jax.default_backend()!r} have no kernel")
    return _compute(op, tuple(counts), options, *arrays)


def _shape_of(shape: Any, dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(tuple(shape), dtype)  # type: ignore[no-untyped-call]


def _fold(op: Op, arrays: Sequence[Any], outer: tuple[int, ...]) -> list[Any]:
    """The dimensions that vmap put in front become more items."""
    views = [_interop.numpy_view(array, name) for array, name in zip(arrays, op.arrays, strict=True)]
    return [view.reshape(-1, *view.shape[len(outer) + 1 :]) for view in views]


def _forward_on_host(
    op: Op, counts: tuple[int, ...], options: Options, dims: int, *arrays: Any
) -> np.ndarray[Any, Any]:
    outer = np.shape(arrays[0])[:-dims]
    result = _grids.forward(op, _fold(op, arrays, outer), counts * int(np.prod(outer, dtype=int)), options)
    return result.reshape(*outer, -1, *result.shape[1:]) if outer else result


def _backward_on_host(
    op: Op, counts: tuple[int, ...], options: Options, dims: int, grad: Any, *arrays: Any
) -> tuple[Any, ...]:
    outer = np.shape(arrays[0])[:-dims]
    view = _interop.numpy_view(grad, "the gradient")
    folded = view.reshape(-1, *view.shape[len(outer) + 1 :])
    repeated = counts * int(np.prod(outer, dtype=int))
    grads = _grids.backward(op, folded, _fold(op, arrays, outer), repeated, options)
    return tuple(g.reshape(np.shape(arrays[i])) for g, i in zip(grads, op.wanted, strict=True))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _compute(op: Op, counts: tuple[int, ...], options: Options, *arrays: Any) -> Any:
    shape = op.shape([array.shape for array in arrays], len(counts), options)
    host = partial(_forward_on_host, op, counts, options, arrays[0].ndim)
    return jax.pure_callback(host, _shape_of(shape, arrays[0].dtype), *arrays, vmap_method="broadcast_all")


def _forward(op: Op, counts: tuple[int, ...], options: Options, *arrays: Any) -> tuple[Any, tuple[Any, ...]]:
    return _compute(op, counts, options, *arrays), arrays


def _backward(
    op: Op, counts: tuple[int, ...], options: Options, arrays: tuple[Any, ...], grad: Any
) -> tuple[Any, ...]:
    shapes = tuple(_shape_of(arrays[i].shape, arrays[i].dtype) for i in op.wanted)
    host = partial(_backward_on_host, op, counts, options, arrays[0].ndim)
    found = jax.pure_callback(host, shapes, grad, *arrays, vmap_method="broadcast_all")
    by_place = dict(zip(op.wanted, found, strict=True))
    return tuple(by_place.get(i) for i in range(len(arrays)))  # None stands for no derivative


_compute.defvjp(_forward, _backward)
