"""The family as PyTorch operators: autograd, fake tensors, vmap, and the way to the CPU or Triton kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _interop
from medkernels.render._dispatch import (
    ELLIPSES,
    ELLIPSOIDS,
    Family,
    Look,
    check_arrays,
    check_cost,
    check_cpu_dtype,
    cpu_backward,
    cpu_forward,
)

_SCHEMA = (
    "(Tensor centers, Tensor axes, Tensor {turn}, Tensor colors, Tensor opacity, Tensor background, "
    "SymInt[] size, str composition, str profile, float tau) -> Tensor"
)
_BACKWARD_SCHEMA = (
    "(Tensor grad_image, Tensor centers, Tensor axes, Tensor {turn}, Tensor colors, Tensor opacity, "
    "Tensor background, str composition, str profile, float tau) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def render(family: Family, arrays: dict[str, Any], size: tuple[int, ...], look: Look) -> Tensor:
    """Draw torch tensors."""
    like = next(a for a in arrays.values() if isinstance(a, Tensor))
    tensors: dict[str, Tensor] = {}
    for name, array in arrays.items():
        known = isinstance(array, Tensor)
        tensors[name] = array if known else torch.as_tensor(array, dtype=like.dtype, device=like.device)
    if tensors["opacity"].ndim == 0:
        tensors["opacity"] = tensors["opacity"].expand(tensors["centers"].shape[:2])
    check_arrays(family, tensors, size)
    if like.device.type == "cpu":
        check_cpu_dtype(like.dtype)
    operator = _ELLIPSES if family is ELLIPSES else _ELLIPSOIDS
    image: Tensor = operator(*(tensors[name] for name in family.array_names), size, *look)
    return image


def _numpy_arrays(family: Family, tensors: Sequence[Tensor]) -> dict[str, Any]:
    names = family.array_names
    return {name: _interop.numpy_view(tensor, name) for name, tensor in zip(names, tensors, strict=True)}


def _uses_triton(family: Family, tensor: Tensor) -> bool:
    """Whether Triton draws this tensor; tensors on other devices may fall back to the CPU."""
    if tensor.device.type == "cpu":
        return False
    if tensor.device.type == "cuda":
        try:
            _backends.triton_kernels(family.name)
        except _backends.BackendError as error:
            _backends.fall_back_to_cpu(family.name, str(error))
            return False
        return True
    _backends.fall_back_to_cpu(family.name, f"there is no kernel for {tensor.device.type!r} tensors")
    return False


def _device_memory(device: torch.device) -> int | None:
    """Bytes that torch can still allocate; on a GPU the free ones and those its allocator holds unused."""
    if device.type != "cuda":
        return _backends.available_memory()
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def _define(family: Family) -> Any:
    """Register the forward and backward operators of one op and tie them together."""

    @torch.library.custom_op(
        f"medkernels::{family.name}", mutates_args=(), schema=_SCHEMA.format(turn=family.turn)
    )
    def forward(
        centers: Tensor,
        axes: Tensor,
        turn: Tensor,
        colors: Tensor,
        opacity: Tensor,
        background: Tensor,
        size: Sequence[int],
        composition: str,
        profile: str,
        tau: float,
    ) -> Tensor:
        tensors = (centers, axes, turn, colors, opacity, background)
        look = Look(composition, profile, tau)
        if _uses_triton(family, centers):
            check_cost(colors, tuple(size), centers.element_size(), _device_memory(centers.device))
            kernels = _backends.triton_kernels(family.name)
            image: Tensor = getattr(kernels, f"{family.name}_forward")(*tensors, tuple(size), *look)
            return image
        arrays = _numpy_arrays(family, [t.cpu() for t in tensors])
        return torch.from_numpy(cpu_forward(family, arrays, tuple(size), look)).to(centers.device)

    @forward.register_fake
    def _(
        centers: Tensor, axes: Tensor, turn: Tensor, colors: Tensor, opacity: Tensor, background: Tensor,
        size: Sequence[int], composition: str, profile: str, tau: float,
    ) -> Tensor:  # fmt: skip
        return colors.new_empty((colors.shape[0], colors.shape[2], *size))

    @torch.library.custom_op(
        f"medkernels::{family.name}_backward",
        mutates_args=(),
        schema=_BACKWARD_SCHEMA.format(turn=family.turn),
    )
    def backward(
        grad_image: Tensor,
        centers: Tensor,
        axes: Tensor,
        turn: Tensor,
        colors: Tensor,
        opacity: Tensor,
        background: Tensor,
        composition: str,
        profile: str,
        tau: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        tensors = (centers, axes, turn, colors, opacity, background)
        look = Look(composition, profile, tau)
        if _uses_triton(family, centers):
            kernels = _backends.triton_kernels(family.name)
            size = tuple(grad_image.shape[2:])
            grads = getattr(kernels, f"{family.name}_backward")(grad_image, *tensors, size, *look)
        else:
            arrays = _numpy_arrays(family, [t.cpu() for t in tensors])
            grad = _interop.numpy_view(grad_image.cpu(), "grad_image")
            grads = (torch.from_numpy(g).to(centers.device) for g in cpu_backward(family, grad, arrays, look))
        d_centers, d_axes, d_turn, d_colors, d_opacity, d_background = grads
        return d_centers, d_axes, d_turn, d_colors, d_opacity, d_background

    @backward.register_fake
    def _(
        grad_image: Tensor, centers: Tensor, axes: Tensor, turn: Tensor, colors: Tensor, opacity: Tensor,
        background: Tensor, composition: str, profile: str, tau: float,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        return tuple(t.new_empty(t.shape) for t in (centers, axes, turn, colors, opacity, background))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.look = Look(*inputs[7:])

    def differentiate(ctx: Any, grad_image: Tensor) -> tuple[Tensor | None, ...]:
        return (*backward(grad_image, *ctx.saved_tensors, *ctx.look), None, None, None, None)

    forward.register_autograd(differentiate, setup_context=setup_context)
    _register_vmap(forward, tensors=6, outputs=1)
    _register_vmap(backward, tensors=7, outputs=6)
    return forward


def _register_vmap(operator: Any, tensors: int, outputs: int) -> None:
    """Fold the dimension that vmap maps over into the batch."""

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        folded = []
        for tensor, dim in zip(args[:tensors], in_dims[:tensors], strict=True):
            stacked = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            folded.append(stacked.flatten(0, 1))
        result = operator(*folded, *args[tensors:])
        results = (result,) if outputs == 1 else result
        unfolded = tuple(r.unflatten(0, (info.batch_size, r.shape[0] // info.batch_size)) for r in results)
        return (unfolded[0], 0) if outputs == 1 else (unfolded, (0,) * outputs)

    operator.register_vmap(vmap)


_ELLIPSES = _define(ELLIPSES)
_ELLIPSOIDS = _define(ELLIPSOIDS)
