"""How the tests of the Triton kernels reach them: on the CPU in the interpreter, or on a device."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from medkernels import _backends
from medkernels.attention import _torch

interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="runs where Triton interprets its kernels"
)
# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
needs_gpu = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU")


@contextmanager
def triton_for_the_cpu() -> Iterator[None]:
    """Tensors of the CPU go to the Triton kernels, through everything that is around them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_torch, "_triton_kernels", lambda op, tensor: _backends.triton_kernels(op.name))
        yield


def heads_inside(array: torch.Tensor) -> torch.Tensor:
    """The same values, in memory as [B, L, H, D]."""
    return array.transpose(1, 2).contiguous().transpose(1, 2)


def with_gradients(
    function: Callable[..., torch.Tensor], arrays: Sequence[torch.Tensor], differentiable: int
) -> list[torch.Tensor]:
    """The result and the gradients of the first arrays, for one fixed gradient of the result."""
    inputs = [
        array.detach().clone(memory_format=torch.preserve_format).requires_grad_(i < differentiable)
        for i, array in enumerate(arrays)
    ]
    result = function(*inputs)
    random = torch.Generator().manual_seed(1)
    grad = torch.randn(result.shape, generator=random, dtype=torch.float64).to(result)
    found = torch.autograd.grad(
        result, inputs[:differentiable], grad, allow_unused=True, materialize_grads=True
    )
    return [result.detach(), *found]


def compare(found: Sequence[Any], wanted: Sequence[Any], tolerance: float) -> None:
    """Each of them, by the size of its greatest number."""
    for ours, theirs in zip(found, wanted, strict=True):
        size = 1 + float(theirs.abs().max()) if theirs.numel() else 1.0
        torch.testing.assert_close(ours.cpu().double(), theirs.cpu().double(), rtol=0, atol=tolerance * size)
