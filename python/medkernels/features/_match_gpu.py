"""What `match` does with descriptors in the memory of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor

from medkernels import _backends, _checks
from medkernels._device import free_memory
from medkernels._items import Items, Kind, placed

#: The greatest size of a number for each dtype, and what messages say of it.
LIMITS = {
    torch.float32: (torch.finfo(torch.float32).max, "finite"),
    torch.float64: (1e150, "finite and at most 1e150 in size"),
}

#: Bytes that one number needs beside itself: in float64 on the way to float32, and once more where sets of a
#: batch lie side by side.
BYTES_OF_A_NUMBER = 20


def match(kind: Kind, first: Items, second: Items, ratio: float, mutual: bool) -> list[tuple[Any, Any]]:
    """Matches and distances of each pair of sets, on their device and of their kind."""
    sets = [placed(kind, items.arrays) for items in (first, second)]
    restore: Callable[[Tensor], Any] | None = None
    if kind.framework == "cupy":
        import cupy

        sets = [[torch.utils.dlpack.from_dlpack(array) for array in arrays] for arrays in sets]
        restore = cupy.from_dlpack
    with torch.cuda.device(sets[0][0].device), torch.no_grad():
        found = match_tensors(sets[0], sets[1], (first.names, second.names), ratio, mutual)
    if restore is None:
        return found
    return [(restore(matches), restore(distances)) for matches, distances in found]


def match_tensors(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    names: tuple[Sequence[str], Sequence[str]],
    ratio: float,
    mutual: bool,
) -> list[tuple[Tensor, Tensor]]:
    """The same of tensors on one device, where Triton runs; sets of one length go to the kernels together."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for length in sorted({a.shape[1] for a in first}):
        chosen = [i for i, a in enumerate(first) if a.shape[1] == length]
        sets = [[items[i] for i in chosen] for items in (first, second)]
        for items, labels in zip(sets, names, strict=True):
            _check_values(items, [labels[i] for i in chosen])
        found |= zip(chosen, _match_alike(sets[0], sets[1], ratio, mutual), strict=True)
    return [found[i] for i in range(len(first))]


def _check_values(items: Sequence[Tensor], names: Sequence[str]) -> None:
    limit, wanted = LIMITS.get(items[0].dtype, (None, ""))
    if limit is None or all(item.numel() == 0 for item in items):
        return
    # NaN passes through both maxima and is not at most anything.
    tops = torch.stack([item.abs().amax() for item in items if item.numel()])
    if tops.amax().item() <= limit:
        return
    for item, name in zip(items, names, strict=True):
        bad = (~(item.abs() <= limit)).flatten().nonzero()
        if len(bad):
            place = int(bad[0])
            raise ValueError(
                f"{name} must be {wanted}, but element {place} (in row-major order) is "
                f"{item.flatten()[place].item():g}"
            )


def _match_alike(
    first: Sequence[Tensor], second: Sequence[Tensor], ratio: float, mutual: bool
) -> list[tuple[Tensor, Tensor]]:
    """Matches and distances of pairs of sets whose rows have one length."""
    kernels = _backends.triton_kernels("match")
    device, dtype = first[0].device, first[0].dtype
    numbers = sum(t.numel() for t in (*first, *second))
    if device.type == "cuda":
        name = f"d1 and d2 with {numbers} numbers"
        _checks.check_memory(name, numbers * BYTES_OF_A_NUMBER, free_memory(device))
    queries, targets = (
        kernels.Sets(torch.cat(list(sets)), [0, *accumulate(len(t) for t in sets)])
        for sets in (first, second)
    )
    near = kernels.two_nearest(queries, targets)
    alike = near.squared == near.second_squared
    stands_out = near.squared <= ratio * ratio * near.second_squared
    kept = (near.rows >= 0) & torch.where(alike, ratio >= 1, stands_out)
    if mutual:
        kept &= _looks_back(kernels, queries, targets, near.rows, kept)
    rows = kept.nonzero()[:, 0]
    pairs = torch.stack([rows, near.rows[rows]], 1)
    distances = near.squared[rows].sqrt().to(torch.float64 if dtype == torch.float64 else torch.float32)
    ends = torch.searchsorted(rows, torch.tensor(queries.starts, device=device)).tolist()
    return [
        (pairs[a:b] - torch.tensor([queries.starts[i], targets.starts[i]], device=device), distances[a:b])
        for i, (a, b) in enumerate(pairwise(ends))
    ]


def _joined(sets: Sequence[Tensor]) -> Tensor:
    return sets[0].contiguous() if len(sets) == 1 else torch.cat(list(sets))


def _looks_back(kernels: Any, queries: Any, targets: Any, nearest: Tensor, kept: Tensor) -> Tensor:
    """Whether a query is the nearest one of its nearest target, where it is kept."""
    matched = torch.zeros(len(targets.values) + 1, dtype=torch.int64, device=kept.device)
    matched[nearest[kept] + 1] = 1
    places = matched.cumsum(0)  # of each row, how many matched ones come before it
    starts = places[torch.tensor(targets.starts, device=kept.device)].tolist()
    back = kernels.two_nearest(kernels.Sets(targets.values[matched[1:] > 0], starts), queries)
    looking = nearest.clamp(min=0)
    chosen = torch.cat([back.rows, back.rows.new_full((1,), -1)])[places[looking]]
    return chosen == torch.arange(len(nearest), device=kept.device)
