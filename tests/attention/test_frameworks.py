"""The attention ops as operators of PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import medkernels as mk


class Call(NamedTuple):
    """An op with arrays for it, the options of its operator, and how many of its arrays have a gradient."""

    function: Callable[..., Any]
    arrays: list[torch.Tensor]
    options: tuple[Any, ...]
    differentiable: int


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CALLS = {
    "channel": Call(
        mk.attention.channel,
        [normal(2, 3, 30, 5, seed=seed) for seed in (1, 2, 3)],
        (0.4,),
        3,
    ),
    "knn_memory": Call(
        lambda *a: mk.attention.knn_memory(*a, k=4),
        [normal(2, 3, 7, 5, seed=1), normal(2, 3, 30, 5, seed=2), normal(2, 3, 30, 4, seed=3)],
        (4, 0.4),
        1,
    ),
    "prob_sparse": Call(
        lambda *a: mk.attention.prob_sparse(*a, factor=1, seed=4),
        [normal(2, 3, 30, 5, seed=1), normal(2, 3, 30, 5, seed=2), normal(2, 3, 30, 4, seed=3)],
        (4, 4, 4, 0.4, False),
        3,
    ),
    "set_attention": Call(
        mk.attention.set_attention,
        [normal(2, 3, 7, 5, seed=1), normal(2, 3, 30, 5, seed=2), normal(2, 3, 30, 4, seed=3)],
        (0.4,),
        3,
    ),
}
HEADS_INSIDE = ("channel", "set_attention")


@pytest.fixture(params=sorted(CALLS))
def name(request: Any) -> str:
    return str(request.param)


def leaves(call: Call) -> list[torch.Tensor]:
    return [array.clone().requires_grad_(i < call.differentiable) for i, array in enumerate(call.arrays)]


def test_opcheck(name: str) -> None:
    call = CALLS[name]
    call.function(*call.arrays)
    operator = getattr(torch.ops.medkernels, name).default
    torch.library.opcheck(operator, (*leaves(call), *call.options))


@pytest.mark.parametrize("name", HEADS_INSIDE)
def test_heads_inside(name: str) -> None:
    """Arrays in memory as [B, N, H, D]: the shapes of a graph tell how results lie in memory."""
    call = CALLS[name]
    arrays = [array.transpose(1, 2).contiguous().transpose(1, 2) for array in call.arrays]
    operator = getattr(torch.ops.medkernels, name).default
    torch.library.opcheck(operator, (*(a.requires_grad_() for a in arrays), *call.options))
    compiled = torch.compile(call.function, fullgraph=True, backend="aot_eager")(*arrays)
    plain = call.function(*call.arrays)
    torch.testing.assert_close(compiled, plain)
    assert compiled.stride() != plain.stride()
    assert call.function(*[a.to("meta") for a in arrays]).stride() == compiled.stride()
    for gradient, array in zip(torch.autograd.grad(compiled.square().sum(), arrays), arrays, strict=True):
        assert gradient.stride() == array.stride()


def test_compile_without_graph_break(name: str) -> None:
    call = CALLS[name]

    def loss(*arrays: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = (call.function(*arrays) ** 2).sum()
        return result

    for dynamic in (None, True):
        torch.compiler.reset()
        ours, compiled = leaves(call), leaves(call)
        plain = loss(*ours)
        traced = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)(*compiled)
        torch.testing.assert_close(traced, plain)
        wanted = torch.autograd.grad(plain, ours[: call.differentiable])
        for a, b in zip(wanted, torch.autograd.grad(traced, compiled[: call.differentiable]), strict=True):
            torch.testing.assert_close(a, b)


def test_vmap(name: str) -> None:
    call = CALLS[name]
    stacked = [torch.stack([array, array.flip(0), array * 0.9]) for array in call.arrays]
    mapped = torch.func.vmap(call.function)(*stacked)
    for i in range(3):
        torch.testing.assert_close(mapped[i], call.function(*[array[i] for array in stacked]))
    partly = torch.func.vmap(call.function, in_dims=(0, *[None] * (len(stacked) - 1)))(
        stacked[0], *call.arrays[1:]
    )
    torch.testing.assert_close(partly[1], call.function(stacked[0][1], *call.arrays[1:]))
    leaf_stack, single = (
        [a.clone().requires_grad_() for a in arrays] for arrays in (stacked, [a[1] for a in stacked])
    )
    mapped_loss = (torch.func.vmap(call.function)(*leaf_stack) ** 2).sum()
    grads = torch.autograd.grad(mapped_loss, leaf_stack[: call.differentiable])
    wanted = torch.autograd.grad((call.function(*single) ** 2).sum(), single[: call.differentiable])
    for all_of_them, one in zip(grads, wanted, strict=True):
        torch.testing.assert_close(all_of_them[1], one)


def test_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    call = CALLS[name]
    with jax.enable_x64(True):
        arrays = [jnp.asarray(array.numpy()) for array in call.arrays]
        wanted = call.function(*[array.numpy() for array in call.arrays])
        result = call.function(*arrays)
        assert isinstance(result, jax.Array)
        np.testing.assert_array_equal(np.asarray(result), wanted)
        np.testing.assert_array_equal(np.asarray(jax.jit(call.function)(*arrays)), wanted)

        def loss(*a: Any) -> Any:
            return (call.function(*a) ** 2).sum()

        tensors = leaves(call)
        expected = torch.autograd.grad((call.function(*tensors) ** 2).sum(), tensors[: call.differentiable])
        everything = tuple(range(call.differentiable))
        for gradient in (jax.grad(loss, everything), jax.jit(jax.grad(loss, everything))):
            for ours, theirs in zip(gradient(*arrays), expected, strict=True):
                np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-12, atol=1e-12)
        mapped = jax.vmap(jax.grad(loss, everything))(*[jnp.stack([a, a * 0.9]) for a in arrays])
        for i, single in enumerate(jax.grad(loss, everything)(*[0.9 * a for a in arrays])):
            np.testing.assert_allclose(np.asarray(mapped[i][1]), np.asarray(single), rtol=1e-10, atol=1e-10)


def test_jax_refuses_what_numpy_refuses(name: str) -> None:
    jax = pytest.importorskip("jax")
    call = CALLS[name]
    arrays = [jax.numpy.asarray(array.float().numpy()) for array in call.arrays]
    with pytest.raises(Exception, match="must be finite"):
        jax.block_until_ready(call.function(arrays[0] * np.nan, *arrays[1:]))
    with pytest.raises(TypeError, match="must be float32 or float64, not bfloat16"):
        call.function(*[array.astype("bfloat16") for array in arrays])


def test_tensors_without_a_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are known without computing; other devices are refused unless a copy is asked for."""
    from medkernels import _backends
    from medkernels.attention import _torch

    call = CALLS[name]
    assert call.function(*[a.to("meta") for a in call.arrays]).shape == call.function(*call.arrays).shape
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    described = getattr(__import__(f"medkernels.attention.{name}", fromlist=["x"]), name.upper())
    with pytest.raises(mk.BackendError, match="no kernel for 'meta' tensors; set MEDKERNELS_CPU_FALLBACK=1"):
        _torch._on_host(described, [a.to("meta") for a in call.arrays])
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="computing on the CPU"):
        _backends.fall_back_to_cpu(name, "there is no kernel for 'meta' tensors")
