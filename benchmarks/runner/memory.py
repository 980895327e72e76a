"""Peak memory of one run of one provider.

On the CPU a helper process loads the libraries, runs nothing, and forks once for every measurement, so that
each starts with a fresh heap and no thread pools. The child makes the inputs, runs a tiny case so that
libraries and pools are ready, resets the kernel's high-water mark of resident memory, runs the case once, and
reports the mark minus the resident memory before. That counts outputs and everything held on the way,
whichever allocator it came from, to within the 0.3 MB or so by which the kernel's counters may lag. On a GPU
it is the peak of torch's allocator, which all providers draw from. A provider that spreads its work over
processes does it in one here, and holds what that one does.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from medkernels.benchmarks import load_op
from medkernels.benchmarks.runner.cases import BOTH, Case, Inputs, Provider, item_slice

from medkernels import set_num_threads

BLOCK_BYTES = 16 << 10
ONE_PROCESS = "MEDKERNELS_BENCH_ONE_PROCESS"  # set in the helper: what other processes hold is not seen
Request = tuple[Case, Provider, str]


def peak_memory(
    op: str, sizes: str, requests: Sequence[Request], threads: int, device: str
) -> list[int | None]:
    """Bytes that one run needs beyond its inputs, for each (case, provider, direction).

    None where the system does not tell. A provider that takes the batch in parts is given one part: it holds
    no more than that at a time.
    """
    if device == "cuda":
        return [_on_gpu(*request) for request in requests]
    names = [(case.name, provider.name, direction) for case, provider, direction in requests]
    done = subprocess.run(
        [sys.executable, "-m", "medkernels.benchmarks.runner.memory", op, sizes, str(threads)],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        # Larger blocks come from the system and go back to it: the tiny case leaves nothing to be used again.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(BLOCK_BYTES), ONE_PROCESS: "1"},
    )
    if done.returncode != 0:
        raise RuntimeError(f"measuring the memory of {op} failed: {done.stderr.strip()[-300:]}")
    values: list[int | None] = json.loads(done.stdout)
    return values


def _one_part(provider: Provider, inputs: Inputs, backward: bool) -> Inputs:
    if provider.at_once is None:
        return inputs
    return item_slice(inputs, slice(0, provider.at_once(inputs, backward)))


def _on_gpu(case: Case, provider: Provider, direction: str) -> int:
    backward = direction == BOTH
    inputs = _one_part(provider, case.inputs("cuda", 0), backward)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    provider.run(inputs, backward)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _status(key: str) -> int | None:
    """A line of the process's status in bytes."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(key)), None)


def _growth(
    op: str, sizes: str, threads: int, case_name: str, provider_name: str, direction: str
) -> int | None:
    torch.set_num_threads(threads)
    module = load_op(op)
    case = next(c for c in module.cases(sizes) if c.name == case_name)
    provider = next(p for p in module.PROVIDERS if p.name == provider_name)
    set_num_threads(case.threads or threads)
    backward = direction == BOTH
    warming = module.cases("small")[0]
    if provider_name not in warming.excluded:
        provider.run(_one_part(provider, warming.inputs("cpu", 0), backward), backward)
    inputs = _one_part(provider, case.inputs("cpu", 0), backward)
    marked = _status("VmHWM:")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5: lower the high-water mark to what is resident now
        marked = 0
    except OSError:
        pass  # some containers forbid it; the mark then tells only if the run goes above it
    before = _status("VmRSS:")
    outputs = provider.run(inputs, backward)
    after = _status("VmHWM:")
    del outputs
    if marked is None or before is None or after is None or after <= marked:
        return None
    return max(0, after - before)


def _in_child(op: str, sizes: str, threads: int, names: Sequence[str]) -> int | None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(_growth(op, sizes, threads, *names)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:  # it was killed or failed, and said why on the error stream
        raise RuntimeError(f"no answer for {', '.join(names)}")
    value: int | None = json.loads(said)
    return value


if __name__ == "__main__":
    # Loaded once, so that the children need not; torch loads this at the first call of an operator.
    importlib.import_module("torch._dynamo")
    for provider in load_op(sys.argv[1]).PROVIDERS:
        if provider.library and importlib.util.find_spec(provider.library):
            importlib.import_module(provider.library)
    asked = json.load(sys.stdin)
    print(json.dumps([_in_child(sys.argv[1], sys.argv[2], int(sys.argv[3]), names) for names in asked]))
