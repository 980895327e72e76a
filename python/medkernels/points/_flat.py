"""Arguments of one item, a batch or a list, joined into arrays that hold one item after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from medkernels import _backends, _interop
from medkernels._items import dtype_name
from medkernels.points._clouds import DTYPES


class Argument(NamedTuple):
    """One argument of a call.

    Attributes
    ----------
    value : what came.
    shape : of one item, as `_checks.check_shapes` reads it; N is the number of rows of the item.
    integer : whether it holds whole numbers, not those that are computed with.
    broadcast : whether one value, for the arrays of items one item, serves all.
    """

    value: Any
    shape: str
    integer: bool = False
    broadcast: bool = False

    @property
    def by_rows(self) -> bool:
        """Whether it has a row for each point; otherwise one for each item."""
        return self.shape.startswith("N")


class Flat(NamedTuple):
    """The arguments of a call, of one framework.

    That is NumPy for those that only speak DLPack, and for CuPy where the CPU is to work.

    Attributes
    ----------
    arrays : by name; [rows, ...] or [items, ...].
    counts : rows of each item.
    many : whether a batch or list came.
    batch : whether it was a batch.
    sizes : of the letters in the shapes of arguments.
    restore : turns a result into the kind that came.
    """

    framework: str
    arrays: dict[str, Any]
    counts: tuple[Any, ...]
    many: bool
    batch: bool
    sizes: dict[str, int]
    restore: Callable[[Any], Any]


def flatten(op: str, arguments: Mapping[str, Argument]) -> Flat:
    """Check and join. The first argument by rows says whether one item came, a batch or a list.

    Raises
    ------
    TypeError
        For mixed frameworks, dtypes other than float32 and float64, or several of them.
    ValueError
        For shapes that do not fit together, or arrays on several devices.
    BackendError
        For CuPy arrays without kernels for them, unless the fallback to the CPU is allowed.
    """
    values = {
        name: a.value.item() if isinstance(a.value, np.generic) else a.value for name, a in arguments.items()
    }
    lead = next(name for name, argument in arguments.items() if argument.by_rows)
    listed = {name for name, value in values.items() if _holds_arrays(value)}
    if _is_empty_list(values[lead]):  # no items, not an item without rows
        listed |= {name for name, value in values.items() if _is_empty_list(value)}
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= {f"{name}[{i}]": v for i, v in enumerate(value)} if name in listed else {name: value}
    came = {name: leaf for name, leaf in leaves.items() if not _is_plain(leaf)}
    framework = _interop.common_framework(came)
    like = next(iter(came.values()), None)
    restore = _restorer(framework, like)
    if framework == "cupy" and _backends.cuda_kernels(op) is None:
        framework, came = "numpy", {name: leaf.get() for name, leaf in came.items()}
        leaves |= came
    numbers = [
        name
        for name in leaves
        if name in came and not arguments[name.partition("[")[0]].integer and hasattr(came[name], "dtype")
    ]
    dtype = _common_dtype(numbers, came)
    ready = {}
    for name, leaf in leaves.items():
        ready[name] = _converted(
            framework, name, leaf, like, arguments[name.partition("[")[0]].integer, dtype
        )
    return _joined(framework, arguments, values, listed, lead, ready, restore)


def _holds_arrays(value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    return any(not _is_plain(item) for item in value)


def _is_plain(value: Any) -> bool:
    """Whether this is no array; the first check spares torch.compile the second one."""
    return isinstance(value, (bool, int, float, list, tuple)) or _interop.framework_of(value) == "python"


def _is_empty_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not value


def _common_dtype(names: list[str], arrays: Mapping[str, Any]) -> str:
    for name in names:
        came = dtype_name(arrays[name])
        if came not in DTYPES:
            raise TypeError(f"{name} must be float32 or float64, not {came}")
        if came != dtype_name(arrays[names[0]]):
            raise TypeError(
                f"{name} is {came}, but {names[0]} is {dtype_name(arrays[names[0]])}: use one dtype"
            )
    return dtype_name(arrays[names[0]]) if names else "float64"


def _converted(framework: str, name: str, value: Any, like: Any, integer: bool, dtype: str) -> Any:
    """As an array of the framework; plain Python takes the dtype and device of the others."""
    plain = _is_plain(value)
    if integer and _is_empty_list(value):  # whose dtype would be that of numbers
        value = np.zeros(0, np.int64)
    if framework == "torch":
        array = _tensor(name, value, like.device, dtype if plain and not integer else None)
        whole = not (array.is_floating_point() or array.is_complex() or dtype_name(array) == "bool")
    elif framework == "cupy":
        import cupy

        array = cupy.asarray(value, dtype if plain and not integer else None)
        whole = array.dtype.kind in "iu"
    else:
        array = value if framework == "jax" and not plain else _interop.numpy_view(value, name)
        if plain and not integer:
            array = array.astype(dtype)
        if framework == "jax":
            import jax.numpy as jnp

            array = jnp.asarray(array)
        whole = "int" in dtype_name(array)
    if integer and not whole:
        raise TypeError(f"{name} must hold integers, not {dtype_name(array)}")
    return array


def _tensor(name: str, value: Any, device: Any, dtype: str | None) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        if value.device != device:
            raise ValueError(f"{name} is on {value.device}, but others are on {device}: use one device")
        return value
    try:
        return torch.as_tensor(value, dtype=getattr(torch, dtype) if dtype else None, device=device)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers ({error})") from error


def _joined(
    framework: str,
    arguments: Mapping[str, Argument],
    values: Mapping[str, Any],
    lists: set[str],
    lead: str,
    ready: Mapping[str, Any],
    restore: Callable[[Any], Any],
) -> Flat:
    listed = lead in lists
    batch = not listed and len(ready[lead].shape) == len(arguments[lead].shape.split()) + 1
    items = len(values[lead]) if listed else ready[lead].shape[0] if batch else 1
    sizes: dict[str, int] = {}
    counts: tuple[Any, ...] = ()
    joined = {}
    for name in (lead, *(each for each in arguments if each != lead)):
        argument = arguments[name]
        rank = len(argument.shape.split())
        if name in lists:
            if not listed or len(values[name]) != items:
                wanted = f"a list of {items}" if listed else "a batch" if batch else "one item"
                raise ValueError(f"{name} is a list of {len(values[name])}, but {lead} is {wanted}")
            parts = [ready[f"{name}[{i}]"] for i in range(items)]
            shapes = {f"{name}[{i}]": tuple(part.shape) for i, part in enumerate(parts)}
        else:
            whole = ready[name]
            if argument.broadcast and len(whole.shape) == rank - argument.by_rows:
                _match(name, whole.shape, argument.shape.split()[argument.by_rows :], sizes)
                joined[name] = _spread(framework, whole, sum(counts) if argument.by_rows else items)
                continue
            if listed and argument.by_rows:
                raise ValueError(f"{name} must be a list of {items} arrays, as {lead} is one")
            stacked = batch or listed
            dims = ["B", *argument.shape.split()] if stacked else argument.shape.split()
            _match(name, whole.shape, dims, {"B": items})
            parts = []
            shapes = {name: tuple(whole.shape[1:] if stacked else whole.shape)}
        for i, (label, shape) in enumerate(shapes.items()):
            rows = {"N": counts[i]} if argument.by_rows and name != lead else {}
            found = _match(label, shape, argument.shape.split(), sizes | rows)
            sizes |= {letter: size for letter, size in found.items() if letter != "N"}
        if name == lead:
            counts = tuple(shape[0] for shape in shapes.values()) * (items if batch else 1)
        if name in lists:
            joined[name] = _concatenated(framework, argument, parts, sizes)
        elif argument.by_rows:
            joined[name] = whole.reshape(-1, *whole.shape[2:]) if batch else whole
        else:
            joined[name] = whole if batch or listed else whole[None]
    return Flat(framework, joined, counts, listed or batch, batch, sizes, restore)


def _restorer(framework: str, like: Any) -> Callable[[Any], Any]:
    if framework == "cupy":
        import cupy

        restore: Callable[[Any], Any] = cupy.asarray
        return restore
    return (lambda result: result) if framework in ("torch", "jax") else _interop.restorer(like)


def _match(name: str, shape: Any, dims: list[str], known: dict[str, Any]) -> dict[str, Any]:
    """The sizes of the letters of a shape, which must be those that are known."""
    text = "[" + ", ".join(dims) + "]"
    if len(shape) != len(dims):
        raise ValueError(f"{name} must have shape {text}, but has {len(shape)} dimensions: {list(shape)}")
    sizes = dict(known)
    for dim, size in zip(dims, shape, strict=True):
        expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
        if size != expected:
            where = "" if dim.isdigit() else f" with {dim} = {expected}"
            raise ValueError(f"{name} must have shape {text}{where}, but has shape {list(shape)}")
    return sizes


def _spread(framework: str, value: Any, count: Any) -> Any:
    """The same value for all rows or items."""
    if framework == "torch":
        return value.expand(count, *value.shape)
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.broadcast_to(value, (count, *value.shape))
    if framework == "cupy":
        import cupy

        return cupy.broadcast_to(value, (count, *value.shape))
    return np.broadcast_to(value, (count, *value.shape))


def _concatenated(framework: str, argument: Argument, parts: list[Any], sizes: Mapping[str, int]) -> Any:
    """Parts by rows are joined, those of one item each are stacked."""
    if not parts:
        shape = [int(dim) if dim.isdigit() else sizes.get(dim, 0) for dim in argument.shape.split()]
        return np.zeros(shape if argument.by_rows else [0, *shape], np.int64 if argument.integer else None)
    if framework == "torch":
        import torch

        return torch.cat(parts) if argument.by_rows else torch.stack(parts)
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.concatenate(parts) if argument.by_rows else jnp.stack(parts)
    if framework == "cupy":
        import cupy

        return cupy.concatenate(parts) if argument.by_rows else cupy.stack(parts)
    return np.concatenate(parts) if argument.by_rows else np.stack(parts)
