"""What a benchmark is made of: cases, providers, the least work, targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, cat, enable_grad, no_grad

Inputs = dict[str, Any]  # tensors and options of one call
Outputs = dict[str, Tensor]  # the result, and gradients under "grad <input>"

FORWARD, BOTH = "forward", "forward+backward"
OURS = "medkernels"


@dataclass(frozen=True)
class Work:
    """The least that any implementation must do.

    units : what the cost should grow with (for a renderer the touched pixels, summed over primitives).
    flops : floating-point operations, a multiply-add counting as two, a root, exponential or division as one.
    bytes : each input read once, each output written once.
    """

    units: int
    flops: float
    bytes: float


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    name : shown in tables.
    inputs : (device, seed) -> the inputs.
    work : (inputs, backward) -> the least work.
    curve, at : the growth curve that the case is a point of, and its place on it; no peer runs there.
    """

    name: str
    inputs: Callable[[str, int], Inputs]
    work: Callable[[Inputs, bool], Work]
    curve: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Provider:
    """One implementation.

    run : (inputs, backward) -> outputs.
    largest : allowed greatest absolute difference of the result from ours.
    relative : allowed ||theirs - ours|| / ||ours|| of the result, and of each gradient.
    at_once : (inputs, backward) -> items of the batch that it holds in memory at the same time.
    """

    name: str
    run: Callable[[Inputs, bool], Outputs]
    largest: float = 0.0
    relative: float = 0.0
    relative_gradient: float = 0.0
    at_once: Callable[[Inputs, bool], int] | None = None


@dataclass(frozen=True)
class Target:
    """Ours against a peer in a case: at least so many times faster, at most this share of its memory."""

    case: str
    direction: str
    provider: str
    faster: float
    memory_share: float | None = None


def item_slice(inputs: Inputs, part: slice) -> Inputs:
    """The same call for some items of the batch."""
    return {name: value[part] if isinstance(value, Tensor) else value for name, value in inputs.items()}


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """The arrays among the inputs; "upstream" is the gradient that reaches the result."""
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor) and name != "upstream"}


def run_in_parts(
    draw: Callable[[Inputs], Tensor], inputs: Inputs, backward: bool, at_once: int | None = None
) -> Outputs:
    """The result of `draw`, and if asked its gradients, for `at_once` items of the batch at a time.

    Parts bound the memory that autograd needs; the gradients of items do not mix, so they are the same.
    """
    batch = len(next(iter(tensors(inputs).values())))
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
