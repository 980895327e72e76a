"""Run the benchmarks of some ops: compare, time, measure memory, set against the machine's ceilings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
from medkernels.benchmarks import list_ops, load_op
from medkernels.benchmarks.runner import machine
from medkernels.benchmarks.runner.cases import BOTH, FORWARD, OURS, Case, Inputs, Outputs, Provider, Work
from medkernels.benchmarks.runner.memory import Request, peak_memory
from medkernels.benchmarks.runner.timing import Clock, CudaClock, Times, cpu_clock, time_in_turns

from medkernels import get_num_threads, set_num_threads

SIZES = ("small", "full")
BUDGETS = {"small": 0.05, "full": 2.0}  # seconds of timed runs for a provider in a case
INPUT_SETS = 4  # equal inputs from different seeds, taken in turns

Row = dict[str, Any]


class MismatchError(ArithmeticError):
    """A peer's result differs from ours by more than is allowed."""


def run_benchmarks(
    ops: Sequence[str] = (),
    *,
    peers: bool = False,
    sizes: str = "full",
    threads: int | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure ops, and their peers if asked.

    Parameters
    ----------
    ops : names from `list_ops`; all if empty.
    peers : run the other libraries too.
    sizes : "small" (seconds) or "full" (minutes).
    threads : CPU threads of ours and of torch; those in use if None.
    device : "cpu" or "cuda".
    say : called with one line for every case.

    Returns
    -------
    dict
        ``machine``, ``settings`` and ``ops``: for each its title, ceilings, rows and targets.

    Raises
    ------
    ValueError
        If an argument is unknown.
    RuntimeError
        If there is no such device.
    MismatchError
        If outputs differ by more than the peer's tolerance.
    """
    if sizes not in SIZES:
        raise ValueError(f"sizes must be one of {', '.join(SIZES)}, got {sizes!r}")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("device: torch finds no CUDA device here")
    modules = {name: load_op(name) for name in (ops or list_ops())}
    if threads is not None:
        set_num_threads(threads)
    torch.set_num_threads(get_num_threads())
    return {
        "machine": machine.describe(device),
        "settings": {"sizes": sizes, "peers": peers, "threads": get_num_threads(), "device": device},
        "ops": {name: _run_op(name, module, peers, sizes, device, say) for name, module in modules.items()},
    }


def _run_op(
    op: str, module: ModuleType, peers: bool, sizes: str, device: str, say: Callable[[str], None]
) -> dict[str, Any]:
    top = machine.ceilings(device)
    clock: Clock = CudaClock() if device == "cuda" else cpu_clock
    rows: list[Row] = []
    requests: list[Request] = []
    small = module.cases("small")[0].inputs(device, 0)
    for provider in module.PROVIDERS:  # libraries load and thread pools start before anything is timed
        provider.run(small, True)
    for case in module.cases(sizes):
        sets = [case.inputs(device, seed) for seed in range(INPUT_SETS)]
        providers = module.PROVIDERS if peers and not case.curve else module.PROVIDERS[:1]
        for direction in (FORWARD, BOTH):
            times, outputs = _time(case, providers, sets, direction, clock, BUDGETS[sizes])
            differences = {p.name: check(case, p, outputs[OURS], outputs[p.name]) for p in providers[1:]}
            del outputs
            work = case.work(sets[0], direction == BOTH)
            for provider in providers:
                row = _row(case, direction, provider.name, times[provider.name], work, top)
                row["differences"] = differences.get(provider.name)
                if provider.at_once is not None:
                    row["items_at_once"] = provider.at_once(sets[0], direction == BOTH)
                rows.append(row)
                if not case.curve:
                    requests.append((case, provider, direction))
            say(_line(op, rows[-len(providers) :]))
    memory = peak_memory(op, sizes, requests, get_num_threads(), device)
    for row, value in zip([row for row in rows if not row["curve"]], memory, strict=True):
        row["memory_bytes"] = value
    return {
        "title": module.TITLE,
        "units": module.UNITS,
        "ceilings": top,
        "rows": rows,
        "targets": _targets(module, rows),
    }


def _time(
    case: Case, providers: Sequence[Provider], sets: list[Inputs], direction: str, clock: Clock, budget: float
) -> tuple[dict[str, Times], dict[str, Outputs]]:
    def task(provider: Provider) -> Callable[[int], Outputs]:
        return lambda run: provider.run(sets[run % len(sets)], direction == BOTH)

    return time_in_turns({p.name: task(p) for p in providers}, clock, budget)


def check(case: Case, provider: Provider, ours: Outputs, theirs: Outputs) -> dict[str, float]:
    """Differences of a peer's outputs from ours: of the result greatest and relative, of gradients relative.

    Raises
    ------
    MismatchError
        If one is beyond the provider's tolerance, or an output is missing or not finite.
    """
    if ours.keys() != theirs.keys():
        raise MismatchError(f"{case.name}: {provider.name} returns {sorted(theirs)}, ours {sorted(ours)}")
    found = {"largest": float((ours["result"] - theirs["result"]).abs().max())}
    allowed = {"largest": provider.largest}
    for name, value in ours.items():
        gap = torch.linalg.vector_norm((value - theirs[name]).double())
        found[f"relative {name}"] = float(gap / torch.linalg.vector_norm(value.double()).clamp_min(1e-30))
        allowed[f"relative {name}"] = provider.relative if name == "result" else provider.relative_gradient
    for name, value in found.items():
        if not value <= allowed[name]:  # also catches NaN
            raise MismatchError(
                f"{case.name}: {provider.name} and {OURS} differ, {name} by {value:.3g} "
                f"(allowed {allowed[name]:.3g})"
            )
    return found


def _row(case: Case, direction: str, provider: str, times: Times, work: Work, top: dict[str, float]) -> Row:
    arithmetic, movement = work.flops / top["fma_flop_per_s"], work.bytes / top["copy_bytes_per_s"]
    floor = max(arithmetic, movement)
    return {
        "case": case.name,
        "curve": case.curve,
        "at": case.at,
        "direction": direction,
        "provider": provider,
        **{f"seconds_{key}": value for key, value in asdict(times).items()},
        **asdict(work),
        "floor_seconds": floor,
        "bound": "arithmetic" if arithmetic >= movement else "memory",
        "share_of_ceiling": floor / times.median,
    }


def _targets(module: ModuleType, rows: list[Row]) -> list[Row]:
    """Each target of the op whose case was run, with what was measured."""
    table = {(row["case"], row["direction"], row["provider"]): row for row in rows}
    found = []
    for target in module.TARGETS:
        ours = table.get((target.case, target.direction, OURS))
        peer = table.get((target.case, target.direction, target.provider))
        if ours is None or peer is None:
            continue
        faster = peer["seconds_median"] / ours["seconds_median"]
        share = None
        if ours["memory_bytes"] and peer["memory_bytes"]:
            share = ours["memory_bytes"] / peer["memory_bytes"]
        met = faster >= target.faster
        if target.memory_share is not None:
            met = met and share is not None and share <= target.memory_share
        found.append({**asdict(target), "measured_faster": faster, "measured_share": share, "met": met})
    return found


def _line(op: str, rows: list[Row]) -> str:
    times = ", ".join(f"{row['provider']} {row['seconds_median'] * 1e3:.4g} ms" for row in rows)
    return f"{op}: {rows[0]['case']}, {rows[0]['direction']}: {times}"
