"""What a benchmark is made of: cases, providers, the least work, targets.

The module of an op, ``benchmarks/<op>.py``, has

TITLE : what is measured, a phrase.
UNITS : what `Work.units` counts, in the plural.
PROVIDERS : ours first, then the peers.
TARGETS : what ours is held to.
cases : "small" or "full" -> the cases. The first small one warms up every provider: it should be tiny.
DIRECTIONS : optional; ``(FORWARD,)`` for an op without gradients, both if left out.
DEVICES : optional; ``("cpu",)`` for an op that runs nowhere else, both if left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from medkernels.benchmarks.runner.compare import Differences, compare_arrays
from torch import Tensor, cat, enable_grad, no_grad

Inputs = dict[str, Any]  # arrays, of torch or NumPy, and options of one call
Outputs = dict[str, Any]  # "result": an array or what `Provider.compare` reads; gradients: "grad <input>"

FORWARD, BOTH = "forward", "forward+backward"
OURS = "medkernels"
ARRAYS = (Tensor, np.ndarray)
BEST = "best peer"  # as the provider of a target: whichever peer is fastest in the case


@dataclass(frozen=True)
class Work:
    """The least that any implementation must do.

    units : what the cost should grow with (for a renderer the touched pixels, summed over primitives).
    flops : floating-point operations, a multiply-add counting as two, a root, exponential or division as one.
    bytes : each input read once, each output written once.

    Where the least is not known, as for the reduction of a matrix, `flops` and `bytes` are None and no share
    of the machine's ceiling is shown.
    """

    units: int
    flops: float | None = None
    bytes: float | None = None


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    name : shown in tables.
    inputs : (device, seed) -> the inputs.
    work : (inputs, backward) -> the least work.
    curve, at : the growth curve that the case is a point of, and its place on it; no peer runs there.
    threads : CPU threads in this case; those of the whole run if None.
    excluded : peers that do not run here, with the reason, which is shown.
    """

    name: str
    inputs: Callable[[str, int], Inputs]
    work: Callable[[Inputs, bool], Work]
    curve: str = ""
    at: float = 0.0
    threads: int | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provider:
    """One implementation.

    run : (inputs, backward) -> outputs. It uses as many threads as `medkernels.get_num_threads()` says.
    largest : allowed greatest absolute difference of the result from ours; for diagrams of their bars.
    relative : allowed ||theirs - ours|| / ||ours|| of the result, and of each gradient.
    at_once : (inputs, backward) -> items of the batch that it holds in memory at the same time.
    compare : (ours, theirs) -> differences by name. `compare_arrays` finds "largest", "relative result" and
        "relative grad <input>"; `compare_diagrams` finds "largest".
    library : the package that it imports; where that is not installed the provider is left out.
    amounts : (inputs, outputs) -> how much it found, by name, for work of which one finds more than another.
        Counted once in each case that is no point of a curve, not timed.
    """

    name: str
    run: Callable[[Inputs, bool], Outputs]
    largest: float = 0.0
    relative: float = 0.0
    relative_gradient: float = 0.0
    at_once: Callable[[Inputs, bool], int] | None = None
    compare: Callable[[Outputs, Outputs], Differences] = compare_arrays
    library: str = ""
    amounts: Callable[[Inputs, Outputs], dict[str, int]] | None = None

    def allows(self, difference: str) -> float:
        """The tolerance of a difference that `compare` finds."""
        if difference == "largest":
            return self.largest
        return self.relative if difference == "relative result" else self.relative_gradient


@dataclass(frozen=True)
class Target:
    """Ours against a peer or `BEST`: at least so many times faster, with at most this share of its memory.

    Where `per` names one of `Provider.amounts`, the time for each one of these counts, not that of a call.
    """

    case: str
    direction: str
    provider: str
    faster: float
    memory_share: float | None = None
    per: str = ""


def directions(module: ModuleType) -> tuple[str, ...]:
    """What of an op is timed; the last one does the most."""
    return getattr(module, "DIRECTIONS", (FORWARD, BOTH))


def devices(module: ModuleType) -> tuple[str, ...]:
    """Where an op runs."""
    return getattr(module, "DEVICES", ("cpu", "cuda"))


def item_slice(inputs: Inputs, part: slice) -> Inputs:
    """The same call for some items of the batch."""
    return {name: value[part] if isinstance(value, ARRAYS) else value for name, value in inputs.items()}


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The tensors among the inputs; "upstream" is the gradient that reaches the result."""
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor) and name != "upstream"}


def batch_size(inputs: Inputs) -> int:
    """Items of the batch: the length of the first array."""
    return next(len(value) for value in inputs.values() if isinstance(value, ARRAYS))


def run_in_parts(
    draw: Callable[[Inputs], Tensor], inputs: Inputs, backward: bool, at_once: int | None = None
) -> Outputs:
    """The result of `draw`, and if asked its gradients, for `at_once` items of the batch at a time.

    Parts bound the memory that autograd needs; the gradients of items do not mix, so they are the same.
    """
    batch = batch_size(inputs)
    step = at_once or batch
    parts: list[Outputs] = []
    for first in range(0, batch, step):
        part = item_slice(inputs, slice(first, first + step))
        leaves = {name: value.detach().requires_grad_(backward) for name, value in tensors(part).items()}
        with enable_grad() if backward else no_grad():
            result = draw({**part, **leaves})
        outputs = {"result": result.detach()}
        if backward:
            result.backward(part["upstream"])
            outputs |= {f"grad {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        parts.append(outputs)
    return {
        name: cat([part[name] for part in parts]) if len(parts) > 1 else parts[0][name] for name in parts[0]
    }
