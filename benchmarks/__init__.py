"""Ours beside the best existing library, on the same inputs in the same process.

One file an op: its cases, its peers, the work it must do at least. `runner` times, compares and
reports them; `gpu.py` is the whole check of a machine with an NVIDIA GPU.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

NOT_OPS = ("__init__", "gpu")


def list_ops() -> list[str]:
    """Ops that can be benchmarked, by name."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_OPS)


def load_op(name: str) -> ModuleType:
    """The module of one op; `runner.cases` says what it holds."""
    if name not in list_ops():
        raise ValueError(f"op: there is no benchmark {name!r}; there are: {', '.join(list_ops())}")
    return importlib.import_module(f"{__name__}.{name}")
