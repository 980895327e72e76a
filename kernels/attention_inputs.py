"""What the attention kernels share on the host: layouts and checks of arrays, shares of long loops."""

from __future__ import annotations

import math
import struct

import torch
import triton

#: Programs that fill any GPU; where there are fewer, loops are shared out. Not asked of the device, so that
#: shares are the same on all of them.
PROGRAMS = 1024
SPARE_BITS = 40  # sums over this many keys, as powers of 2, may not overflow: as in the C++ kernels


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def in_two_parts(value: float) -> tuple[float, float]:
    """A float64 as the sum of two float32, the only floating-point type of a kernel's scalar arguments."""
    high = struct.unpack("f", struct.pack("f", value))[0]
    return high, value - high


def precision(dtype: torch.dtype) -> str:
    """Of products of matrices: float32 is multiplied as three products of TF32."""
    return "tf32x3" if dtype == torch.float32 else "ieee"


def rows(tensor: torch.Tensor) -> torch.Tensor:
    """[B, H, L, D] with the elements of a row side by side, in place where they are."""
    tensor = tensor.detach()
    return tensor if tensor.stride(3) == 1 or tensor.shape[3] == 1 else tensor.contiguous()


def empty_rows(like: torch.Tensor, length: int | None = None) -> torch.Tensor:
    """Rows as those of `like`, or of another `length`, that lie in memory as they do: in the order of the
    dimensions, or with the heads inside, as [B, L, H, D]."""
    batch, heads, count, dims = like.shape
    dims = dims if length is None else length
    if not like.is_contiguous() and like.transpose(1, 2).is_contiguous():
        return like.new_empty(batch, count, heads, dims).transpose(1, 2)
    return like.new_empty(batch, heads, count, dims)


def strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """Of batch, head and row."""
    return tensor.stride()[-4:-1]


def strides_of_parts(tensor: torch.Tensor) -> tuple[int, ...]:
    """Of batch, head, row and part; without parts that of the last is 0."""
    return (*strides(tensor), tensor.stride(0) if tensor.dim() > 4 else 0)


def padded(size: int, most: int = 64) -> int:
    """Elements of a row that are multiplied at a time: what products of matrices take, at least 16."""
    return min(most, max(16, triton.next_power_of_2(size)))


def share(length: int, programs: int, block: int, least: int) -> tuple[int, int]:
    """(run, parts): a loop of `length` is cut into `parts` runs, of whole blocks, where there are too few
    `programs`. A run is no shorter than `least`, but for the last."""
    length = max(1, length)
    wanted = min(triton.cdiv(PROGRAMS, max(1, programs)), triton.cdiv(length, least))
    run = triton.cdiv(triton.cdiv(length, wanted), block) * block
    return run, triton.cdiv(length, run)


def check_values(named: dict[str, torch.Tensor], terms: int, scale: float) -> None:
    """Refuse queries, keys and values that are not finite, or so large that sums could overflow.

    A score is the sum of `terms` products of a query's and a key's element, times `scale`.
    """
    full = {name: tensor for name, tensor in named.items() if tensor.numel()}
    ends = torch.stack([end for tensor in full.values() for end in torch.aminmax(tensor)]) if full else None
    found = [] if ends is None else ends.tolist()
    sizes = {
        name: (abs(least), abs(most)) for name, least, most in zip(full, found[::2], found[1::2], strict=True)
    }
    dtype = accumulator(next(iter(named.values())).dtype)
    allowed = (1024 if dtype == torch.float64 else 128) - SPARE_BITS

    def logarithm(name: str) -> float:
        ends = sizes.get(name, (0.0, 0.0))
        if not all(map(math.isfinite, ends)):
            _refuse_not_finite(name, named[name])
        return math.log2(max(ends)) if max(ends) > 0 else -math.inf

    queries, keys, values = named
    reach = logarithm(queries) + logarithm(keys) + math.log2(max(1, terms)) + max(0.0, math.log2(scale))
    if reach > allowed:
        _refuse_size(f"{queries} and {keys}", "scores", allowed, reach)
    if logarithm(values) > allowed:
        _refuse_size(values, "values", allowed, logarithm(values))


def _refuse_not_finite(name: str, tensor: torch.Tensor) -> None:
    place = int((~tensor.isfinite()).flatten().nonzero()[0])
    raise ValueError(
        f"{name} must be finite, but element {place} (in row-major order) is "
        f"{tensor.flatten()[place].item():g}"
    )


def _refuse_size(name: str, of: str, allowed: int, reach: float) -> None:
    raise ValueError(
        f"{name} must be small enough for {of} of at most 2^{allowed}, "
        f"but some can reach 2^{math.ceil(reach)}"
    )
