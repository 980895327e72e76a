"""Checks of arguments that all ops share. Every message names the argument, what came and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Kernels count elements in 64-bit and primitives in 32-bit integers.
MAX_INDEX = 2**31 - 1


def check_shapes(arrays: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, int]:
    """Match array shapes with patterns such as ``"B K 2"`` and return the size of each letter.

    Raises
    ------
    ValueError
        If a rank or a size differs.
    """
    sizes: dict[str, int] = {}
    for name, pattern in wanted.items():
        shape = tuple(arrays[name].shape)
        dims = pattern.split()
        text = "[" + ", ".join(dims) + "]"
        if len(shape) != len(dims):
            raise ValueError(f"{name} must have shape {text}, but has {len(shape)} dimensions: {list(shape)}")
        for dim, size in zip(dims, shape, strict=True):
            expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
            if size != expected:
                where = "" if dim.isdigit() else f" with {dim} = {expected}"
                raise ValueError(f"{name} must have shape {text}{where}, but has shape {list(shape)}")
    return sizes


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(repr(c) for c in choices)}, not {value!r}")


def check_size(name: str, size: Any, dims: Sequence[str]) -> tuple[int, ...]:
    """`size` as a tuple of positive integers, one for each of `dims`."""
    text = "(" + ", ".join(dims) + ")"
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != len(dims):
        raise ValueError(f"{name} must be {len(dims)} integers {text}, not {size!r}")
    for dim, value in zip(dims, size, strict=True):
        # While a graph is traced a size may be one of torch's symbolic integers.
        integral = isinstance(value, (int, np.integer)) or type(value).__name__ == "SymInt"
        if isinstance(value, bool) or not integral:
            raise TypeError(f"{name} must hold integers {text}, but {dim} is {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be positive, but {dim} is {value}")
    return tuple(size)


def check_count(name: str, value: Any, least: int = 1, most: int = MAX_INDEX) -> int:
    """`value` as an integer from `least` to `most`.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not least <= value <= most:
        upper = f"at least {least}" if most == MAX_INDEX else f"from {least} to {most}"
        raise ValueError(f"{name} must be {upper}, not {value}")
    return int(value)


def check_number(name: str, value: Any, least: float = 0.0, positive: bool = False) -> float:
    """`value` as a number of at least `least`, or greater than 0 where `positive` asks for that.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is out of range or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if not (number > 0 if positive else number >= least):
        raise ValueError(
            f"{name} must be {'greater than 0' if positive else f'at least {least:g}'}, not {number}"
        )
    return number


def check_memory(name: str, needed: int, available: int | None) -> None:
    """Refuse work that cannot fit, before anything is allocated.

    `available` is in bytes; None where the system does not tell.

    Raises
    ------
    ValueError
        If `needed` bytes exceed what is available.
    """
    if available is not None and needed > available:
        gib = 1024.0**3
        raise ValueError(
            f"{name} is too large: it needs about {needed / gib:.3g} GiB of memory, "
            f"{available / gib:.3g} GiB are free"
        )
