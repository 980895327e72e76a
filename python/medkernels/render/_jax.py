"""The family in JAX: callbacks to the C++ kernels with their own derivative, under jit, grad and vmap."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medkernels import _backends, _interop
from medkernels.render._dispatch import Family, Look, check_arrays, check_cpu_dtype, cpu_backward, cpu_forward


def render(family: Family, arrays: dict[str, Any], size: tuple[int, ...], look: Look) -> Any:
    """Draw JAX arrays or tracers."""
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(
            family.name, f"JAX arrays on {jax.default_backend()!r} have no kernel (torch and CuPy arrays do)"
        )
    like = next(a for a in arrays.values() if _interop.framework_of(a) == "jax")
    ready = {
        name: array if _interop.framework_of(array) == "jax" else jnp.asarray(array, dtype=like.dtype)
        for name, array in arrays.items()
    }
    if ready["opacity"].ndim == 0:
        ready["opacity"] = jnp.broadcast_to(ready["opacity"], ready["centers"].shape[:2])
    shaped = {n: _shape_of(a) for n, a in ready.items()}
    check_arrays(family, shaped, size)
    check_cpu_dtype(like.dtype)
    return _draw(family, size, look, *(ready[name] for name in family.array_names))


def _shape_of(array: Any, shape: tuple[int, ...] | None = None) -> Any:
    return jax.ShapeDtypeStruct(array.shape if shape is None else shape, array.dtype)  # type: ignore[no-untyped-call]


def _host_arrays(family: Family, arrays: tuple[Any, ...]) -> dict[str, Any]:
    return {n: _interop.numpy_view(a, n) for n, a in zip(family.array_names, arrays, strict=True)}


def _fold(array: Any, own_dims: int) -> Any:
    """Fold the dimensions that vmap put in front into the batch."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[array.ndim - own_dims + 1 :])


def _own_dims(family: Family, background_dims: int) -> list[int]:
    """Dimensions of each array without those that vmap put in front."""
    own = [len(family.shapes[name].split()) for name in family.array_names]
    return [*own[:-1], background_dims]


def _forward_on_host(
    family: Family, size: tuple[int, ...], look: Look, background_dims: int, *arrays: Any
) -> np.ndarray[Any, Any]:
    outer = np.shape(arrays[0])[:-3]
    folded = tuple(_fold(a, n) for a, n in zip(arrays, _own_dims(family, background_dims), strict=True))
    image = cpu_forward(family, _host_arrays(family, folded), size, look)
    return image.reshape(*outer, -1, *image.shape[1:]) if outer else image


def _backward_on_host(
    family: Family, look: Look, background_dims: int, grad: Any, *arrays: Any
) -> tuple[Any, ...]:
    outer = np.shape(arrays[0])[:-3]
    folded = tuple(_fold(a, n) for a, n in zip(arrays, _own_dims(family, background_dims), strict=True))
    grads = cpu_backward(family, _fold(grad, 2 + len(family.dims)), _host_arrays(family, folded), look)
    return tuple(g.reshape(np.shape(a)) for g, a in zip(grads, arrays, strict=True)) if outer else grads


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _draw(family: Family, size: tuple[int, ...], look: Look, *arrays: Any) -> Any:
    colors, background = arrays[3], arrays[5]
    shape = _shape_of(colors, (colors.shape[0], colors.shape[2], *size))
    host = partial(_forward_on_host, family, size, look, background.ndim)
    return jax.pure_callback(host, shape, *arrays, vmap_method="broadcast_all")


def _draw_fwd(family: Family, size: tuple[int, ...], look: Look, *arrays: Any) -> tuple[Any, tuple[Any, ...]]:
    return _draw(family, size, look, *arrays), arrays


def _draw_bwd(family: Family, size: tuple[int, ...], look: Look, arrays: tuple[Any, ...], grad: Any) -> Any:
    shapes = tuple(map(_shape_of, arrays))
    host = partial(_backward_on_host, family, look, arrays[5].ndim)
    return jax.pure_callback(host, shapes, grad, *arrays, vmap_method="broadcast_all")


_draw.defvjp(_draw_fwd, _draw_bwd)
