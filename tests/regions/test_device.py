"""What becomes of arrays on a GPU where there are no CUDA kernels, and of arrays without values.

A tensor on the CPU stands in for one on a GPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import medkernels as mk
from medkernels import _backends, _device

CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("label", lambda mask: mk.regions.label(mask)[0]),
    ("max_tree", lambda image: mk.regions.max_tree(image).parent),
]


@pytest.fixture
def tensor_elsewhere(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(_device, "is_on_cuda", lambda array: isinstance(array, torch.Tensor))
    monkeypatch.setattr(_backends, "cuda_module", lambda: None)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    _backends._warn_fallback.cache_clear()
    return torch.from_numpy(np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.uint8))


@pytest.mark.parametrize(("op", "call"), CALLS)
def test_refused_without_kernels(op: str, call: Callable[[Any], Any], tensor_elsewhere: torch.Tensor) -> None:
    with pytest.raises(mk.BackendError, match=f"{op}: this build has no CUDA kernels"):
        call(tensor_elsewhere)


@pytest.mark.parametrize(("op", "call"), CALLS)
def test_falls_back_with_one_warning(
    op: str, call: Callable[[Any], Any], tensor_elsewhere: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match=f"{op}: this build has no CUDA kernels"):
        found = call(tensor_elsewhere)
    np.testing.assert_array_equal(found.numpy(), call(tensor_elsewhere.numpy()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(tensor_elsewhere)


def test_traced_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match=r"mask must have values: label cannot be traced"):
        jax.jit(lambda mask: mk.regions.label(mask)[0])(jnp.ones((3, 3), bool))
