"""`wasserstein` and `wasserstein_matrix` as PyTorch operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _interop
from medkernels.topology._wasserstein import (
    Device,
    Options,
    device_module,
    differentiate,
    match,
    matrix_on_device,
    starts,
)
from medkernels.topology._wasserstein import matrix as matrix_of_arrays


def distance(a: Any, b: Any, options: Options, return_matching: bool) -> Any:
    """The distance of two torch tensors, or of one and a NumPy array."""
    like = a if isinstance(a, Tensor) else b
    a, b = (x if isinstance(x, Tensor) else torch.as_tensor(x, device=like.device) for x in (a, b))
    if a.device != b.device:
        raise ValueError(f"b is on {b.device}, but a is on {a.device}: use one device")
    found, partner = _wasserstein(a, b, *options)
    return (found, _matching(a, b, partner, options.drop)) if return_matching else found


def _matching(a: Tensor, b: Tensor, partner: Tensor, drop: bool) -> Tensor:
    """Rows of `a` in order, then those of `b` that no row of `a` goes with."""
    matched = torch.zeros(len(b) + 1, dtype=torch.bool, device=b.device).index_fill(0, partner + 1, True)
    rows_a, rows_b = torch.arange(len(a), device=a.device), torch.arange(len(b), device=b.device)
    of_a = torch.stack([rows_a, partner], 1)
    of_b = torch.stack([torch.full_like(rows_b, -1), rows_b], 1)
    alone = ~matched[1:]
    if drop:
        of_a = of_a[a.isfinite().all(1)]
        alone = alone & b.isfinite().all(1)
    return torch.cat([of_a, of_b[alone]])


def matrix(diagrams: Sequence[Any], others: Sequence[Any] | None, options: Options) -> Tensor:
    """Distances of all pairs of tensors; NumPy arrays among them follow."""
    named = [(f"diagrams[{i}]", x) for i, x in enumerate(diagrams)]
    named += [(f"others[{i}]", x) for i, x in enumerate(others or [])]
    first, like = next((name, x) for name, x in named if isinstance(x, Tensor))
    tensors = []
    for name, x in named:
        tensors.append(x if isinstance(x, Tensor) else torch.as_tensor(x, device=like.device))
        if tensors[-1].device != like.device:
            raise ValueError(f"{name} is on {x.device}, but {first} is on {like.device}: use one device")
    sets = tensors[: len(diagrams)], tensors[len(diagrams) :]
    found: Tensor = _matrix(*sets, others is None, *options)
    return found


def _host(tensor: Tensor, name: str) -> Any:
    if tensor.device.type != "cpu":
        _backends.fall_back_to_cpu("wasserstein", f"there is no kernel for {tensor.device.type!r} tensors")
    return _interop.numpy_view(tensor.cpu(), name)


@torch.library.custom_op("medkernels::wasserstein", mutates_args=())
def _wasserstein(a: Tensor, b: Tensor, order: float, ground: float, drop: bool) -> tuple[Tensor, Tensor]:
    """The distance, float64, and the partner of each row of `a`."""
    found, partner = match(_host(a, "a"), _host(b, "b"), Options(order, ground, drop))
    return torch.tensor(found, dtype=torch.float64, device=a.device), torch.from_numpy(partner).to(a.device)


@_wasserstein.register_fake
def _(a: Tensor, b: Tensor, order: float, ground: float, drop: bool) -> tuple[Tensor, Tensor]:
    return a.new_empty((), dtype=torch.float64), a.new_empty(a.shape[:1], dtype=torch.int64)


@torch.library.custom_op("medkernels::wasserstein_backward", mutates_args=())
def _backward(
    upstream: Tensor, found: Tensor, partner: Tensor, a: Tensor, b: Tensor, order: float, ground: float
) -> tuple[Tensor, Tensor]:
    grads = differentiate(
        _host(a, "a"), _host(b, "b"), _host(partner, "a"), float(found), order, ground, float(upstream)
    )
    d_a, d_b = (torch.from_numpy(g).to(x) for g, x in zip(grads, (a, b), strict=True))
    return d_a, d_b


@_backward.register_fake
def _(
    upstream: Tensor, found: Tensor, partner: Tensor, a: Tensor, b: Tensor, order: float, ground: float
) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, b, ctx.order, ctx.ground, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output, a, b)


def _differentiate(ctx: Any, upstream: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, None, None, None]:
    d_a, d_b = _backward(upstream, *ctx.saved_tensors, ctx.order, ctx.ground)
    return d_a, d_b, None, None, None


_wasserstein.register_autograd(_differentiate, setup_context=_setup_context)


def _device(device: torch.device) -> Device:
    def allocate(count: int) -> tuple[int, Tensor]:
        memory = torch.empty(count, dtype=torch.uint8, device=device)
        return memory.data_ptr(), memory

    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + cached
    return Device(device.index, torch.cuda.current_stream(device).cuda_stream, free, allocate)


@torch.library.custom_op("medkernels::wasserstein_matrix", mutates_args=())
def _matrix(
    diagrams: Sequence[Tensor],
    others: Sequence[Tensor],
    symmetric: bool,
    order: float,
    ground: float,
    drop: bool,
) -> Tensor:
    """All distances, float64; among the diagrams themselves if `symmetric`."""
    options, like = Options(order, ground, drop), [*diagrams, *others][0]
    device, sets = like.device, [diagrams] if symmetric else [diagrams, others]
    if device.type == "cuda" and (module := device_module(options)) is not None:
        found = like.new_empty((len(sets[0]), len(sets[-1])), dtype=torch.float64)
        bars = [torch.cat([like.new_empty((0, 2)), *items]).double().cpu() for items in sets]
        packed = [(rows.numpy(), starts(items)) for rows, items in zip(bars, sets, strict=True)]
        matrix_on_device(module, packed, options, _device(device), found.data_ptr())
        return found
    if device.type not in ("cpu", "cuda"):
        _backends.fall_back_to_cpu("wasserstein_matrix", f"there is no kernel for {device.type!r} tensors")
    arrays = [[_interop.numpy_view(x.cpu(), "diagrams") for x in items] for items in sets]
    return torch.from_numpy(matrix_of_arrays(arrays[0], None if symmetric else arrays[1], options)).to(device)


@_matrix.register_fake
def _(
    diagrams: Sequence[Tensor],
    others: Sequence[Tensor],
    symmetric: bool,
    order: float,
    ground: float,
    drop: bool,
) -> Tensor:
    columns = len(diagrams) if symmetric else len(others)
    return [*diagrams, *others][0].new_empty((len(diagrams), columns), dtype=torch.float64)
