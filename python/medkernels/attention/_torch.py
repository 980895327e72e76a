"""The family as PyTorch operators: autograd, fake tensors, vmap, and the way to the CPU or Triton kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _interop
from medkernels.attention import _op
from medkernels.attention._op import Op, Options, Shape
from medkernels.attention.channel import CHANNEL
from medkernels.attention.knn_memory import KNN_MEMORY
from medkernels.attention.prob_sparse import PROB_SPARSE
from medkernels.attention.set_attention import SET_ATTENTION


def run(op: Op, named: dict[str, Any], options: Callable[[Sequence[Shape]], Options]) -> Tensor:
    """Compute with torch tensors."""
    like = next(array for array in named.values() if isinstance(array, Tensor))
    tensors = [
        array if isinstance(array, Tensor) else torch.as_tensor(array, dtype=like.dtype, device=like.device)
        for array in named.values()
    ]
    _op.check(op, tensors)
    result: Tensor = _OPERATORS[op.name](*tensors, *options([tensor.shape for tensor in tensors]))[0]
    return result


def _triton_kernels(op: Op, tensor: Tensor) -> Any:
    """The Triton kernels for this tensor; None if the CPU computes."""
    if tensor.device.type != "cuda":
        return None
    try:
        return _backends.triton_kernels(op.name)
    except _backends.BackendError as error:
        _backends.fall_back_to_cpu(op.name, str(error))
        return None


def _on_host(op: Op, tensors: Sequence[Tensor]) -> list[Any]:
    device, dtype = tensors[0].device.type, tensors[0].dtype
    if device not in ("cpu", "cuda"):
        _backends.fall_back_to_cpu(op.name, f"there is no kernel for {device!r} tensors")
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"on the CPU arrays must be float32 or float64, not {str(dtype).removeprefix('torch.')}"
        )
    return [_interop.numpy_view(tensor.cpu(), "tensor") for tensor in tensors]


def _empty(op: Op, like: Tensor, shape: Shape) -> Tensor:
    """What a kernel makes: rows that lie in memory as those of `like` do."""
    if op.heads_inside and not like.is_contiguous() and like.transpose(1, 2).is_contiguous():
        batch, heads, count, dims = shape
        return like.new_empty(batch, count, heads, dims).transpose(1, 2)
    return like.new_empty(shape)


def _output_dtype(like: Tensor, name: str | None) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, _op.output_dtype(name, str(like.dtype).removeprefix("torch.")))
    return dtype


def _pack(tensors: Iterable[Tensor]) -> Any:
    """What an operator returns: a tuple of tensors, or the only one."""
    packed = tuple(tensors)
    return packed if len(packed) > 1 else packed[0]


def _define(op: Op) -> Any:
    """Register the forward and backward operators of one op and tie them together."""
    count, outputs = len(op.shapes), 1 + op.kept
    tensors = ", ".join(f"Tensor {name}" for name in op.shapes)
    kept = ", ".join(f"Tensor output{i}" for i in range(outputs))
    results = f"({', '.join(['Tensor'] * outputs)})"
    grads = f"({', '.join(['Tensor'] * op.differentiable)})"

    @torch.library.custom_op(
        f"medkernels::{op.name}", mutates_args=(), schema=f"({tensors}, {op.options}) -> {results}"
    )
    def forward(*args: Any) -> tuple[Tensor, ...]:
        kernels = _triton_kernels(op, args[0])
        if kernels is not None:
            made: tuple[Tensor, ...] = kernels.forward(args[:count], args[count:])
            return made
        arrays = _on_host(op, args[:count])
        return tuple(torch.from_numpy(a).to(args[0].device) for a in _op.forward(op, arrays, args[count:]))

    @forward.register_fake
    def _(*args: Any) -> tuple[Tensor, ...]:
        (shape, _), *others = op.outputs([tensor.shape for tensor in args[:count]], args[count:])
        return (
            _empty(op, args[0], shape),
            *(args[0].new_empty(s, dtype=_output_dtype(args[0], dtype)) for s, dtype in others),
        )

    @torch.library.custom_op(
        f"medkernels::{op.name}_backward",
        mutates_args=(),
        schema=f"(Tensor grad, {tensors}, {kept}, {op.options}) -> {grads}",
    )
    def backward(*args: Any) -> Any:
        tensors, options = args[: 1 + count + outputs], args[1 + count + outputs :]
        kernels = _triton_kernels(op, tensors[0])
        if kernels is not None:
            return _pack(kernels.backward(tensors[0], tensors[1 : 1 + count], tensors[1 + count :], options))
        grad, *arrays = _on_host(op, tensors)
        found = _op.backward(op, grad, arrays[:count], arrays[count:], options)
        return _pack(torch.from_numpy(a).to(args[0].device) for a in found)

    @backward.register_fake
    def _(*args: Any) -> Any:
        return _pack(_empty(op, tensor, tensor.shape) for tensor in args[1 : 1 + op.differentiable])

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:count], *output)
        ctx.options = inputs[count:]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        arguments = count + len(ctx.options)
        if grad is None:
            return (None,) * arguments
        found = backward(grad, *ctx.saved_tensors, *ctx.options)
        grads = found if isinstance(found, tuple) else (found,)
        return (*grads, *(None,) * (arguments - len(grads)))

    forward.register_autograd(differentiate, setup_context=setup_context)
    _register_vmap(forward, count)
    _register_vmap(backward, 1 + count + outputs)
    return forward


def _register_vmap(of: Any, tensors: int) -> None:
    """Fold the dimension that vmap maps over into the batch."""

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        folded = []
        for tensor, dim in zip(args[:tensors], in_dims[:tensors], strict=True):
            stacked = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(stacked.flatten(0, 1))
        found = of(*folded, *args[tensors:])
        results = found if isinstance(found, tuple) else (found,)
        unfolded = _pack(r.unflatten(0, (info.batch_size, -1)) for r in results)
        return unfolded, (0,) * len(results) if isinstance(unfolded, tuple) else 0

    of.register_vmap(vmap)


_OPERATORS = {op.name: _define(op) for op in (CHANNEL, KNN_MEMORY, PROB_SPARSE, SET_ATTENTION)}
