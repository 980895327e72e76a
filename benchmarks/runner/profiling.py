"""Where the time of one run goes: a trace of torch's profiler, and on a GPU Nsight Compute's counters."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from medkernels.benchmarks import load_op
from medkernels.benchmarks.runner.cases import BOTH, devices, directions
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile


def trace(ops: Sequence[str], sizes: str, device: str, out: Path) -> Iterator[str]:
    """Trace ours, with gradients if it has them, in each op's first case; yield a line for every result."""
    out.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    for op in ops:
        module = load_op(op)
        if device not in devices(module):
            yield f"{op}: runs on {', '.join(devices(module))}"
            continue
        inputs = module.cases(sizes)[0].inputs(device, 0)
        ours, backward = module.PROVIDERS[0], directions(module)[-1] == BOTH
        ours.run(inputs, backward)
        with torch_profile(activities=activities, profile_memory=True) as profiler:
            ours.run(inputs, backward)
        path = out / f"{op}.trace.json"
        profiler.export_chrome_trace(str(path))
        yield f"{path} (open in https://ui.perfetto.dev or chrome://tracing)"
        if device == "cuda":
            yield from _counters(op, sizes, out)


def _counters(op: str, sizes: str, out: Path) -> Iterator[str]:
    """Run Nsight Compute on the same call, or print how to where it is not installed or not permitted."""
    run = f"from medkernels.benchmarks.runner.profiling import run_ours; run_ours({op!r}, {sizes!r})"
    # The clocks of the card are left as they are.
    command = ["ncu", "--set", "full", "--clock-control", "none", "--force-overwrite"]
    command += ["--export", str(out / op), sys.executable, "-c", run]
    if shutil.which("ncu") is None:
        yield f"hardware counters: {shlex.join(command)}"
        return
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        yield f"{out / op}.ncu-rep (open in Nsight Compute)"
    else:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        yield f"Nsight Compute failed ({' '.join(last)}): {shlex.join(command)}"


def run_ours(op: str, sizes: str) -> None:
    """One run of ours on the GPU, for a profiler around the process."""
    module = load_op(op)
    module.PROVIDERS[0].run(module.cases(sizes)[0].inputs("cuda", 0), directions(module)[-1] == BOTH)
