"""The memory bank against a list that is cut off at its front."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk


def rows(count: int, first: int) -> torch.Tensor:
    """[2, 3, count, 4]: row i is first + i everywhere, with the sequence and head as fractions."""
    numbers = torch.arange(first, first + count, dtype=torch.float64)[None, None, :, None]
    head = torch.arange(6, dtype=torch.float64).reshape(2, 3, 1, 1) / 16
    return (numbers + head).expand(2, 3, count, 4).contiguous()


@given(capacity=st.integers(1, 12), counts=st.lists(st.integers(0, 30), max_size=8), kind=st.booleans())
def test_keeps_the_last(capacity: int, counts: list[int], kind: bool) -> None:
    bank = mk.attention.MemoryBank(capacity)
    total = 0
    for count in counts:
        keys = rows(count, total)
        bank.append(*((keys, -keys[..., :2]) if kind else (keys.numpy(), -keys[..., :2].numpy())))
        total += count
        assert len(bank) == min(total, capacity)
        held = np.sort(np.asarray(bank.keys), axis=2)
        kept = min(total, capacity)
        np.testing.assert_array_equal(held, rows(kept, total - kept).numpy())
        np.testing.assert_array_equal(np.asarray(bank.values), -np.asarray(bank.keys)[..., :2])
        assert isinstance(bank.keys, torch.Tensor if kind else np.ndarray)


def test_entries_are_copies_without_derivatives() -> None:
    bank = mk.attention.MemoryBank(5)
    keys = rows(3, 0).requires_grad_()
    bank.append(keys * 2, keys * 3)
    assert not bank.keys.requires_grad
    held = bank.keys.clone()
    with torch.no_grad():
        keys.zero_()
    assert torch.equal(bank.keys, held)
    assert repr(bank) == "MemoryBank(capacity=5) with 3 entries"


def test_attend() -> None:
    bank = mk.attention.MemoryBank(40)
    random = torch.Generator().manual_seed(0)
    q = torch.randn(2, 3, 7, 4, generator=random)
    local, gate = torch.randn(2, 3, 7, 5, generator=random), torch.randn(3, generator=random)
    with pytest.raises(ValueError, match="an empty bank needs local and gate"):
        bank.attend(q)
    assert bank.attend(q, gate=gate, local=local) is local
    for _ in range(4):
        bank.append(torch.randn(2, 3, 15, 4, generator=random), torch.randn(2, 3, 15, 5, generator=random))
    options: dict[str, Any] = {"k": 6, "scale": 0.7, "gate": gate, "local": local}
    wanted = mk.attention.knn_memory(q, bank.keys, bank.values, **options)
    assert torch.equal(bank.attend(q, **options), wanted)


def test_clear_makes_room_for_other_arrays() -> None:
    bank = mk.attention.MemoryBank(5)
    bank.append(rows(3, 0), rows(3, 0))
    bank.clear()
    assert len(bank) == 0
    assert bank.keys is None
    assert bank.values is None
    bank.append(rows(3, 0)[:1, :1].numpy(), rows(3, 0)[:1, :1].numpy())
    assert bank.keys.shape == (1, 1, 3, 4)


def test_refusals() -> None:
    for capacity, error in ((0, ValueError), (2.0, TypeError), (None, TypeError)):
        with pytest.raises(error, match="capacity must be"):
            mk.attention.MemoryBank(capacity)  # type: ignore[arg-type]
    bank = mk.attention.MemoryBank(5)
    good = rows(3, 0)
    cases: list[tuple[tuple[Any, Any], type[Exception], str]] = [
        ((good[0], good), ValueError, r"keys must have shape \[B, H, N, D\]"),
        ((good, good[:, :, :2]), ValueError, r"values must have shape \[B, H, N, E\] with N = 3"),
        ((good, good.float()), TypeError, "values is torch.float32, but keys is torch.float64"),
        ((good.long(), good.long()), TypeError, "keys must be of a floating dtype, not torch.int64"),
        ((good.tolist(), good), TypeError, "keys must be a torch tensor or NumPy array, not list"),
        ((good, good.numpy()), TypeError, "values is a numpy array, but keys is a torch array"),
        ((good, good.to("meta")), ValueError, "values is on meta, but the bank is on cpu"),
    ]
    for arrays, error, message in cases:
        with pytest.raises(error, match=message):
            bank.append(*arrays)
        assert len(bank) == 0
    bank.append(good, good)
    later: list[tuple[tuple[Any, Any], type[Exception], str]] = [
        ((good.float(), good.float()), TypeError, "keys is torch.float32, but the bank holds torch.float64"),
        ((good.numpy(), good.numpy()), (ValueError, TypeError), "the bank"),  # type: ignore[list-item]
        ((good[:1], good[:1]), ValueError, r"keys must have shape \[2, 3, N, 4\] as those in the bank"),
        ((good, good[..., :2]), ValueError, r"values must have shape \[2, 3, N, 4\]"),
    ]
    for arrays, error, message in later:
        with pytest.raises(error, match=message):
            bank.append(*arrays)
    assert torch.equal(bank.keys, good)
