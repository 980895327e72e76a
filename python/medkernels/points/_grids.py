"""The ops between points and grids: their description, and the way to the implementation for a framework.

Arrays of all items stand one item after the other, so that any mix of sizes is one call of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _checks, _core, _interop
from medkernels.points._flat import Flat

Array = npt.NDArray[Any]
Options = tuple[Any, ...]
Shape = Sequence[Any]  # integers, or the symbolic ones of a graph that is being traced


@dataclass(frozen=True, eq=False)
class Op:
    """One op.

    Attributes
    ----------
    name : its public name.
    arrays : names of its arrays, in order.
    integer : those that hold integers.
    wanted : indices of the arrays that derivatives are taken to.
    options : the schema of its options, as PyTorch writes it.
    shape : (shapes of the arrays, items, options) -> shape of the result.
    forward : fills the result, given (arrays, first rows of items, options, result).
    backward : fills gradients, given (gradient of the result, arrays, first rows, options, gradients).
    """

    name: str
    arrays: tuple[str, ...]
    integer: tuple[str, ...]
    wanted: tuple[int, ...]
    options: str
    shape: Callable[[Sequence[Shape], Any, Options], Shape]
    forward: Callable[[Sequence[Array], Array, Options, Array], None]
    backward: Callable[[Array, Sequence[Array], Array, Options, Sequence[Array]], None]


def _grid_shape(shapes: Sequence[Shape], items: Any, options: Options) -> Shape:
    return (items, options[0], options[1], options[1], options[1])


def _grid_atoms(arrays: Sequence[Array], starts: Array, options: Options, result: Array) -> None:
    _core.points.grid_atoms(*arrays, starts, *options[2:], result)


def _grid_atoms_backward(
    grad: Array, arrays: Sequence[Array], starts: Array, options: Options, grads: Sequence[Array]
) -> None:
    _core.points.grid_atoms_backward(grad, *arrays, starts, *options[2:5], *grads)


def _voxel_shape(shapes: Sequence[Shape], items: Any, options: Options) -> Shape:
    return (items, shapes[1][1], options[0], options[0], options[0])


def _voxelize(arrays: Sequence[Array], starts: Array, options: Options, result: Array) -> None:
    _core.points.voxelize(*arrays, starts, options[1], result)


def _voxelize_backward(
    grad: Array, arrays: Sequence[Array], starts: Array, options: Options, grads: Sequence[Array]
) -> None:
    _core.points.voxelize_backward(grad, arrays[0], starts, options[1], *grads)


def _feature_shape(shapes: Sequence[Shape], items: Any, options: Options) -> Shape:
    return (shapes[1][0], shapes[0][1])


def _devoxelize(arrays: Sequence[Array], starts: Array, options: Options, result: Array) -> None:
    _core.points.devoxelize(*arrays, starts, *options, result)


def _devoxelize_backward(
    grad: Array, arrays: Sequence[Array], starts: Array, options: Options, grads: Sequence[Array]
) -> None:
    _core.points.devoxelize_backward(grad, *arrays, starts, *options, *grads)


GRID_ATOMS = Op(
    "grid_atoms",
    ("coords", "channels", "radii", "center"),
    ("channels",),
    (0, 2, 3),
    "SymInt n_channels, SymInt points, float side, float resolution, float multiple, bool binary",
    _grid_shape,
    _grid_atoms,
    _grid_atoms_backward,
)
VOXELIZE = Op(
    "voxelize",
    ("points", "features"),
    (),
    (1,),
    "SymInt resolution, bool subtract_mean",
    _voxel_shape,
    _voxelize,
    _voxelize_backward,
)
DEVOXELIZE = Op(
    "devoxelize",
    ("grid", "points"),
    (),
    (0, 1),
    "bool subtract_mean",
    _feature_shape,
    _devoxelize,
    _devoxelize_backward,
)


def run(op: Op, flat: Flat, options: Options) -> Any:
    """Compute with the implementation for the framework of the arrays; [rows or items, ...]."""
    arrays = [flat.arrays[name] for name in op.arrays]
    if flat.framework == "torch":
        from medkernels.points import _grids_torch

        return _grids_torch.run(op, arrays, flat.counts, options)
    if flat.framework == "jax":
        from medkernels.points import _grids_jax

        return _grids_jax.run(op, arrays, flat.counts, options)
    if flat.framework == "cupy":
        from medkernels.points import _grids_device

        return _grids_device.forward(op, arrays, flat.counts, options)
    return forward(op, arrays, flat.counts, options)


def forward(op: Op, arrays: Sequence[Array], counts: Sequence[int], options: Options) -> Array:
    """The C++ forward pass on NumPy arrays.

    Raises
    ------
    ValueError
        If the result does not fit in memory.
    """
    ready = _ready(op, arrays)
    shape = tuple(op.shape([array.shape for array in ready], len(counts), options))
    dtype = ready[0].dtype
    needed = int(np.prod([float(size) for size in shape])) * dtype.itemsize
    _checks.check_memory(f"a result of shape {list(shape)}", needed, _backends.available_memory())
    result = np.empty(shape, dtype)
    op.forward(ready, starts_of(counts), options, result)
    return result


def backward(
    op: Op, grad: Array, arrays: Sequence[Array], counts: Sequence[int], options: Options
) -> list[Array]:
    """The C++ backward pass: gradients of the arrays that `op.wanted` tells."""
    ready = _ready(op, arrays)
    grads = [np.empty(ready[i].shape, ready[i].dtype) for i in op.wanted]
    op.backward(_interop.kernel_array(grad, ready[0].dtype), ready, starts_of(counts), options, grads)
    return grads


def _ready(op: Op, arrays: Sequence[Array]) -> list[Array]:
    number = arrays[0].dtype.newbyteorder("=")
    dtypes = [np.dtype(np.int64) if name in op.integer else number for name in op.arrays]
    return [_interop.kernel_array(a, dtype) for a, dtype in zip(arrays, dtypes, strict=True)]


def starts_of(counts: Sequence[int]) -> Array:
    """The first row of each item, and the number of rows."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
