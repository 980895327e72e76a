"""Which implementation runs where, and what this build and this machine offer."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import warnings
from functools import cache
from types import ModuleType
from typing import Any

from medkernels import _core

__version__: str = _core.version

#: Array frameworks, and the names under which each is distributed.
_FRAMEWORKS = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "triton": ("triton",),
    "cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x"),
    "jax": ("jax",),
}


class BackendError(RuntimeError):
    """What was asked for is not in this build or not on this machine; the message says how to get it."""


class MedkernelsWarning(UserWarning):
    """Something works, but not in the way the caller may expect."""


def get_num_threads() -> int:
    """Number of CPU threads that ops use."""
    return int(_core.num_threads())


def set_num_threads(count: int) -> None:
    """Set the number of CPU threads that ops use.

    Parameters
    ----------
    count
        At least 1. Results do not depend on it.

    Raises
    ------
    TypeError
        If `count` is not an integer.
    ValueError
        If `count` is less than 1.

    Notes
    -----
    ``OMP_NUM_THREADS`` sets the number at start, and ``threadpoolctl`` changes it too.

    Examples
    --------
    >>> import medkernels as mk
    >>> mk.set_num_threads(2)
    >>> mk.get_num_threads()
    2
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"count must be an integer, not {type(count).__name__}")
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    _core.set_num_threads(count)


@cache
def cuda_module() -> ModuleType | None:
    """The CUDA extension module, loaded on first use; None when this build has none."""
    if importlib.util.find_spec("medkernels._cuda") is None:
        return None
    return importlib.import_module("medkernels._cuda")


def triton_kernels(name: str) -> ModuleType:
    """The Triton module of one op.

    Raises
    ------
    BackendError
        If Triton or PyTorch is not installed.
    """
    for package in ("torch", "triton"):
        if importlib.util.find_spec(package) is None:
            raise BackendError(
                f"{name} on a GPU needs {package}, which is not installed: pip install {package} "
                "(or set MEDKERNELS_CPU_FALLBACK=1 to compute on the CPU)"
            )
    return importlib.import_module(f"medkernels.kernels.{name}")


@cache
def _warn_fallback(name: str, why: str) -> None:
    warnings.warn(
        f"{name}: {why}; computing on the CPU (MEDKERNELS_CPU_FALLBACK=1)", MedkernelsWarning, stacklevel=4
    )


def fall_back_to_cpu(name: str, why: str) -> None:
    """Allow, with one warning, that an op is computed on the CPU although its input lives elsewhere.

    Raises
    ------
    BackendError
        Unless the environment variable ``MEDKERNELS_CPU_FALLBACK`` is 1.
    """
    if os.environ.get("MEDKERNELS_CPU_FALLBACK") != "1":
        raise BackendError(f"{name}: {why}; set MEDKERNELS_CPU_FALLBACK=1 to copy through the CPU")
    _warn_fallback(name, why)


def cuda_kernels(name: str) -> ModuleType | None:
    """The CUDA extension module, for an op whose input is on a GPU; None if the op shall use the CPU.

    Raises
    ------
    BackendError
        If there is no such module or no device, unless ``MEDKERNELS_CPU_FALLBACK`` is 1.
    """
    module = cuda_module()
    if module is not None and module.device_count() > 0:
        return module
    why = "this build has no CUDA kernels" if module is None else "no CUDA device or driver was found"
    fall_back_to_cpu(name, why)
    return None


def available_memory() -> int | None:
    """Bytes of memory that can still be allocated on this machine, or None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def info() -> dict[str, Any]:
    """What this build holds and what this machine offers.

    Returns
    -------
    dict
        ``version``, ``python``, ``platform``, ``compiler``, ``simd`` (instruction set in use), ``threads``;
        ``cuda``: None without a CUDA build, else ``devices`` (one dict each) and ``message``;
        ``frameworks``: version of each array framework found, None where missing.

    Examples
    --------
    >>> import medkernels as mk
    >>> sorted(mk.info())
    ['compiler', 'cuda', 'frameworks', 'platform', 'python', 'simd', 'threads', 'version']
    """
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "compiler": _core.compiler,
        "simd": _core.simd_level(),
        "threads": get_num_threads(),
        "cuda": _cuda_info(),
        "frameworks": {name: _version_of(distributions) for name, distributions in _FRAMEWORKS.items()},
    }


def _cuda_info() -> dict[str, Any] | None:
    module = cuda_module()
    if module is None:
        return None
    devices = [module.device(index) for index in range(module.device_count())]
    return {
        "devices": devices,
        "message": "ready" if devices else "built, but no CUDA device or driver was found",
    }


def _version_of(distributions: tuple[str, ...]) -> str | None:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
