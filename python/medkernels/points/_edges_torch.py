"""The ops on edges as PyTorch operators, with derivatives of any order: autograd, fake tensors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _device
from medkernels.points import _edges, _edges_device


def gather_sum(features: Tensor, neighbours: Tensor, weights: Tensor | None) -> Tensor:
    """[B, N, H, C], [B, M, k] and [B, M, k, H] to sums [B, M, H, C]."""
    result: Tensor = _gather_sum(features, neighbours, weights)
    return result


def edge_softmax(scores: Tensor, neighbours: Tensor) -> Tensor:
    """[R, k, H] and [R, k] to [R, k, H]."""
    result: Tensor = _edge_softmax(scores, neighbours)
    return result


def _kernels(op: str, tensor: Tensor) -> ModuleType | None:
    """What works on a tensor where it is; None if the CPU is to."""
    if tensor.device.type != "cpu" and not _device.is_on_cuda(tensor):
        _backends.fall_back_to_cpu(op, f"there is no kernel for tensors on {tensor.device}")
    return _edges_device.kernels(op, tensor)


def _host(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().cpu().numpy()


# The sum, its transposed and the products of both ends are one trilinear form, sum_e w_e x_e . s_e, with one
# of its arguments left out; the derivatives of each are the other two.


@torch.library.custom_op("medkernels::gather_sum", mutates_args=())
def _gather_sum(features: Tensor, neighbours: Tensor, weights: Tensor | None) -> Tensor:
    module = _kernels("gather_sum", features)
    if module is not None:
        sums: Tensor = _edges_device.gather_sum(module, features, neighbours, weights)
        return sums
    found = _edges.gather_sum(_host(features), _host(neighbours), _host(weights))
    return torch.from_numpy(found).to(features.device)


@_gather_sum.register_fake
def _(features: Tensor, neighbours: Tensor, weights: Tensor | None) -> Tensor:
    return features.new_empty((*neighbours.shape[:2], *features.shape[2:]))


@torch.library.custom_op("medkernels::gather_sum_transposed", mutates_args=())
def _transposed(sums: Tensor, neighbours: Tensor, weights: Tensor | None, sources: int) -> Tensor:
    module = _kernels("gather_sum", sums)
    if module is not None:
        features: Tensor = _edges_device.gather_sum_transposed(module, sums, neighbours, weights, sources)
        return features
    found = _edges.gather_sum_transposed(_host(sums), _host(neighbours), _host(weights), sources)
    return torch.from_numpy(found).to(sums.device)


@_transposed.register_fake
def _(sums: Tensor, neighbours: Tensor, weights: Tensor | None, sources: int) -> Tensor:
    return sums.new_empty((sums.shape[0], sources, *sums.shape[2:]))


@torch.library.custom_op("medkernels::gather_sum_products", mutates_args=())
def _products(features: Tensor, sums: Tensor, neighbours: Tensor) -> Tensor:
    module = _kernels("gather_sum", features)
    if module is not None:
        weights: Tensor = _edges_device.gather_sum_products(module, features, sums, neighbours)
        return weights
    found = _edges.gather_sum_products(_host(features), _host(sums), _host(neighbours))
    return torch.from_numpy(found).to(features.device)


@_products.register_fake
def _(features: Tensor, sums: Tensor, neighbours: Tensor) -> Tensor:
    return features.new_empty((*neighbours.shape, features.shape[2]))


def _keep_sum(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, neighbours, weights = inputs
    ctx.sources = features.shape[1]
    ctx.save_for_backward(features if weights is not None else None, neighbours, weights)


def _differentiate_sum(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
    features, neighbours, weights = ctx.saved_tensors
    wants_features, _, wants_weights = ctx.needs_input_grad
    return (
        _transposed(grad, neighbours, weights, ctx.sources) if wants_features else None,
        None,
        _products(features, grad, neighbours) if wants_weights else None,
    )


def _keep_transposed(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    sums, neighbours, weights, _ = inputs
    ctx.save_for_backward(sums if weights is not None else None, neighbours, weights)


def _differentiate_transposed(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
    sums, neighbours, weights = ctx.saved_tensors
    wants_sums, _, wants_weights, _ = ctx.needs_input_grad
    return (
        _gather_sum(grad, neighbours, weights) if wants_sums else None,
        None,
        _products(grad, sums, neighbours) if wants_weights else None,
        None,
    )


def _keep_products(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_products(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    features, sums, neighbours = ctx.saved_tensors
    wants_features, wants_sums, _ = ctx.needs_input_grad
    return (
        _transposed(sums, neighbours, grad, features.shape[1]) if wants_features else None,
        _gather_sum(features, neighbours, grad) if wants_sums else None,
        None,
    )


_gather_sum.register_autograd(_differentiate_sum, setup_context=_keep_sum)
_transposed.register_autograd(_differentiate_transposed, setup_context=_keep_transposed)
_products.register_autograd(_differentiate_products, setup_context=_keep_products)


@torch.library.custom_op("medkernels::edge_softmax", mutates_args=())
def _edge_softmax(scores: Tensor, neighbours: Tensor) -> Tensor:
    module = _kernels("edge_softmax", scores)
    if module is not None:
        weights: Tensor = _edges_device.edge_softmax(module, scores, neighbours)
        return weights
    found = _edges.edge_softmax(_host(scores), _host(neighbours))
    return torch.from_numpy(found).to(scores.device)


@_edge_softmax.register_fake
def _(scores: Tensor, neighbours: Tensor) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)


@torch.library.custom_op("medkernels::edge_softmax_backward", mutates_args=())
def _pull(grad: Tensor, weights: Tensor) -> Tensor:
    """weights * (grad - (weights * grad).sum(1))."""
    module = _kernels("edge_softmax", grad)
    if module is not None:
        pulled: Tensor = _edges_device.edge_softmax_backward(module, grad, weights)
        return pulled
    found = _edges.edge_softmax_backward(_host(grad), _host(weights))
    return torch.from_numpy(found).to(grad.device)


@_pull.register_fake
def _(grad: Tensor, weights: Tensor) -> Tensor:
    return torch.empty_like(grad, memory_format=torch.contiguous_format)


def _keep_softmax(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _differentiate_softmax(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (weights,) = ctx.saved_tensors
    return _pull(grad, weights), None


def _keep_pull(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_pull(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    pulled, weights = ctx.saved_tensors
    mean = (weights * pulled).sum(1, keepdim=True)
    return _pull(grad, weights), grad * (pulled - mean) - pulled * (weights * grad).sum(1, keepdim=True)


_edge_softmax.register_autograd(_differentiate_softmax, setup_context=_keep_softmax)
_pull.register_autograd(_differentiate_pull, setup_context=_keep_pull)
