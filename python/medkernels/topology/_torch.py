"""`vietoris_rips` as a PyTorch operator: autograd, and fake tensors with unknown numbers of rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from medkernels import _backends, _interop
from medkernels.topology._items import Items
from medkernels.topology._rips import Diagram, Options, diagrams_of_arrays
from medkernels.topology._rips_cuda import DeviceClouds, diagrams_of_device, joined

_SCHEMA = "(Tensor[] clouds, str kind, str metric, int max_dim, float threshold) -> Tensor[]"


def diagrams(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges of each dimension of each item."""
    flat = _vietoris_rips(items.arrays, *options)
    dims = options.max_dim + 1
    pairs = list(zip(flat[0::2], flat[1::2], strict=True))
    return [pairs[k : k + dims] for k in range(0, len(pairs), dims)]


@torch.library.custom_op("medkernels::vietoris_rips", mutates_args=(), schema=_SCHEMA)
def _vietoris_rips(
    clouds: Sequence[Tensor], kind: str, metric: str, max_dim: int, threshold: float
) -> list[Tensor]:
    """Intervals [n, 2] and edges [n, 4] in turn, of every dimension of the first cloud, of the second, ..."""
    device = clouds[0].device
    names = [f"{kind}[{i}]" for i in range(len(clouds))] if len(clouds) > 1 else [kind]
    if device.type == "cuda":
        module = _backends.cuda_kernels("vietoris_rips")
        if module is not None:
            return _on_device(module, clouds, names, Options(kind, metric, max_dim, threshold))
    elif device.type != "cpu":
        _backends.fall_back_to_cpu("vietoris_rips", f"there is no kernel for {device.type!r} tensors")
    arrays = [_interop.numpy_view(cloud.cpu(), name) for cloud, name in zip(clouds, names, strict=True)]
    found = diagrams_of_arrays(arrays, names, Options(kind, metric, max_dim, threshold))
    flat: list[Tensor] = []
    for item in found:
        for intervals, edges in item:
            flat += [torch.from_numpy(intervals).to(device), torch.from_numpy(edges).long().to(device)]
    return flat


def _on_device(
    module: ModuleType, clouds: Sequence[Tensor], names: Sequence[str], options: Options
) -> list[Tensor]:
    device, ready = clouds[0].device, [cloud.contiguous() for cloud in clouds]
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

    def allocate(count: int) -> tuple[int, Tensor]:
        memory = torch.empty(count, dtype=torch.uint8, device=device)
        return memory.data_ptr(), memory

    found = diagrams_of_device(
        module,
        DeviceClouds(
            pointers=[cloud.data_ptr() for cloud in ready],
            shapes=[(cloud.shape[0], cloud.shape[1]) for cloud in ready],
            names=names,
            dtype=str(clouds[0].dtype).removeprefix("torch."),
            device=device.index,
            stream=torch.cuda.current_stream(device).cuda_stream,
            to_host=lambda i: _interop.numpy_view(ready[i].cpu(), names[i]),
            free=torch.cuda.mem_get_info(device)[0] + cached,
            allocate=allocate,
        ),
        options,
    )
    *arrays, counts = joined(found)
    intervals, edges = (torch.split(torch.from_numpy(array).to(device), counts) for array in arrays)
    # Results of an operator must not share memory.
    return [part.clone() for pair in zip(intervals, edges, strict=True) for part in pair]


@_vietoris_rips.register_fake
def _(clouds: Sequence[Tensor], kind: str, metric: str, max_dim: int, threshold: float) -> list[Tensor]:
    flat: list[Tensor] = []
    for cloud in clouds:
        for _dim in range(max_dim + 1):
            count = torch.library.get_ctx().new_dynamic_size()
            flat += [cloud.new_empty((count, 2)), cloud.new_empty((count, 4), dtype=torch.int64)]
    return flat


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.count = len(inputs[0])
    ctx.kind, ctx.metric = inputs[1:3]
    ctx.save_for_backward(*inputs[0], *output[1::2])


def _differentiate(ctx: Any, grads: Sequence[Tensor]) -> tuple[list[Tensor], None, None, None, None]:
    clouds, edges = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
    dims = len(edges) // ctx.count
    grad = torch.cat(list(grads[0::2])).reshape(-1)
    sizes = [cloud.shape[0] if ctx.kind == "points" else cloud.numel() for cloud in clouds]
    firsts = [0, *accumulate(sizes)]
    if ctx.kind == "points":
        ends = torch.cat([edge + firsts[k // dims] for k, edge in enumerate(edges)]).reshape(-1, 2)
        pulled = torch.split(_pull_points(clouds, ends, grad, ctx.metric), sizes)
        return [part[:, : c.shape[1]] for part, c in zip(pulled, clouds, strict=True)], None, None, None, None
    place = torch.cat(
        [
            edge[:, 0::2] * clouds[k // dims].shape[0] + edge[:, 1::2] + firsts[k // dims]
            for k, edge in enumerate(edges)
        ]
    ).reshape(-1)
    real = torch.cat([edge[:, 0::2] != edge[:, 1::2] for edge in edges]).reshape(-1)
    half = grad.new_zeros(sum(sizes)).index_add(0, place.clamp(min=0), torch.where(real, grad / 2, 0.0))
    parts = [part.reshape(c.shape) for part, c in zip(torch.split(half, sizes), clouds, strict=True)]
    return [part + part.T for part in parts], None, None, None, None


def _pull_points(clouds: Sequence[Tensor], ends: Tensor, grad: Tensor, metric: str) -> Tensor:
    """Gradient in all points, one cloud after another; edges [m, 2], gradients [m] of their lengths."""
    width = max(cloud.shape[1] for cloud in clouds)
    points = torch.cat([torch.nn.functional.pad(cloud, (0, width - cloud.shape[1])) for cloud in clouds])
    i, j = ends.clamp(min=0).unbind(1)
    # Births of components and deaths that never come have i = j; what arrives for them may be NaN.
    pull = torch.where(i != j, grad, 0.0)[:, None] * _direction(metric, points[i] - points[j])
    return torch.zeros_like(points).index_add(0, i, pull).index_add(0, j, -pull)


def _direction(metric: str, difference: Tensor) -> Tensor:
    """Gradient [n, D] of the length of an edge in its first point; 0 for an edge of length 0."""
    if metric == "manhattan":
        return difference.sign()
    size, place = difference.detach().abs().max(-1, keepdim=True)
    if metric == "chebyshev":
        return torch.zeros_like(difference).scatter(-1, place, difference.gather(-1, place).sign())
    # Scaled first, so that squares neither vanish nor overflow.
    unit = difference / torch.where(size > 0, size, 1.0)
    length = torch.where(size > 0, unit.square().sum(-1, keepdim=True), 1.0).sqrt()
    return unit / length


_vietoris_rips.register_autograd(_differentiate, setup_context=_setup_context)
