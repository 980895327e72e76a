"""The ops between points and grids as PyTorch operators: autograd, fake tensors, vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _device, _interop
from medkernels.points import _grids, _grids_device
from medkernels.points._grids import DEVOXELIZE, GRID_ATOMS, VOXELIZE, Op, Options


def run(op: Op, tensors: Sequence[Tensor], counts: Sequence[Any], options: Options) -> Tensor:
    """Compute with tensors."""
    result: Tensor = _OPERATORS[op.name](*tensors, list(counts), *options)
    return result


def _has_kernels(op: Op, tensor: Tensor) -> bool:
    """Whether there is what works on a tensor where it is; the CPU is to if there is not."""
    if _device.is_on_cuda(tensor):
        return _backends.cuda_kernels(op.name) is not None
    if tensor.device.type != "cpu":
        _backends.fall_back_to_cpu(op.name, f"there is no kernel for tensors on {tensor.device}")
    return False


def _host(op: Op, tensors: Sequence[Tensor]) -> list[Any]:
    names = ("the gradient", *op.arrays)[-len(tensors) :]
    return [_interop.numpy_view(t.cpu(), name) for t, name in zip(tensors, names, strict=True)]


def _define(op: Op) -> Any:
    """Register the forward and backward operators of one op and tie them together."""
    count = len(op.arrays)
    schema = ", ".join(f"Tensor {name}" for name in op.arrays) + f", SymInt[] counts, {op.options}"
    results = ", ".join(["Tensor"] * len(op.wanted))
    results = f"({results})" if len(op.wanted) > 1 else results

    @torch.library.custom_op(f"medkernels::{op.name}", mutates_args=(), schema=f"({schema}) -> Tensor")
    def forward(*args: Any) -> Tensor:
        tensors, counts, options = args[:count], args[count], args[count + 1 :]
        if _has_kernels(op, tensors[0]):
            result: Tensor = _grids_device.forward(op, tensors, counts, options)
            return result
        return torch.from_numpy(_grids.forward(op, _host(op, tensors), counts, options)).to(tensors[0].device)

    @forward.register_fake
    def _(*args: Any) -> Tensor:
        tensors, counts, options = args[:count], args[count], args[count + 1 :]
        empty: Tensor = tensors[0].new_empty(
            tuple(op.shape([t.shape for t in tensors], len(counts), options))
        )
        return empty

    @torch.library.custom_op(
        f"medkernels::{op.name}_backward", mutates_args=(), schema=f"(Tensor grad, {schema}) -> {results}"
    )
    def backward(*args: Any) -> Any:
        tensors, counts, options = args[: count + 1], args[count + 1], args[count + 2 :]
        if _has_kernels(op, tensors[1]):
            grads = tuple(_grids_device.backward(op, tensors[0], tensors[1:], counts, options))
        else:
            grad, *arrays = _host(op, tensors)
            found = _grids.backward(op, grad, arrays, counts, options)
            grads = tuple(torch.from_numpy(each).to(tensors[0].device) for each in found)
        return grads if len(grads) > 1 else grads[0]

    @backward.register_fake
    def _(*args: Any) -> Any:
        grads = tuple(args[1 + i].new_empty(args[1 + i].shape) for i in op.wanted)
        return grads if len(grads) > 1 else grads[0]

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:count])
        ctx.rest = inputs[count:]

    def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = backward(grad, *ctx.saved_tensors, *ctx.rest)
        grads: list[Tensor | None] = [None] * (count + len(ctx.rest))
        for i, each in zip(op.wanted, found if len(op.wanted) > 1 else [found], strict=True):
            grads[i] = each
        return tuple(grads)

    forward.register_autograd(differentiate, setup_context=setup_context)
    _register_vmap(forward, count, 1)
    _register_vmap(backward, count + 1, len(op.wanted))
    return forward


def _register_vmap(operator: Any, tensors: int, outputs: int) -> None:
    """The dimension that vmap maps over becomes more items."""

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        size = info.batch_size
        folded = []
        for tensor, dim in zip(args[:tensors], in_dims[:tensors], strict=True):
            stacked = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(stacked.flatten(0, 1))
        result = operator(*folded, list(args[tensors]) * size, *args[tensors + 1 :])
        results = (result,) if outputs == 1 else result
        unfolded = tuple(r.unflatten(0, (size, r.shape[0] // size)) for r in results)
        return (unfolded[0], 0) if outputs == 1 else (unfolded, (0,) * outputs)

    operator.register_vmap(vmap)


_OPERATORS = {op.name: _define(op) for op in (GRID_ATOMS, VOXELIZE, DEVOXELIZE)}
