"""Run the benchmarks of some ops: compare, time, measure memory, set against the machine's ceilings."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
from medkernels.benchmarks import list_ops, load_op
from medkernels.benchmarks.runner import machine
from medkernels.benchmarks.runner.cases import (
    BEST,
    BOTH,
    OURS,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
    batch_size,
    devices,
    directions,
)
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
    ops : names from `list_ops`; all that run on the device if empty.
    peers : run the other libraries too.
    sizes : "small" (seconds) or "full" (minutes).
    threads : CPU threads of ours and of torch; those in use if None.
    device : "cpu" or "cuda".
    say : called with one line for every case.

    Returns
    -------
    dict
        ``machine``, ``settings`` and ``ops``: for each its title, ceilings, rows, peers left out and targets.

    Raises
    ------
    ValueError
        If an argument is unknown, or an op does not run on the device.
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
    if not ops:
        modules = {name: module for name, module in modules.items() if device in devices(module)}
    for name, module in modules.items():
        if device not in devices(module):
            raise ValueError(f"device: {name} runs on {', '.join(devices(module))}, got {device}")
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
    threads = get_num_threads()
    rows: list[Row] = []
    left_out: list[Row] = []
    requests: list[Request] = []
    missing = _missing(module) if peers else {}
    known = [p for p in (module.PROVIDERS if peers else module.PROVIDERS[:1]) if p.name not in missing]
    small = module.cases("small")[0]
    for provider in known:  # libraries load and thread pools start before anything is timed
        if provider.name not in small.excluded:
            provider.run(small.inputs(device, 0), directions(module)[-1] == BOTH)
    for case in module.cases(sizes):
        sets = [case.inputs(device, seed) for seed in range(INPUT_SETS)]
        providers = [p for p in (known[:1] if case.curve else known) if p.name not in case.excluded]
        if peers and not case.curve:
            reasons = {**case.excluded, **missing}.items()
            left_out += [{"case": case.name, "provider": name, "reason": why} for name, why in reasons]
        for direction in directions(module):
            with _threads(case.threads or threads):
                times, outputs = _time(case, providers, sets, direction, clock, BUDGETS[sizes])
            differences = {p.name: check(case, p, outputs[OURS], outputs[p.name]) for p in providers[1:]}
            amounts = {
                p.name: p.amounts(sets[0], outputs[p.name]) for p in providers if p.amounts and not case.curve
            }
            del outputs
            work = case.work(sets[0], direction == BOTH)
            for provider in providers:
                row = _row(case, direction, provider.name, times[provider.name], work, top)
                row["differences"] = differences.get(provider.name)
                row["amounts"] = amounts.get(provider.name)
                if provider.at_once is not None:
                    held = provider.at_once(sets[0], direction == BOTH)
                    row["items_at_once"] = held if held < batch_size(sets[0]) else None
                rows.append(row)
                requests.append((case, provider, direction))
            say(_line(op, rows[-len(providers) :]))
    for row, value in zip(rows, peak_memory(op, sizes, requests, threads, device), strict=True):
        row["memory_bytes"] = value
    return {
        "title": module.TITLE,
        "units": module.UNITS,
        "ceilings": top,
        "rows": rows,
        "left_out": left_out,
        "targets": _targets(module, rows),
    }


def _missing(module: ModuleType) -> dict[str, str]:
    """Peers whose library is not installed."""
    return {
        provider.name: f"the package {provider.library} is not installed"
        for provider in module.PROVIDERS
        if provider.library and importlib.util.find_spec(provider.library) is None
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def _time(
    case: Case, providers: Sequence[Provider], sets: list[Inputs], direction: str, clock: Clock, budget: float
) -> tuple[dict[str, Times], dict[str, Outputs]]:
    def task(provider: Provider) -> Callable[[int], Outputs]:
        return lambda run: provider.run(sets[run % len(sets)], direction == BOTH)

    return time_in_turns({p.name: task(p) for p in providers}, clock, budget)


def check(case: Case, provider: Provider, ours: Outputs, theirs: Outputs) -> dict[str, float]:
    """Differences of a peer's outputs from ours, by name.

    Raises
    ------
    MismatchError
        If one is beyond the provider's tolerance, or an output is missing or not finite where ours is.
    """
    if ours.keys() != theirs.keys():
        raise MismatchError(f"{case.name}: {provider.name} returns {sorted(theirs)}, ours {sorted(ours)}")
    try:
        found = provider.compare(ours, theirs)
    except ValueError as error:
        raise MismatchError(f"{case.name}: {provider.name} and {OURS} differ, {error}") from error
    for name, value in found.items():
        if not value <= provider.allows(name):  # also catches NaN
            raise MismatchError(
                f"{case.name}: {provider.name} and {OURS} differ, {name} by {value:.3g} "
                f"(allowed {provider.allows(name):.3g})"
            )
    return found


def _row(case: Case, direction: str, provider: str, times: Times, work: Work, top: dict[str, float]) -> Row:
    floor: Row = {"floor_seconds": None, "bound": None, "share_of_ceiling": None}
    if work.flops is not None and work.bytes is not None:
        arithmetic, movement = work.flops / top["fma_flop_per_s"], work.bytes / top["copy_bytes_per_s"]
        floor["floor_seconds"] = max(arithmetic, movement)
        floor["bound"] = "arithmetic" if arithmetic >= movement else "memory"
        floor["share_of_ceiling"] = floor["floor_seconds"] / times.median
    return {
        "case": case.name,
        "curve": case.curve,
        "at": case.at,
        "direction": direction,
        "provider": provider,
        **{f"seconds_{key}": value for key, value in asdict(times).items()},
        **asdict(work),
        **floor,
        "threads": case.threads,
    }


def _targets(module: ModuleType, rows: list[Row]) -> list[Row]:
    """Each target of the op whose case was run, with what was measured."""
    table: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        table.setdefault((row["case"], row["direction"]), {})[row["provider"]] = row
    found = []
    for target in module.TARGETS:
        measured = dict(table.get((target.case, target.direction), {}))
        ours = measured.pop(OURS, None)
        peer = _peer(target, measured)
        if ours is None or peer is None:
            continue
        faster = _cost(peer, target.per) / _cost(ours, target.per)
        share = None
        if ours["memory_bytes"] and peer["memory_bytes"]:
            share = ours["memory_bytes"] / peer["memory_bytes"]
        met = faster >= target.faster
        if target.memory_share is not None:
            met = met and share is not None and share <= target.memory_share
        judged = {"against": peer["provider"], "measured_faster": faster, "measured_share": share, "met": met}
        found.append({**asdict(target), **judged})
    return found


def _peer(target: Target, measured: Mapping[str, Row]) -> Row | None:
    if target.provider == BEST:
        return min(measured.values(), key=lambda row: _cost(row, target.per), default=None)
    return measured.get(target.provider)


def _cost(row: Row, per: str) -> float:
    """Seconds of a call, or for each one of an amount; infinite where there was none."""
    seconds = float(row["seconds_median"])
    return seconds if not per else seconds / row["amounts"][per] if row["amounts"][per] else math.inf


def _line(op: str, rows: list[Row]) -> str:
    times = ", ".join(f"{row['provider']} {row['seconds_median'] * 1e3:.4g} ms" for row in rows)
    return f"{op}: {rows[0]['case']}, {rows[0]['direction']}: {times}"
