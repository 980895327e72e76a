"""The ops between points and grids with torch tensors or CuPy arrays in the memory of a CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from medkernels import _backends, _device
from medkernels.points._device import OnDevice
from medkernels.points._grids import Op, Options, starts_of

#: Which argument of grid_atoms a kernel refuses.
ATOM_ARGUMENTS = ("coords", "center", "radii", "channels")
LARGEST_RADIUS, SMALLEST_RADIUS = 1e18, 1e-18


class Call(NamedTuple):
    """A call of the CUDA module.

    Attributes
    ----------
    arrays
        Ready for it, by name.
    starts
        The first row of each item, and the number of rows.
    held
        What memory for the time of the call belongs to.
    """

    on_device: OnDevice
    arrays: dict[str, Any]
    starts: npt.NDArray[np.int64]
    held: list[Any]

    @property
    def doubles(self) -> bool:
        """Whether numbers are float64."""
        return _device.dtype_name(next(iter(self.arrays.values()))) == "float64"

    @property
    def items(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    @property
    def place(self) -> tuple[Any, ...]:
        """The last arguments of every kernel."""
        device = self.on_device.device
        return device.number, device.stream, device.allocator(self.held)

    def at(self, *names: str) -> tuple[int, ...]:
        """Addresses of arrays."""
        return tuple(self.on_device.device.pointer(self.arrays[name]) for name in names)

    def empty_like(self, name: str) -> Any:
        """An array to be filled."""
        array = self.arrays[name]
        return self.on_device.device.empty(tuple(array.shape), _device.dtype_name(array))


def forward(op: Op, arrays: Sequence[Any], counts: Sequence[int], options: Options) -> Any:
    """The result in the memory of the device.

    Raises
    ------
    ValueError
        For values out of range, or a result that does not fit in the memory of the device.
    """
    call = _call(op, arrays, counts)
    lead = next(iter(call.arrays.values()))
    shape = tuple(op.shape([each.shape for each in call.arrays.values()], call.items, options))
    dtype = _device.dtype_name(lead)
    needed = prod(map(float, shape)) * np.dtype(dtype).itemsize + _memory(op, call, options)
    call.on_device.check_room(int(needed))
    result = call.on_device.device.empty(shape, dtype)
    _FORWARD[op.name](call, options, result)
    return result


def backward(op: Op, grad: Any, arrays: Sequence[Any], counts: Sequence[int], options: Options) -> list[Any]:
    """Gradients of the arrays that `op.wanted` tells."""
    call = _call(op, arrays, counts)
    grads = [call.empty_like(op.arrays[i]) for i in op.wanted]
    _BACKWARD[op.name](call, _device.contiguous(grad), options, grads)
    return grads


def _call(op: Op, arrays: Sequence[Any], counts: Sequence[int]) -> Call:
    module = _backends.cuda_module()
    if module is None:
        raise RuntimeError(f"{op.name} has no CUDA module, of which this was to be made sure before")
    number = _device.dtype_name(arrays[0])
    ready = {
        name: _device.contiguous(_device.as_dtype(array, "int64" if name in op.integer else number))
        for name, array in zip(op.arrays, arrays, strict=True)
    }
    device = _device.device_of(arrays[0])
    on_device = OnDevice(module, device, list(ready.values()), list(op.arrays))
    return Call(on_device, ready, starts_of(counts), [])


def _memory(op: Op, call: Call, options: Options) -> int:
    """Bytes that work takes beside the result."""
    points = call.on_device.module.points
    rows = int(call.starts[-1])
    if op.name == "grid_atoms":
        return int(points.atoms_memory(call.items, rows, options[0]))
    return int(points.cells_memory(call.items, rows, _resolution(op, call, options)))


def _resolution(op: Op, call: Call, options: Options) -> int:
    return int(options[0]) if op.name == "voxelize" else int(call.arrays["grid"].shape[2])


def _grid_atoms(call: Call, options: Options, result: Any) -> None:
    module, device = call.on_device.module.points, call.on_device.device
    atoms = call.at("coords", "channels", "radii", "center")
    bad = module.grid_atoms(call.doubles, atoms, call.starts, *options, device.pointer(result), *call.place)
    if bad >= 0:
        _refuse_atoms(call, ATOM_ARGUMENTS[bad], int(options[0]))


def _refuse_atoms(call: Call, name: str, channels: int) -> NoReturn:
    number = call.on_device.names.index(name)
    if name == "radii":
        call.on_device.refuse(
            number,
            f"from {SMALLEST_RADIUS:g} to {LARGEST_RADIUS:.0e}".replace("e+", "e"),
            lambda radii: (
                (radii >= radii.dtype.type(SMALLEST_RADIUS)) & (radii <= radii.dtype.type(LARGEST_RADIUS))
            ),
        )
    if name == "channels":
        wanted = f"from -1 to n_channels - 1 = {channels - 1}"
        call.on_device.refuse(number, wanted, lambda values: (values >= -1) & (values < channels))
    call.on_device.refuse_coordinate(number)


def _grid_atoms_backward(call: Call, grad: Any, options: Options, grads: Sequence[Any]) -> None:
    module, device = call.on_device.module.points, call.on_device.device
    atoms = call.at("coords", "channels", "radii", "center")
    results = tuple(device.pointer(each) for each in grads)
    module.grid_atoms_backward(
        call.doubles, device.pointer(grad), atoms, call.starts, *options[:5], results, *call.place
    )


def _voxelize(call: Call, options: Options, result: Any) -> None:
    points, features = call.at("points", "features")
    good = call.on_device.module.points.voxelize(
        call.doubles,
        points,
        call.starts,
        *options,
        features,
        call.arrays["features"].shape[1],
        call.on_device.device.pointer(result),
        *call.place,
    )
    if not good:
        call.on_device.refuse_coordinate(call.on_device.names.index("points"))


def _voxelize_backward(call: Call, grad: Any, options: Options, grads: Sequence[Any]) -> None:
    device = call.on_device.device
    call.on_device.module.points.voxelize_backward(
        call.doubles,
        device.pointer(grad),
        *call.at("points"),
        call.starts,
        *options,
        call.arrays["features"].shape[1],
        device.pointer(grads[0]),
        *call.place,
    )


def _devoxelize(call: Call, options: Options, result: Any) -> None:
    channels, resolution = call.arrays["grid"].shape[1:3]
    good = call.on_device.module.points.devoxelize(
        call.doubles,
        *call.at("grid", "points"),
        call.starts,
        resolution,
        *options,
        channels,
        call.on_device.device.pointer(result),
        *call.place,
    )
    if not good:
        call.on_device.refuse_coordinate(call.on_device.names.index("points"))


def _devoxelize_backward(call: Call, grad: Any, options: Options, grads: Sequence[Any]) -> None:
    device = call.on_device.device
    channels, resolution = call.arrays["grid"].shape[1:3]
    call.on_device.module.points.devoxelize_backward(
        call.doubles,
        device.pointer(grad),
        *call.at("grid", "points"),
        call.starts,
        resolution,
        *options,
        channels,
        *(device.pointer(each) for each in grads),
        *call.place,
    )


_FORWARD = {"grid_atoms": _grid_atoms, "voxelize": _voxelize, "devoxelize": _devoxelize}
_BACKWARD = {
    "grid_atoms": _grid_atoms_backward,
    "voxelize": _voxelize_backward,
    "devoxelize": _devoxelize_backward,
}
