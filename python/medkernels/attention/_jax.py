"""The family in JAX: callbacks to the C++ kernels with their own derivative, under jit, grad and vmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medkernels import _backends, _interop
from medkernels.attention import _op
from medkernels.attention._op import Op, Options, Shape


def run(op: Op, named: dict[str, Any], options: Callable[[Sequence[Shape]], Options]) -> Any:
    """Compute with JAX arrays or tracers."""
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(op.name, f"JAX arrays on {jax.default_backend()!r} have no kernel")
    like = next(array for array in named.values() if _interop.framework_of(array) == "jax")
    arrays = [
        array if _interop.framework_of(array) == "jax" else jnp.asarray(array, dtype=like.dtype)
        for array in named.values()
    ]
    described = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]  # type: ignore[no-untyped-call]
    _op.check(op, described)
    return _compute(op, options([array.shape for array in arrays]), *arrays)


def _fold(array: Any, outer: tuple[int, ...]) -> Any:
    """Fold the dimensions that vmap put in front into the batch."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[len(outer) + 1 :])


def _forward_on_host(op: Op, options: Options, dims: int, *arrays: Any) -> tuple[Any, ...]:
    outer = np.shape(arrays[0])[:-dims]
    results = _op.forward(op, [_fold(array, outer) for array in arrays], options)
    return tuple(r.reshape(*outer, -1, *r.shape[1:]) for r in results)


def _backward_on_host(op: Op, options: Options, dims: int, grad: Any, *kept: Any) -> tuple[Any, ...]:
    outer = np.shape(grad)[:-dims]
    count = len(op.shapes)
    folded = [_fold(array, outer) for array in kept]
    grads = _op.backward(op, _fold(grad, outer), folded[:count], folded[count:], options)
    return tuple(g.reshape(array.shape) for g, array in zip(grads, kept, strict=False))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _compute(op: Op, options: Options, *arrays: Any) -> Any:
    return _outputs(op, options, *arrays)[0]


def _outputs(op: Op, options: Options, *arrays: Any) -> Any:
    shapes = tuple(
        jax.ShapeDtypeStruct(shape, np.dtype(_op.output_dtype(dtype, arrays[0].dtype.name)))  # type: ignore[no-untyped-call]
        for shape, dtype in op.outputs([array.shape for array in arrays], options)
    )
    host = partial(_forward_on_host, op, options, arrays[0].ndim)
    return jax.pure_callback(host, shapes, *arrays, vmap_method="broadcast_all")


def _forward(op: Op, options: Options, *arrays: Any) -> tuple[Any, tuple[Any, ...]]:
    outputs = _outputs(op, options, *arrays)
    return outputs[0], (*arrays, *outputs)


def _backward(op: Op, options: Options, kept: tuple[Any, ...], grad: Any) -> Any:
    arrays = kept[: len(op.shapes)]
    shapes = tuple(
        jax.ShapeDtypeStruct(a.shape, a.dtype)  # type: ignore[no-untyped-call]
        for a in arrays[: op.differentiable]
    )
    host = partial(_backward_on_host, op, options, grad.ndim)
    grads = jax.pure_callback(host, shapes, grad, *kept, vmap_method="broadcast_all")
    return (*grads, *map(jnp.zeros_like, arrays[op.differentiable :]))


_compute.defvjp(_forward, _backward)
