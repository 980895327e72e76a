"""Results on the screen, as JSON, and as files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from medkernels.zoo.engine.files import replacing, write_text


def error_line(text: str) -> None:
    """One line on the error stream."""
    print(f"medkernels: {text}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print a nested result as JSON; infinite and undefined numbers become null, which JSON has."""
    print(json.dumps(_finite(value), indent=2))


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows under the keys of the first one; nothing is wrapped away where the output is no terminal."""
    table = Table(title=title, title_justify="left")
    columns = list(rows[0]) if rows else []
    for column in columns:
        numeric = all(isinstance(row[column], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    console = Console()
    console.print(table, soft_wrap=not console.is_terminal)


def nested(result: Any, store: Callable[[str, np.ndarray], Any], key: str = "") -> Any:
    """The result of a system as JSON-ready values, with `store` called for every array in it.

    Parameters
    ----------
    result : Any
        Numbers, strings, paths, arrays and tensors, in mappings, sequences, named tuples and dataclasses.
    store : callable
        ``store(key, array)`` returns what stands in the result instead of the array.
    key : str
        Of this value: the names and positions that lead to it, joined by ``/``.

    Raises
    ------
    TypeError
        If there is a value of another kind.
    """
    if result is None or isinstance(result, (bool, int, float, str)):
        return result
    if isinstance(result, (Path, np.generic)):
        return str(result) if isinstance(result, Path) else result.item()
    if isinstance(result, Mapping):
        parts = {str(name): part for name, part in result.items()}
    elif isinstance(result, tuple) and hasattr(result, "_asdict"):
        parts = result._asdict()
    elif is_dataclass(result) and not isinstance(result, type):
        parts = {field.name: getattr(result, field.name) for field in fields(result)}
    elif isinstance(result, (list, tuple)):
        return [nested(part, store, _join(key, str(i))) for i, part in enumerate(result)]
    else:
        return store(key or "result", _array(result))
    return {name: nested(part, store, _join(key, name)) for name, part in parts.items()}


def summary(result: Any) -> Any:
    """The result as JSON-ready values, in which an array is told by its shape and kind."""
    return nested(result, lambda key, array: _describe(array))


def save_result(result: Any, folder: Path) -> list[Path]:
    """Write a result as ``predictions.json``, and its arrays as ``predictions.npz``; return the paths.

    In the JSON an array is ``{"array": key, "shape": ..., "dtype": ...}``, with its key in the npz file.
    """
    arrays: dict[str, np.ndarray] = {}

    def store(key: str, array: np.ndarray) -> dict[str, Any]:
        arrays[key] = array
        return {"array": key, **_describe(array)}

    text = json.dumps(_finite(nested(result, store)), indent=2) + "\n"
    paths = [folder / "predictions.json"]
    if arrays:
        paths.append(folder / "predictions.npz")
        with replacing(paths[1]) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    write_text(paths[0], text)
    return paths


def scalars(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The single numbers and words of a nested result, by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            found[f"{prefix}{name}"] = value
    return found


def _array(value: Any) -> np.ndarray:
    detach = getattr(value, "detach", None)  # a torch tensor, which may ask for gradients or live on a device
    array = np.asarray(detach().cpu() if detach is not None else value)
    if array.dtype == object:
        raise TypeError(f"a result holds a {type(value).__name__}, which cannot be written to a file")
    return array


def _describe(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype)}


def _join(key: str, name: str) -> str:
    return f"{key}/{name}" if key else name


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
