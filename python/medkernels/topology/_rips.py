"""What `vietoris_rips` does for every framework: checks, and the call of the C++ core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop
from medkernels.topology._items import Items, is_sparse

METRICS = ("euclidean", "manhattan", "chebyshev")
MAX_DIM = 3

#: Pairs of more points do not fit in the 32-bit ranks of the core.
MOST_POINTS = 92_681

#: Bytes that the core needs for each pair of points beside its distance, unless a threshold leaves pairs
#: out: for the order of all distances, and the two points.
BYTES_OF_A_PAIR = 24

#: Coordinates up to here keep sums of their squares, or their distances, finite in any number of dimensions.
LARGEST = {"float32": 1e30, "float64": 1e150}

Diagram = tuple[Any, Any]


class Options(NamedTuple):
    """How diagrams are computed; `kind` is the argument that the arrays came in."""

    kind: str
    metric: str
    max_dim: int
    threshold: float


def check_options(kind: str, metric: str, max_dim: Any, threshold: Any) -> Options:
    """Check the options of `vietoris_rips`."""
    _checks.check_choice("metric", metric, METRICS)
    if kind == "distances" and metric != METRICS[0]:
        raise ValueError(f"metric={metric!r} is for points: distances are taken as they are")
    limit = np.inf if threshold is None else _checks.check_number("threshold", threshold)
    return Options(kind, metric, _checks.check_count("max_dim", max_dim, 0, MAX_DIM), float(limit))


def check_items(items: Items, kind: str) -> None:
    """Check dtypes, devices and sizes."""
    for array, name in zip(items.arrays, items.names, strict=True):
        dtype = getattr(array.dtype, "name", str(array.dtype)).removeprefix("torch.")
        if dtype not in ("float32", "float64"):
            raise TypeError(f"{name} must be float32 or float64, not {dtype}")
        first, first_name = items.arrays[0], items.names[0]
        if array.dtype != first.dtype:
            raise TypeError(f"{name} is {array.dtype}, but {first_name} is {first.dtype}: use one dtype")
        if items.framework in ("torch", "cupy") and array.device != first.device:
            raise ValueError(
                f"{name} is on {array.device}, but {first_name} is on {first.device}: use one device"
            )
        rows, columns = array.shape
        if kind == "distances" and rows != columns:
            raise ValueError(f"{name} must be square, [P, P], but has shape {list(array.shape)}")
        if kind == "points" and columns < 1:
            raise ValueError(f"{name} must have at least one coordinate, but has shape {list(array.shape)}")
        most = _checks.MAX_INDEX if is_sparse(array) else MOST_POINTS
        if rows > most:
            raise ValueError(f"{name} holds {rows} points, more than {most}")


def diagrams_of_arrays(
    arrays: Sequence[npt.NDArray[Any]], names: Sequence[str], options: Options
) -> list[list[Diagram]]:
    """Intervals and edges of each dimension of each cloud or dense matrix."""
    if not arrays:  # every item is sparse
        return []
    for array, name in zip(arrays, names, strict=True):
        pairs = array.shape[0] * (array.shape[0] - 1) // 2
        needed = pairs * (array.dtype.itemsize + (BYTES_OF_A_PAIR if np.isinf(options.threshold) else 0))
        _checks.check_memory(f"{name} with {array.shape[0]} points", needed, _backends.available_memory())
        check_values(array, name, options.kind)
    dtype = arrays[0].dtype.newbyteorder("=")
    ready = [_interop.kernel_array(array, dtype) for array in arrays]
    kind, metric, max_dim, threshold = options
    found: list[list[Diagram]] = _core.topology.vietoris_rips(ready, kind, metric, max_dim, threshold)
    return found


def check_values(array: npt.NDArray[Any], name: str, kind: str) -> None:
    """Check the coordinates of points, or that a matrix holds distances."""
    if kind == "points":
        largest = LARGEST[array.dtype.name]
        _refuse(~(np.abs(array) <= largest), array, f"{name} must be finite and at most {largest:g} in size")
        return
    _refuse(~(array >= 0), array, f"{name} must hold distances of at least 0")
    _refuse(np.diag(array.diagonal()) != 0, array, f"{name} must have a diagonal of zeros")
    _refuse(array != array.T, array, f"{name} must equal its transpose")


def _refuse(bad: npt.NDArray[np.bool_], array: npt.NDArray[Any], message: str) -> None:
    """Raise ValueError if anything is bad, and say where."""
    if bad.any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise ValueError(f"{message}, but element ({i}, {j}) is {array[i, j]}")


def diagrams_of_graph(matrix: Any, name: str, options: Options) -> list[Diagram]:
    """Intervals and edges of each dimension of a sparse matrix; entries it does not store are infinite."""
    if matrix.nnz > _checks.MAX_INDEX:
        raise ValueError(f"{name} holds {matrix.nnz} distances, more than {_checks.MAX_INDEX}")
    entries = matrix.tocoo()
    rows, cols, lengths = (np.asarray(part) for part in (entries.row, entries.col, entries.data))
    bad = ~(lengths >= 0)
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(
            f"{name} must hold distances of at least 0, but element ({rows[place]}, {cols[place]}) is "
            f"{lengths[place]}"
        )
    if lengths[rows == cols].any():
        raise ValueError(f"{name} must have a diagonal of zeros")
    between = rows != cols
    low, high = np.minimum(rows, cols)[between], np.maximum(rows, cols)[between]
    lengths = lengths[between]
    order = np.lexsort((high, low))
    low, high, lengths = low[order], high[order], lengths[order]
    again = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
    differs = again & (lengths[1:] != lengths[:-1])
    if differs.any():
        place = int(np.argmax(differs))
        raise ValueError(
            f"{name} must be symmetric or hold each pair once, but from {low[place]} to {high[place]} it has "
            f"{lengths[place]} and {lengths[place + 1]}"
        )
    once = np.concatenate([np.ones(min(1, len(low)), bool), ~again])
    found: list[Diagram] = _core.topology.vietoris_rips_graph(
        matrix.shape[0],
        low[once].astype(np.int32),
        high[once].astype(np.int32),
        _interop.kernel_array(lengths[once], lengths.dtype.newbyteorder("=")),
        options.max_dim,
        options.threshold,
    )
    return found


def diagrams_of_numpy(items: Items, options: Options) -> list[list[Diagram]]:
    """Intervals and edges of NumPy arrays and sparse matrices, in their order."""
    dense = [(a, n) for a, n in zip(items.arrays, items.names, strict=True) if not is_sparse(a)]
    whole = iter(diagrams_of_arrays([a for a, _ in dense], [n for _, n in dense], options))
    return [
        diagrams_of_graph(array, name, options) if is_sparse(array) else next(whole)
        for array, name in zip(items.arrays, items.names, strict=True)
    ]
