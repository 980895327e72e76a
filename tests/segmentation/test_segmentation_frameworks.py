"""The ops of segmentation as operators of PyTorch and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.segmentation.cases import scene

CASE = scene(2, 4, (3, 4, 5), (6, 7, 9), 1)
LOGITS, LABELS = torch.from_numpy(CASE.logits), torch.from_numpy(CASE.labels(2))


def argmax(logits: Any) -> Any:
    return mk.segmentation.upsample_argmax(logits, size=CASE.size)


def loss(logits: Any, labels: Any) -> Any:
    return mk.segmentation.upsample_dice_ce(logits, labels, dice_weight=0.5, ignore_index=2)


def gradient(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, labels), leaf)[0]


def test_opcheck() -> None:
    argmax(LOGITS)
    torch.library.opcheck(torch.ops.medkernels.upsample_argmax.default, (LOGITS, CASE.size))
    operator = torch.ops.medkernels.upsample_dice_ce.default
    torch.library.opcheck(operator, (LOGITS.clone().requires_grad_(), LABELS, True, None))
    torch.library.opcheck(operator, (LOGITS.clone().requires_grad_(), LABELS, False, 2))


@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_without_graph_break(dynamic: bool | None) -> None:
    torch.compiler.reset()
    compiled = torch.compile(argmax, fullgraph=True, backend="aot_eager", dynamic=dynamic)(LOGITS)
    assert torch.equal(compiled, argmax(LOGITS))
    ours, traced = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    plain = loss(ours, LABELS)
    found = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)(traced, LABELS)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(torch.autograd.grad(found, traced), torch.autograd.grad(plain, ours))


def test_vmap() -> None:
    logits = torch.stack([LOGITS, LOGITS.flip(0), LOGITS * 0.9])
    labels = torch.stack([LABELS, LABELS.flip(0), LABELS.flip(1)])
    assert torch.equal(torch.func.vmap(argmax)(logits)[2], argmax(logits[2]))
    mapped = torch.func.vmap(loss)(logits, labels)
    torch.testing.assert_close(
        mapped, torch.stack([loss(*pair) for pair in zip(logits, labels, strict=True)])
    )
    leaf = logits.clone().requires_grad_()
    grads = torch.autograd.grad(torch.func.vmap(loss, in_dims=(0, None))(leaf, LABELS).sum(), leaf)[0]
    for i in range(3):
        torch.testing.assert_close(grads[i], gradient(logits[i], LABELS))


def test_labels_have_no_gradient() -> None:
    leaf = LOGITS.clone().requires_grad_()
    assert not argmax(leaf).requires_grad
    upstream = torch.autograd.grad(3 * loss(leaf, LABELS), leaf)[0]
    torch.testing.assert_close(upstream, 3 * gradient(LOGITS, LABELS))


def test_python_sequences() -> None:
    logits, labels = [[[[0.0, 3.0]], [[1.0, 0.0]]]], [[[0, 1, 1, 0]]]  # equal at the second of four places
    assert mk.segmentation.upsample_argmax(logits, size=(1, 4)).tolist() == [[[1, 0, 0, 0]]]
    wanted = mk.segmentation.upsample_dice_ce(np.array(logits), np.array(labels))
    assert isinstance(wanted, np.float64)
    assert mk.segmentation.upsample_dice_ce(logits, labels) == wanted
    mixed = mk.segmentation.upsample_dice_ce(torch.tensor(logits, dtype=torch.float64), labels)
    torch.testing.assert_close(mixed, torch.tensor(wanted))


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    wanted = argmax(CASE.logits)
    with jax.enable_x64(True):
        logits, labels = jnp.asarray(CASE.logits), jnp.asarray(CASE.labels(2))
        for function in (argmax, jax.jit(argmax)):
            found = function(logits)
            assert isinstance(found, jax.Array)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(np.asarray(found), wanted)
        expected = loss(CASE.logits, CASE.labels(2))
        for function in (loss, jax.jit(loss)):
            np.testing.assert_allclose(np.asarray(function(logits, labels)), expected, rtol=1e-14)
        slopes = gradient(LOGITS, LABELS).numpy()
        for function in (jax.grad(loss), jax.jit(jax.grad(loss))):
            np.testing.assert_allclose(np.asarray(function(logits, labels)), slopes, rtol=1e-12, atol=1e-15)
        mapped = jax.vmap(jax.grad(loss), in_axes=(0, None))(jnp.stack([logits, 0.9 * logits]), labels)
        single = gradient(0.9 * LOGITS, LABELS).numpy()
        np.testing.assert_allclose(np.asarray(mapped[1]), single, rtol=1e-10, atol=1e-14)
        several = jax.vmap(argmax)(jnp.stack([logits, -logits]))
        np.testing.assert_array_equal(np.asarray(several[1]), argmax(-CASE.logits))


def test_jax_in_32_bits() -> None:
    jax = pytest.importorskip("jax")
    logits, labels = jax.numpy.asarray(CASE.logits), jax.numpy.asarray(CASE.labels(2))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(
        np.asarray(jax.grad(loss)(logits, labels)),
        gradient(LOGITS.float(), LABELS).numpy(),
        rtol=1e-4,
        atol=1e-8,
    )


def test_jax_refuses_what_numpy_refuses() -> None:
    jax = pytest.importorskip("jax")
    logits, labels = jax.numpy.asarray(CASE.logits), jax.numpy.asarray(CASE.labels(2))
    with pytest.raises(Exception, match="logits must be finite"):
        jax.block_until_ready(argmax(logits * np.nan))
    with pytest.raises(Exception, match="labels must be from 0 to 3"):
        jax.block_until_ready(loss(logits, labels + 9))
    with pytest.raises(TypeError, match="must be float32 or float64, not bfloat16"):
        loss(logits.astype("bfloat16"), labels)
    with pytest.raises(TypeError, match="labels must be integers"):
        loss(logits, labels * 1.0)


def test_tensors_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are known without computing; other devices are refused unless a copy is asked for."""
    from medkernels.segmentation import _torch

    logits, labels = LOGITS.to("meta"), LABELS.to("meta")
    assert argmax(logits).shape == argmax(LOGITS).shape
    assert argmax(logits).dtype == torch.uint8
    assert loss(logits, labels).shape == ()
    with pytest.raises(ValueError, match="labels is on cpu, but logits is on meta"):
        loss(logits, LABELS)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="no kernel for 'meta' tensors; set MEDKERNELS_CPU_FALLBACK=1"):
        _torch._on_host("upsample_argmax", [logits])
