"""What `wasserstein` and `wasserstein_matrix` share: options, diagrams as libraries return them, the core."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop

ESSENTIAL = ("match", "drop")

#: Diagrams below this many pairs of bars need so little memory that nobody asks how much is free.
SMALL = 1_000_000

#: Bytes: as much as a pair may want.
UNLIMITED = 2**62


#: Bars [m, 2] of several diagrams end to end, and where each begins.
Packed = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]


class Options(NamedTuple):
    """Which distance is meant."""

    order: float
    ground: float
    drop: bool


def check_options(order: Any, ground: Any, essential: str) -> Options:
    """Check the options of both ops."""
    power = _checks.check_number("order", order, least=1)
    if isinstance(ground, bool) or not isinstance(ground, (int, float, np.integer, np.floating)):
        raise TypeError(f"ground must be 2 or inf, not {ground!r}")
    if ground not in (2, math.inf):
        raise ValueError(f"ground must be 2 or inf, not {ground}")
    _checks.check_choice("essential", essential, ESSENTIAL)
    return Options(power, float(ground), essential == "drop")


def as_diagram(value: Any, name: str) -> Any:
    """One diagram [n, 2] of any framework; lists, and GUDHI's lists of (dimension, (birth, death)), as NumPy.

    Raises
    ------
    ValueError
        For another shape, several diagrams, or bars of several dimensions.
    TypeError
        For what is no array of float32 or float64.
    """
    framework = _interop.framework_of(value)
    if framework == "python" and isinstance(value, (list, tuple)):
        array = _from_sequence(value, name)
    else:
        array = value if framework in ("torch", "jax", "cupy") else _interop.numpy_view(value, name)
    shape = tuple(array.shape)
    if shape == (0,):
        array = array.reshape(0, 2)
    elif len(shape) != 2 or shape[1] != 2:
        raise ValueError(f"{name} must have shape [n, 2] (birth, death), but has shape {list(shape)}")
    dtype = getattr(array.dtype, "name", str(array.dtype)).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise TypeError(f"{name} must be float32 or float64, not {dtype}")
    if shape[0] > _checks.MAX_INDEX:
        raise ValueError(f"{name} holds {shape[0]} bars, more than {_checks.MAX_INDEX}")
    return array


def _from_sequence(value: Sequence[Any], name: str) -> npt.NDArray[np.float64]:
    if any(getattr(item, "ndim", 1) == 2 for item in value):
        raise ValueError(
            f"{name} is a list of {len(value)} diagrams, as of the dimensions 0, 1, ...: give one of them"
        )
    if len(value) > 0 and all(_is_gudhi_pair(item) for item in value):
        dimensions = sorted({int(item[0]) for item in value})
        if len(dimensions) > 1:
            raise ValueError(
                f"{name} holds bars of dimensions {', '.join(map(str, dimensions))}: give those of one"
            )
        value = [item[1] for item in value]
    return np.asarray(_interop.numpy_view(value, name), dtype=np.float64)


def _is_gudhi_pair(item: Any) -> bool:
    """Whether this is (dimension, (birth, death)), as ``SimplexTree.persistence()`` lists them."""
    return (
        isinstance(item, (tuple, list))
        and len(item) == 2
        and isinstance(item[0], (int, np.integer))
        and isinstance(item[1], (tuple, list))
        and len(item[1]) == 2
    )


def kernel_rows(diagram: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`diagram` as the core wants it: exact float64."""
    return _interop.kernel_array(diagram, np.float64)


def memory_for(pairs_of_bars: int) -> int:
    """Bytes that the core may use."""
    if pairs_of_bars <= SMALL:
        return UNLIMITED
    available = _backends.available_memory()
    return UNLIMITED if available is None else available


def match(a: npt.NDArray[Any], b: npt.NDArray[Any], options: Options) -> tuple[float, npt.NDArray[np.int64]]:
    """The distance, and for each bar of `a` its partner in `b` (-1: the diagonal, or none)."""
    found: tuple[float, npt.NDArray[np.int64]] = _core.topology.wasserstein(
        kernel_rows(a), kernel_rows(b), *options, memory_for(len(a) * len(b))
    )
    return found


def differentiate(
    a: npt.NDArray[Any],
    b: npt.NDArray[Any],
    partner: npt.NDArray[np.int64],
    distance: float,
    order: float,
    ground: float,
    upstream: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gradients of upstream * distance with respect to `a` and `b`."""
    grads: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] = _core.topology.wasserstein_backward(
        kernel_rows(a), kernel_rows(b), partner, distance, order, ground, upstream
    )
    return grads


def matrix(
    diagrams: Sequence[npt.NDArray[Any]], others: Sequence[npt.NDArray[Any]] | None, options: Options
) -> npt.NDArray[np.float64]:
    """Distances of all pairs, or of each diagram from each of the others."""
    first = end_to_end(diagrams)
    second = first if others is None else end_to_end(others)
    rows, columns = len(first[1]) - 1, len(second[1]) - 1
    if rows * columns > SMALL:
        check_result(rows, columns, _backends.available_memory())
    largest = int(np.diff(first[1]).max(initial=0)) * int(np.diff(second[1]).max(initial=0))
    distances: npt.NDArray[np.float64] = _core.topology.wasserstein_matrix(
        *first, *second, others is None, *options, memory_for(largest)
    )
    return distances


def check_result(rows: int, columns: int, available: int | None) -> None:
    """Refuse a matrix that does not fit in the `available` bytes."""
    _checks.check_memory(f"the matrix of {rows} x {columns} distances", 8 * rows * columns, available)


def end_to_end(diagrams: Sequence[npt.NDArray[Any]]) -> Packed:
    """All bars of NumPy diagrams as one array, and where each diagram begins."""
    rows = np.concatenate(diagrams, dtype=np.float64) if diagrams else np.empty((0, 2))
    return rows, starts(diagrams)


def starts(diagrams: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Where each diagram begins when they stand end to end, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([len(d) for d in diagrams])]).astype(np.int64)


class Device(NamedTuple):
    """A CUDA device as a framework sees it.

    Attributes
    ----------
    number, stream
        Of the device, and the handle of the stream to work on.
    free
        Bytes of device memory that the framework can allocate.
    allocate
        From a number of bytes to an address, and what keeps that memory.
    """

    number: int
    stream: int
    free: int
    allocate: Callable[[int], tuple[int, Any]]


def matrix_on_device(
    module: ModuleType, sets: Sequence[Packed], options: Options, device: Device, distances: int
) -> None:
    """Write distances of order 1 among one set, or between two, to an address on a CUDA device.

    Diagrams are small beside the work that their pairs make: they are checked and sorted on the host.
    """
    symmetric = len(sets) == 1
    scale, *packed = _core.topology.pack_bars(*sets[0], *sets[-1], symmetric, options.drop)
    held: list[Any] = []

    def allocate(count: int) -> int:
        pointer, holder = device.allocate(count)
        held.append(holder)
        return pointer

    module.topology.wasserstein_matrix(
        scale,
        *packed,
        symmetric,
        options.ground,
        distances,
        device.number,
        device.stream,
        device.free,
        allocate,
    )


def device_module(options: Options) -> ModuleType | None:
    """The CUDA extension module if it has a kernel for this distance, or None where the CPU is allowed.

    Raises
    ------
    BackendError
        If it has not, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
    """
    if options.order == 1:
        return _backends.cuda_kernels("wasserstein_matrix")
    _backends.fall_back_to_cpu("wasserstein_matrix", "on a GPU there is a kernel for order=1 only")
    return None


def matching_of(
    a: npt.NDArray[Any], b: npt.NDArray[Any], partner: npt.NDArray[np.int64], drop: bool
) -> npt.NDArray[np.int64]:
    """Rows (i, j) of the matching: bars of `a` in order, then those of `b` that no bar of `a` goes with."""
    counts_a, counts_b = ((np.isfinite(d).all(1) if drop else np.ones(len(d), bool)) for d in (a, b))
    counts_b[partner[partner >= 0]] = False
    of_a, of_b = np.flatnonzero(counts_a), np.flatnonzero(counts_b)
    return np.concatenate(
        [np.stack([of_a, partner[of_a]], axis=1), np.stack([np.full(len(of_b), -1), of_b], axis=1)]
    )
