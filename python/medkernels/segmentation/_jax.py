"""The family in JAX: callbacks to the C++ kernels with their own derivative, under jit, grad and vmap."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medkernels import _backends, _interop
from medkernels.segmentation import _arrays
from medkernels.segmentation._arrays import Which


def argmax(logits: Any, size: Any) -> Any:
    """Labels, as `upsample_argmax` says."""
    _check_device("upsample_argmax")
    _arrays.check_logits(logits)
    _arrays.check_cpu_dtype(logits)
    sizes = _arrays.check_size(logits, size)
    dtype = np.uint8 if _arrays.in_bytes(logits) else np.int32
    shape = jax.ShapeDtypeStruct((logits.shape[0], *sizes), dtype)  # type: ignore[no-untyped-call]
    host = partial(_argmax_on_host, sizes, logits.ndim)
    return jax.pure_callback(host, shape, jax.lax.stop_gradient(logits), vmap_method="broadcast_all")


def dice_ce(logits: Any, labels: Any, which: Which) -> tuple[Any, Any]:
    """Both losses of each item, [B, 2], and how many of its places count, [B]."""
    _check_device("upsample_dice_ce")
    if _interop.framework_of(logits) != "jax":
        logits = jnp.asarray(logits, jnp.result_type(float))
    if _interop.framework_of(labels) != "jax":
        labels = jnp.asarray(labels)
    _arrays.check_loss(_described(logits), _described(labels), which)
    _arrays.check_cpu_dtype(logits)
    losses, counts = _dice_ce(which, logits, labels)
    return losses, counts


def _described(array: Any) -> Any:
    """Shape and dtype of an array or tracer, without a device."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype)  # type: ignore[no-untyped-call]


def _check_device(name: str) -> None:
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(name, f"JAX arrays on {jax.default_backend()!r} have no kernel")


def _fold(array: Any, outer: tuple[int, ...]) -> Any:
    """Fold the dimensions that vmap put in front into the batch."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[len(outer) + 1 :])


def _argmax_on_host(size: tuple[int, ...], dims: int, logits: Any) -> Any:
    outer = np.shape(logits)[:-dims]
    labels = _arrays.cpu_argmax(_fold(logits, outer), size)
    return labels.reshape(*outer, -1, *size)


def _forward_on_host(which: Which, dims: int, logits: Any, labels: Any) -> tuple[Any, ...]:
    outer = np.shape(logits)[:-dims]
    losses, counts, sums = _arrays.cpu_dice_ce(_fold(logits, outer), _fold(labels, outer), which)
    # JAX has 64 bits only where they are asked for.
    found = losses, counts.astype(jnp.result_type(int)), sums.astype(losses.dtype)
    return tuple(array.reshape(*outer, -1, *array.shape[1:]) for array in found)


def _backward_on_host(which: Which, dims: int, grad: Any, logits: Any, labels: Any, sums: Any) -> Any:
    outer = np.shape(logits)[:-dims]
    upstream, array, own_labels, kept = (_fold(each, outer) for each in (grad, logits, labels, sums))
    return _arrays.cpu_dice_ce_backward(upstream, array, own_labels, kept, which).reshape(np.shape(logits))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _dice_ce(which: Which, logits: Any, labels: Any) -> tuple[Any, Any]:
    losses, counts, _ = _outputs(which, logits, labels)
    return losses, counts


def _outputs(which: Which, logits: Any, labels: Any) -> Any:
    items, classes = logits.shape[:2]
    shapes = (
        jax.ShapeDtypeStruct((items, 2), logits.dtype),  # type: ignore[no-untyped-call]
        jax.ShapeDtypeStruct((items,), jnp.result_type(int)),  # type: ignore[no-untyped-call]
        jax.ShapeDtypeStruct((items, 3, classes), logits.dtype),  # type: ignore[no-untyped-call]
    )
    host = partial(_forward_on_host, which, logits.ndim)
    return jax.pure_callback(host, shapes, logits, labels, vmap_method="broadcast_all")


def _forward(which: Which, logits: Any, labels: Any) -> tuple[Any, tuple[Any, ...]]:
    losses, counts, sums = _outputs(which, logits, labels)
    return (losses, counts), (logits, labels, sums)


def _backward(which: Which, kept: tuple[Any, ...], grads: tuple[Any, Any]) -> tuple[Any, None]:
    logits = kept[0]
    shape = jax.ShapeDtypeStruct(logits.shape, logits.dtype)  # type: ignore[no-untyped-call]
    host = partial(_backward_on_host, which, logits.ndim)
    return jax.pure_callback(host, shape, grads[0], *kept, vmap_method="broadcast_all"), None


_dice_ce.defvjp(_forward, _backward)
