"""The ops on edges in JAX: callbacks to the core, with derivatives of any order, under jit and vmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from medkernels import _backends, _interop
from medkernels.points import _edges

Array = np.ndarray[Any, Any]


def gather_sum(features: Any, neighbours: Any, weights: Any | None) -> Any:
    """[B, N, H, C], [B, M, k] and [B, M, k, H] to sums [B, M, H, C].

    Raises
    ------
    ValueError
        If an index is out of range; where the call is traced, JAX's own error tells it when it runs.
    """
    _check_device("gather_sum")
    if not isinstance(neighbours, jax.core.Tracer):
        _edges.check_indices(np.asarray(neighbours), features.shape[1])
    return _gather_sum(features, neighbours, *(() if weights is None else (weights,)))


def edge_softmax(scores: Any, neighbours: Any) -> Any:
    """[R, k, H] and [R, k] to [R, k, H]."""
    _check_device("edge_softmax")
    return _edge_softmax(scores, neighbours)


def _check_device(op: str) -> None:
    if jax.default_backend() != "cpu":
        _backends.fall_back_to_cpu(op, f"there is no kernel for JAX arrays on {jax.default_backend()!r}")


def _call(compute: Callable[..., Array], shape: Sequence[int], *arrays: Any) -> Any:
    """`compute` on the host; dimensions that vmap puts in front of all arrays join the first one."""
    rank = len(arrays[0].shape)

    def on_host(*values: Any) -> Array:
        views = [_interop.numpy_view(value, "array") for value in values]
        outer = views[0].ndim - rank
        if outer == 0:
            return compute(*views)
        front = views[0].shape[:outer]
        found = compute(*(view.reshape(-1, *view.shape[outer + 1 :]) for view in views))
        return found.reshape(*front, -1, *found.shape[1:])

    result = jax.ShapeDtypeStruct(tuple(shape), arrays[0].dtype)  # type: ignore[no-untyped-call]
    return jax.pure_callback(on_host, result, *arrays, vmap_method="broadcast_all")


# The sum, its transposed and the products of both ends are one trilinear form, sum_e w_e x_e . s_e, with one
# of its arguments left out; the derivatives of each are the other two. Weights are absent where all are 1.


@jax.custom_vjp
def _gather_sum(features: Any, neighbours: Any, *weights: Any) -> Any:
    def compute(x: Array, table: Array, *w: Array) -> Array:
        return _edges.gather_sum(x, table, w[0] if w else None)

    shape = (*neighbours.shape[:2], *features.shape[2:])
    return _call(compute, shape, features, neighbours, *weights)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _transposed(sources: int, sums: Any, neighbours: Any, *weights: Any) -> Any:
    def compute(s: Array, table: Array, *w: Array) -> Array:
        return _edges.gather_sum_transposed(s, table, w[0] if w else None, sources)

    shape = (sums.shape[0], sources, *sums.shape[2:])
    return _call(compute, shape, sums, neighbours, *weights)


@jax.custom_vjp
def _products(features: Any, sums: Any, neighbours: Any) -> Any:
    shape = (*neighbours.shape, features.shape[2])
    return _call(_edges.gather_sum_products, shape, features, sums, neighbours)


def _keep_sum(features: Any, neighbours: Any, *weights: Any) -> tuple[Any, Any]:
    return _gather_sum(features, neighbours, *weights), (features, neighbours, weights)


def _differentiate_sum(kept: tuple[Any, ...], grad: Any) -> tuple[Any, ...]:
    features, neighbours, weights = kept
    of_features = _transposed(features.shape[1], grad, neighbours, *weights)
    of_weights = (_products(features, grad, neighbours),) if weights else ()
    return (of_features, None, *of_weights)


def _keep_transposed(sources: int, sums: Any, neighbours: Any, *weights: Any) -> tuple[Any, Any]:
    return _transposed(sources, sums, neighbours, *weights), (sums, neighbours, weights)


def _differentiate_transposed(sources: int, kept: tuple[Any, ...], grad: Any) -> tuple[Any, ...]:
    sums, neighbours, weights = kept
    of_weights = (_products(grad, sums, neighbours),) if weights else ()
    return (_gather_sum(grad, neighbours, *weights), None, *of_weights)


def _keep_products(features: Any, sums: Any, neighbours: Any) -> tuple[Any, Any]:
    return _products(features, sums, neighbours), (features, sums, neighbours)


def _differentiate_products(kept: tuple[Any, ...], grad: Any) -> tuple[Any, ...]:
    features, sums, neighbours = kept
    return (
        _transposed(features.shape[1], sums, neighbours, grad),
        _gather_sum(features, neighbours, grad),
        None,
    )


_gather_sum.defvjp(_keep_sum, _differentiate_sum)
_transposed.defvjp(_keep_transposed, _differentiate_transposed)
_products.defvjp(_keep_products, _differentiate_products)


@jax.custom_vjp
def _edge_softmax(scores: Any, neighbours: Any) -> Any:
    return _call(_edges.edge_softmax, scores.shape, scores, neighbours)


@jax.custom_vjp
def _pull(grad: Any, weights: Any) -> Any:
    """weights * (grad - (weights * grad).sum(1))."""
    return _call(_edges.edge_softmax_backward, grad.shape, grad, weights)


def _keep_softmax(scores: Any, neighbours: Any) -> tuple[Any, Any]:
    weights = _edge_softmax(scores, neighbours)
    return weights, weights


def _differentiate_softmax(weights: Any, grad: Any) -> tuple[Any, None]:
    return _pull(grad, weights), None


def _keep_pull(grad: Any, weights: Any) -> tuple[Any, Any]:
    return _pull(grad, weights), (grad, weights)


def _differentiate_pull(kept: tuple[Any, Any], grad: Any) -> tuple[Any, Any]:
    pulled, weights = kept
    mean = (weights * pulled).sum(1, keepdims=True)
    return _pull(grad, weights), grad * (pulled - mean) - pulled * (weights * grad).sum(1, keepdims=True)


_edge_softmax.defvjp(_keep_softmax, _differentiate_softmax)
_pull.defvjp(_keep_pull, _differentiate_pull)
