"""The whole check of a machine with an NVIDIA GPU: build, GPU tests, benchmarks, compute-sanitizer.

    python3 benchmarks/gpu.py [--seconds 570] [--fresh]

It needs no network and no virtual environment: PyTorch, Triton, nvcc, CMake, ninja, pybind11 and
scikit-build-core must be there. Every step is a process with its own time limit; one that fails does not stop
the others. Results go to benchmarks/results/<gpu>.json after every step, logs to build/gpu/. Called again,
it goes on with the steps that have not passed for these sources. Status: 0 all passed, 1 a step failed or
there is no GPU, 3 time ran out.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOT_OPS = ("__init__", "gpu")
SOURCES = ("csrc", "kernels", "python", "benchmarks", "tests")
SOURCE_KINDS = {".c", ".cpp", ".cu", ".cuh", ".h", ".html", ".py"}
TESTS = "tests/benchmarks/test_against_reference.py"
FAILED, UNFINISHED = 1, 3
SANITIZER_FOUND = 97  # the status by which compute-sanitizer tells that it found something
SHORTEST = 10.0  # seconds: with less left no step is started

Execute = Callable[[Sequence[str], Mapping[str, str], float, Path], int]


@dataclass(frozen=True)
class Gpu:
    """Name and compute capability, as the driver tells them."""

    name: str
    capability: str

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Step:
    """One process. `always`: also in a call that finds it passed, because what it makes is not kept."""

    name: str
    command: list[str]
    limit: float
    environment: dict[str, str] = field(default_factory=dict)
    always: bool = False


def find_gpu() -> Gpu | None:
    """The first GPU, or None."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    name, comma, capability = said.stdout.partition("\n")[0].rpartition(", ")
    return Gpu(name, capability.strip()) if said.returncode == 0 and comma else None


def list_steps(gpu: Gpu, ops: Sequence[str], python: str = sys.executable) -> list[Step]:
    """All steps in order: what must be right first, then the times, then the slow memory checks."""
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    build = [python, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "."]
    architecture = {"MEDKERNELS_CUDA": "ON", "MEDKERNELS_CUDA_ARCHITECTURES": gpu.capability.replace(".", "")}
    steps = [
        Step("build", build, 240, architecture, always=True),
        Step("tests", [*pytest, *gpu_tests()], 180),
    ]
    for op in ops:
        steps.append(Step(f"{op}: reference", [*pytest, _one_test(op)], 90))
    for op in ops:
        bench = [python, "-m", "medkernels.cli", "bench", op, "--peers", "--device", "cuda"]
        steps.append(Step(f"{op}: benchmark", [*bench, "--out", f"build/gpu/{op}"], 120))
    for op in ops:
        for tool in ("memcheck", "racecheck"):
            checked = ["compute-sanitizer", "--tool", tool, "--error-exitcode", str(SANITIZER_FOUND)]
            if tool == "memcheck":  # PyTorch probes the driver with calls that fail; kernels' errors count
                checked += ["--report-api-errors", "no"]
            checked += [*pytest, _one_test(op), f"{TESTS}::test_ceilings[cuda]"]
            # Without PyTorch's cache each tensor is an allocation of its own: a read past its end is seen.
            own = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
            steps.append(Step(f"{op}: {tool}", checked, 120, own))
    return steps


def gpu_tests(root: Path | None = None) -> list[str]:
    """Test files that mark something for a GPU; the others may need libraries that such a machine lacks."""
    root = root or ROOT
    files = sorted((root / "tests").rglob("test_*.py"))
    return [
        str(path.relative_to(root)) for path in files if "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    ]


def gpu_ops(folder: Path | None = None) -> list[str]:
    """Benchmarks of ops that run on a GPU. Their files are read, not imported: nothing is built yet."""
    files = sorted((folder or ROOT / "benchmarks").glob("*.py"))
    return [path.stem for path in files if path.stem not in NOT_OPS and "cuda" in _devices(path)]


def run_steps(
    steps: Sequence[Step],
    state: dict[str, Any],
    *,
    execute: Execute,
    save: Callable[[dict[str, Any]], None],
    logs: Path,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run what has not passed yet, each step within its limit and all within `seconds`.

    `state` is what an earlier call saved; the new state is saved after every step. Without a build nothing
    else can run, so a failed one ends the call.
    """
    end = clock() + seconds
    done = state.setdefault("steps", {})
    for step in steps:
        if done.get(step.name, {}).get("status") == "passed" and not step.always:
            continue
        left = end - clock()
        if left < SHORTEST:
            done[step.name] = {"status": "not run", "seconds": 0.0}
            continue
        print(f"{step.name} ...", flush=True)
        log = logs / f"{re.sub(r'[^a-z0-9]+', '-', step.name)}.log"
        begun, limit = clock(), min(step.limit, left)
        code = execute(step.command, step.environment, limit, log)
        done[step.name] = {"status": _status(code), "seconds": round(clock() - begun, 1), "code": code}
        if code != 0:
            done[step.name] |= {"limit": round(limit), "log": str(log), "tail": _tail(log)}
        save(state)
        if code != 0 and step.name == "build":
            for later in steps[1:]:
                done[later.name] = {"status": "not run", "seconds": 0.0}
            break
    save(state)
    return state


def execute(command: Sequence[str], environment: Mapping[str, str], limit: float, log: Path) -> int:
    """Run a process group into a log file; -9 after its time limit, 127 if there is no such program."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            output.write(f"{error}\n".encode())
            return 127
        try:
            return process.wait(limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return -signal.SIGKILL
            raise


def fingerprint(root: Path = ROOT) -> str:
    """Of all sources: results of other sources do not count as passed."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SOURCE_KINDS:
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update((root / "CMakeLists.txt").read_bytes())
    return digest.hexdigest()[:16]


def add_benchmarks(state: dict[str, Any], ops: Sequence[str], folder: Path) -> dict[str, Any]:
    """Take the results of finished benchmarks into the state."""
    for op in ops:
        path = folder / op / "results.json"
        if state["steps"].get(f"{op}: benchmark", {}).get("status") == "passed" and path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            state["machine"] = result["machine"]
            state.setdefault("ops", {})[op] = result["ops"][op]
    return state


def tell(state: dict[str, Any]) -> list[str]:
    """The short table: each comparison, then each step, failures last with the end of their log."""
    lines = []
    for op, result in state.get("ops", {}).items():
        rows = [row for row in result["rows"] if not row["curve"]]
        own = {
            (r["case"], r["direction"]): r["seconds_median"] for r in rows if r["provider"] == "medkernels"
        }
        for row in rows:
            faster = row["seconds_median"] / own[row["case"], row["direction"]]
            share = row["share_of_ceiling"]
            lines.append(
                f"{op:<12} {row['case']:<32} {row['direction']:<17} {row['provider']:<18}"
                f"{row['seconds_median'] * 1e3:>10.3f} ms {faster:>8.1f}x"
                + (f"{share:>8.1%} of ceiling" if share is not None else "")
            )
    for name, step in state["steps"].items():
        lines.append(f"{name:<28} {step['status']:<12} {step['seconds']:>6.1f} s")
    for name, step in state["steps"].items():
        if step.get("tail"):
            lines += [f"{name}: end of {step['log']}", *(f"  {line}" for line in step["tail"])]
    return lines


def exit_status(state: dict[str, Any]) -> int:
    """0 if all passed, 3 if the only trouble is that time ran out, else 1."""
    found = {step["status"] for step in state["steps"].values()}
    if found <= {"passed"}:
        return 0
    return UNFINISHED if found <= {"passed", "not run"} else FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps on this machine's GPU; see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=570.0, help="for the whole call")
    parser.add_argument("--fresh", action="store_true", help="forget what has passed")
    options = parser.parse_args(argv)
    gpu = find_gpu()
    if gpu is None:
        print("gpu: no NVIDIA GPU found (nvidia-smi lists none)", file=sys.stderr)
        return FAILED
    ops = gpu_ops()
    path, print_of_sources = ROOT / "benchmarks" / "results" / f"{gpu.slug}.json", fingerprint()
    state: dict[str, Any] = {}
    if path.is_file() and not options.fresh:
        state = json.loads(path.read_text(encoding="utf-8"))
    if state.get("sources") != print_of_sources:
        state = {"gpu": gpu.name, "capability": gpu.capability, "sources": print_of_sources}
    logs = ROOT / "build" / "gpu"

    def save(now: dict[str, Any]) -> None:
        text = json.dumps(add_benchmarks(now, ops, logs), indent=1) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(text, encoding="utf-8")
        path.with_suffix(".tmp").replace(path)

    steps = list_steps(gpu, ops)
    run_steps(steps, state, execute=execute, save=save, logs=logs, seconds=options.seconds)
    print("\n".join(tell(state)))
    status = exit_status(state)
    if status == UNFINISHED:
        print("time ran out: the same command goes on with what is left", file=sys.stderr)
    return status


def _devices(path: Path) -> tuple[str, ...]:
    """The constant `DEVICES` of a benchmark's file; one without it runs everywhere."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(name) for name in node.targets] == ["DEVICES"]:
            return tuple(ast.literal_eval(node.value))
    return ("cpu", "cuda")


def _one_test(op: str) -> str:
    return f"{TESTS}::test_agrees_with_reference[cuda-{op}]"


def _status(code: int) -> str:
    if code == 0:
        return "passed"
    return "out of time" if code == -signal.SIGKILL else "failed"


def _tail(log: Path) -> list[str]:
    if not log.is_file():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]


if __name__ == "__main__":
    sys.exit(main())
