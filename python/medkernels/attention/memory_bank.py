"""A memory of past keys and values."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkernels import _checks, _interop
from medkernels.attention.knn_memory import knn_memory


class MemoryBank:
    """The last keys and values of every head, first in, first out.

    Entries are copies without derivatives, on the device of the arrays that are appended. The first append
    settles the kind, dtype and sizes of the arrays; `clear` makes the bank ready for any others.

    Parameters
    ----------
    capacity
        Entries that each head of each sequence keeps, at least 1; further ones take the place of the oldest.

    Attributes
    ----------
    capacity : int
        As given.
    keys, values : array or None
        [B, H, len(bank), D] and [B, H, len(bank), E], in no particular order: views of the bank, which the
        next append changes. None before the first append.

    Raises
    ------
    TypeError
        If `capacity` is not an integer.
    ValueError
        If `capacity` is less than 1.

    Notes
    -----
    Takes B H capacity (D + E) numbers of memory from the first append on. An append copies its rows and moves
    nothing else. Entries are compared by their products with queries: append keys of unit length, and look up
    with queries of unit length, where keys of different times must be comparable.

    Source: Wu et al. 2022, "Memorizing transformers", ICLR, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> bank = mk.attention.MemoryBank(capacity=100)
    >>> for patch in range(3):
    ...     k, v = np.random.default_rng(patch).normal(size=(2, 1, 4, 40, 8))
    ...     bank.append(k, v)
    >>> len(bank), bank.keys.shape
    (100, (1, 4, 100, 8))
    >>> bank.attend(k, k=5).shape
    (1, 4, 40, 8)
    >>> bank.clear()
    >>> len(bank)
    0
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = _checks.check_count("capacity", capacity)
        self.clear()

    def clear(self) -> None:
        """Forget everything: at the start of a new scan."""
        self._keys: Any = None
        self._values: Any = None
        self._count = 0
        self._next = 0  # where the next entry goes

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"MemoryBank(capacity={self.capacity}) with {len(self)} entries"

    @property
    def keys(self) -> Any:
        """Keys of the entries, [B, H, len(bank), D]."""
        return None if self._keys is None else self._keys[:, :, : self._count]

    @property
    def values(self) -> Any:
        """Values of the entries, [B, H, len(bank), E]."""
        return None if self._values is None else self._values[:, :, : self._count]

    def append(self, keys: Any, values: Any) -> None:
        """Keep keys and values; of more than `capacity` only the last.

        Parameters
        ----------
        keys, values
            [B, H, N, D] and [B, H, N, E], torch tensors or NumPy arrays of one floating dtype.

        Raises
        ------
        TypeError
            For arrays of other frameworks, or of another kind or dtype than those in the bank.
        ValueError
            For shapes that do not fit together or with those in the bank, or another device.
        """
        self._check(keys, values)
        if self._keys is None:
            self._keys, self._values = (self._empty(array) for array in (keys, values))
        if _interop.framework_of(keys) == "torch":
            keys, values = keys.detach(), values.detach()
        kept = min(int(keys.shape[2]), self.capacity)
        if kept == 0:
            return
        start = self._next
        until_end = min(kept, self.capacity - start)
        for ring, array in ((self._keys, keys), (self._values, values)):
            last = array[:, :, int(array.shape[2]) - kept :]
            ring[:, :, start : start + until_end] = last[:, :, :until_end]
            ring[:, :, : kept - until_end] = last[:, :, until_end:]
        self._next = (start + kept) % self.capacity
        self._count = min(self._count + kept, self.capacity)

    def attend(
        self,
        q: Any,
        *,
        k: int = 32,
        scale: float | None = None,
        gate: Any = None,
        local: Any = None,
    ) -> Any:
        """`knn_memory` of queries and what is in the bank.

        Parameters
        ----------
        q, k, scale, gate, local
            As for `knn_memory`.

        Returns
        -------
        array
            [B, H, N, E]; `local` while the bank is empty.

        Raises
        ------
        ValueError, TypeError
            As for `knn_memory`; an empty bank needs `local`.
        """
        if self._count == 0:
            if local is None or gate is None:
                raise ValueError("an empty bank needs local and gate: append keys and values first")
            return local
        return knn_memory(q, self.keys, self.values, k=k, scale=scale, gate=gate, local=local)

    def _empty(self, array: Any) -> Any:
        shape = (*array.shape[:2], self.capacity, array.shape[3])
        return np.zeros(shape, array.dtype) if isinstance(array, np.ndarray) else array.new_zeros(shape)

    def _check(self, keys: Any, values: Any) -> None:
        for name, array in (("keys", keys), ("values", values)):
            framework = _interop.framework_of(array)
            if framework not in ("numpy", "torch"):
                raise TypeError(f"{name} must be a torch tensor or NumPy array, not {type(array).__name__}")
        _interop.common_framework({"keys": keys, "values": values})
        arrays, wanted = {"keys": keys, "values": values}, {"keys": "B H N D", "values": "B H N E"}
        _checks.check_shapes(arrays, wanted)
        if keys.dtype != values.dtype:
            raise TypeError(f"values is {values.dtype}, but keys is {keys.dtype}: use one dtype")
        if str(keys.dtype).removeprefix("torch.") not in ("float16", "bfloat16", "float32", "float64"):
            raise TypeError(f"keys must be of a floating dtype, not {keys.dtype}")
        for name, array, ring in (("keys", keys, self._keys), ("values", values, self._values)):
            first = ring if ring is not None else keys
            if getattr(array, "device", None) != getattr(first, "device", None):
                raise ValueError(
                    f"{name} is on {array.device}, but the bank is on {first.device}: use one device"
                )
            if ring is None:
                continue
            _interop.common_framework({"the bank": ring, name: array})
            if array.dtype != ring.dtype:
                raise TypeError(f"{name} is {array.dtype}, but the bank holds {ring.dtype}: clear it first")
            batch, heads, _, dims = ring.shape
            if (*array.shape[:2], array.shape[3]) != (batch, heads, dims):
                raise ValueError(
                    f"{name} must have shape [{batch}, {heads}, N, {dims}] as those in the bank, "
                    f"but has shape {list(array.shape)}"
                )
