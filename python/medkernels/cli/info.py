"""`medkernels info`, which needs NumPy only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import medkernels


def version_line() -> str:
    """Name and version of the package."""
    return f"medkernels {medkernels.__version__}"


def show_info(*, as_json: bool) -> None:
    """Print what `medkernels.info` says, as aligned lines or as JSON."""
    info = medkernels.info()
    if as_json:
        print(json.dumps(info, indent=2, default=str))
        return
    lines = list(_flat(info))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{label}.")
        elif isinstance(value, (list, tuple)):
            yield label, ", ".join(str(part) for part in value) or "none"
        else:
            yield label, "none" if value in (None, {}) else str(value)
