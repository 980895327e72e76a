"""What this machine is, and what it can do at best."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medkernels
from medkernels import _core
from medkernels._backends import cuda_module

COPY_MEGABYTES, COPY_REPEATS, FMA_SECONDS = 256, 7, 0.5


def describe(device: str) -> dict[str, Any]:
    """Versions, compiler, threads, processor and, for "cuda", the GPU."""
    said: dict[str, Any] = {
        **medkernels.info(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "system": platform.platform(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "device": device,
        "environment": {
            name: os.environ[name] for name in sorted(os.environ) if name.startswith(("OMP_", "GOMP_"))
        },
        "busy": _busy(),
    }
    if device == "cuda":
        said["gpu"] = torch.cuda.get_device_name()
    return said


def ceilings(device: str) -> dict[str, float]:
    """Measured: bytes/s of a large copy (read plus written), flop/s of fused multiply-adds in float32."""
    if device == "cuda":
        cuda = cuda_module()
        if cuda is None:
            raise medkernels.BackendError(
                "device: this build has no CUDA module, which measures the GPU's ceilings"
            )
        copy, fma = cuda.copy_bandwidth(1024, COPY_REPEATS), cuda.fma_rate(FMA_SECONDS)
    else:
        copy = _core.copy_bandwidth(COPY_MEGABYTES, COPY_REPEATS)
        fma = _core.fma_rate(FMA_SECONDS, False)
    return {"copy_bytes_per_s": float(copy), "fma_flop_per_s": float(fma)}


def _busy() -> str:
    """A warning if other programs keep the processors busy."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < 0.5 * cores:
        return ""
    return f"The machine was busy at the start (load {load:.1f}, {cores} processors): do not trust the times."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
