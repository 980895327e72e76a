"""The family as PyTorch operators: autograd, fake tensors, vmap."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _device, _interop
from medkernels.segmentation import _arrays
from medkernels.segmentation._arrays import Which


def argmax(logits: Tensor, size: Any) -> Tensor:
    """Labels, as `upsample_argmax` says."""
    _arrays.check_logits(logits)
    if logits.device.type == "cpu":
        _arrays.check_cpu_dtype(logits)
    labels: Tensor = _argmax(logits, _arrays.check_size(logits, size))
    return labels


def dice_ce(logits: Any, labels: Any, which: Which) -> tuple[Tensor, Tensor]:
    """Both losses of each item, [B, 2], and how many of its places count, [B]."""
    if not isinstance(logits, Tensor):
        logits = torch.as_tensor(logits, dtype=torch.get_default_dtype(), device=labels.device)
    if not isinstance(labels, Tensor):
        labels = torch.as_tensor(labels, device=logits.device)
    _arrays.check_loss(logits, labels, which)
    if logits.device.type == "cpu":
        _arrays.check_cpu_dtype(logits)
    losses, counts, _ = _dice_ce(logits, labels, *which)
    return losses, counts


def _triton_kernels(name: str, tensor: Tensor) -> ModuleType | None:
    """The kernels for a tensor on a GPU; None where the CPU is to compute."""
    if tensor.device.type != "cuda":
        return None
    try:
        return _backends.triton_kernels(name)
    except _backends.BackendError as error:
        _backends.fall_back_to_cpu(name, str(error))
        return None


def _on_host(name: str, tensors: Sequence[Tensor]) -> list[Any]:
    device = tensors[0].device.type
    if device not in ("cpu", "cuda"):
        _backends.fall_back_to_cpu(name, f"there is no kernel for {device!r} tensors")
    return [_interop.numpy_view(tensor.cpu(), "tensor") for tensor in tensors]


def _label_dtype(logits: Tensor) -> torch.dtype:
    return torch.uint8 if _arrays.in_bytes(logits) else torch.int32


def _accumulated(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a loss."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@torch.library.custom_op(
    "medkernels::upsample_argmax", mutates_args=(), schema="(Tensor logits, SymInt[] size) -> Tensor"
)
def _argmax(logits: Tensor, size: Sequence[int]) -> Tensor:
    kernels = _triton_kernels("upsample_argmax", logits)
    if kernels is not None:
        _arrays.check_memory(logits, size, _device.free_memory(logits.device))
        labels: Tensor = kernels.upsample_argmax_forward(logits, tuple(size), _label_dtype(logits))
        return labels
    (array,) = _on_host("upsample_argmax", [logits])
    return torch.from_numpy(_arrays.cpu_argmax(array, size)).to(logits.device)


@_argmax.register_fake
def _(logits: Tensor, size: Sequence[int]) -> Tensor:
    return logits.new_empty((logits.shape[0], *size), dtype=_label_dtype(logits))


@torch.library.custom_op(
    "medkernels::upsample_dice_ce",
    mutates_args=(),
    schema="(Tensor logits, Tensor labels, bool include_background, int? ignore_index) "
    "-> (Tensor, Tensor, Tensor)",
)
def _dice_ce(
    logits: Tensor, labels: Tensor, include_background: bool, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _triton_kernels("upsample_dice_ce", logits)
    if kernels is not None:
        losses, counts, sums = kernels.upsample_dice_ce_forward(
            logits, labels, include_background, ignore_index
        )
        return losses, counts, sums
    array, own_labels = _on_host("upsample_dice_ce", [logits, labels])
    found = _arrays.cpu_dice_ce(array, own_labels, Which(include_background, ignore_index))
    return tuple(torch.from_numpy(each).to(logits.device) for each in found)  # type: ignore[return-value]


@_dice_ce.register_fake
def _(
    logits: Tensor, labels: Tensor, include_background: bool, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    items, classes = logits.shape[:2]
    return (
        logits.new_empty((items, 2), dtype=_accumulated(logits.dtype)),
        logits.new_empty((items,), dtype=torch.int64),
        logits.new_empty((items, 3, classes), dtype=torch.float64),
    )


@torch.library.custom_op(
    "medkernels::upsample_dice_ce_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor logits, Tensor labels, Tensor sums, bool include_background, "
    "int? ignore_index) -> Tensor",
)
def _dice_ce_backward(
    grad: Tensor,
    logits: Tensor,
    labels: Tensor,
    sums: Tensor,
    include_background: bool,
    ignore_index: int | None,
) -> Tensor:
    kernels = _triton_kernels("upsample_dice_ce", logits)
    if kernels is not None:
        gradient: Tensor = kernels.upsample_dice_ce_backward(
            grad, logits, labels, sums, include_background, ignore_index
        )
        return gradient
    upstream, array, own_labels, kept = _on_host("upsample_dice_ce", [grad, logits, labels, sums])
    which = Which(include_background, ignore_index)
    found = _arrays.cpu_dice_ce_backward(upstream, array, own_labels, kept, which)
    return torch.from_numpy(found).to(logits.device)


@_dice_ce_backward.register_fake
def _(
    grad: Tensor,
    logits: Tensor,
    labels: Tensor,
    sums: Tensor,
    include_background: bool,
    ignore_index: int | None,
) -> Tensor:
    return logits.new_empty(logits.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:2], output[2])
    ctx.which = inputs[2:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None
    return _dice_ce_backward(grad, *ctx.saved_tensors, *ctx.which), None, None, None


_dice_ce.register_autograd(_differentiate, setup_context=_setup_context)


def _register_vmap(operator: Any, tensors: int) -> None:
    """Fold the dimension that vmap maps over into the batch."""

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        folded = []
        for tensor, dim in zip(args[:tensors], in_dims[:tensors], strict=True):
            stacked = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(stacked.flatten(0, 1))
        found = operator(*folded, *args[tensors:])
        results = (found,) if isinstance(found, Tensor) else found
        unfolded = tuple(
            each.unflatten(0, (info.batch_size, each.shape[0] // info.batch_size)) for each in results
        )
        return (unfolded[0], 0) if isinstance(found, Tensor) else (unfolded, (0,) * len(unfolded))

    operator.register_vmap(vmap)


_register_vmap(_argmax, 1)
_register_vmap(_dice_ce, 2)
_register_vmap(_dice_ce_backward, 4)
