"""The render ops as operators of PyTorch and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.render.scenes import Scene, random_scene

SCENES = {
    "ellipses": random_scene(1, count=5, size=(12, 15), axes=(1.0, 5.0)),
    "ellipsoids": random_scene(2, count=5, size=(5, 6, 7), axes=(1.0, 4.0)),
}


@pytest.fixture(params=sorted(SCENES))
def scene(request: Any) -> Scene:
    return SCENES[request.param]


def operator_arguments(scene: Scene, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    centers, axes, turn, colors, background, opacity = scene.tensors(dtype)
    return centers, axes, turn, colors, opacity, background, list(scene.size), "union", "sigmoid", 0.15


def test_opcheck(scene: Scene) -> None:
    scene.draw(scene.tensors())
    operator = getattr(torch.ops.medkernels, scene.function.__name__).default
    torch.library.opcheck(operator, operator_arguments(scene))


def test_compile_without_graph_break(scene: Scene) -> None:
    def loss(*arrays: torch.Tensor) -> torch.Tensor:
        return (scene.draw(arrays) ** 2).sum()

    ours, compiled = scene.tensors(), scene.tensors()
    plain = loss(*ours)
    traced = torch.compile(loss, fullgraph=True, backend="aot_eager")(*compiled)
    torch.testing.assert_close(traced, plain)
    grads = zip(torch.autograd.grad(plain, ours), torch.autograd.grad(traced, compiled), strict=True)
    for a, b in grads:
        torch.testing.assert_close(a, b)


def test_vmap(scene: Scene) -> None:
    stacked = [torch.stack([t, t.flip(0), t * 0.9]) for t in scene.tensors(grad=False)]
    mapped = torch.func.vmap(lambda *a: scene.draw(a))(*stacked)
    for i in range(3):
        torch.testing.assert_close(mapped[i], scene.draw([t[i] for t in stacked]))
    shared = torch.func.vmap(lambda c, *a: scene.draw([c, *a]), in_dims=(0, *[None] * 5))(
        stacked[0], *[t[0] for t in stacked[1:]]
    )
    torch.testing.assert_close(shared[2], scene.draw([stacked[0][2], *[t[0] for t in stacked[1:]]]))


def test_scalar_opacity_equals_expanded(scene: Scene) -> None:
    tensors = scene.tensors(torch.float32, grad=False)
    scalar = scene.function(*tensors[:5], scene.size, opacity=0.7)
    assert torch.equal(
        scalar, scene.function(*tensors[:5], scene.size, opacity=torch.full_like(tensors[5], 0.7))
    )
    assert torch.equal(
        scalar, torch.from_numpy(scene.function(*[t.numpy() for t in tensors[:5]], scene.size, opacity=0.7))
    )


def test_gradient_of_a_scalar_tensor_opacity() -> None:
    scene = SCENES["ellipses"]
    tensors = scene.tensors(grad=False)
    opacity = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda o: scene.function(*tensors[:5], scene.size, opacity=o), [opacity])


def test_jax(scene: Scene) -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in scene.numpy()]
        wanted = scene.draw(scene.numpy())
        image = scene.draw(arrays)
        assert isinstance(image, jax.Array)
        np.testing.assert_array_equal(np.asarray(image), wanted)
        np.testing.assert_array_equal(np.asarray(jax.jit(lambda *a: scene.draw(a))(*arrays)), wanted)

        def loss(*a: Any) -> Any:
            return (scene.draw(a) ** 2).sum()

        tensors = scene.tensors()
        expected = torch.autograd.grad((scene.draw(tensors) ** 2).sum(), tensors)
        everything = tuple(range(6))
        for gradient in (jax.grad(loss, everything), jax.jit(jax.grad(loss, everything))):
            for ours, theirs in zip(gradient(*arrays), expected, strict=True):
                np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-12, atol=1e-12)

        doubled = [jnp.stack([a, a * 0.9]) for a in arrays]
        mapped = jax.vmap(jax.grad(loss, everything))(*doubled)
        for i, single in enumerate(jax.grad(loss, everything)(*[a[1] for a in doubled])):
            np.testing.assert_allclose(np.asarray(mapped[i][1]), np.asarray(single), rtol=1e-10, atol=1e-10)


def test_jax_refuses_what_numpy_refuses() -> None:
    jax = pytest.importorskip("jax")
    scene = random_scene(3)
    scene.arrays["axes"][0, 0, 0] = -1
    arrays = [jax.numpy.asarray(a, dtype="float32") for a in scene.numpy()]
    with pytest.raises(Exception, match="axes must be finite and greater than 0"):
        jax.block_until_ready(scene.draw(arrays))
    with pytest.raises(TypeError, match="must be float32 or float64, not bfloat16"):
        scene.draw([a.astype("bfloat16") for a in arrays])


def test_float32_and_float64_stay(scene: Scene) -> None:
    for dtype in (torch.float32, torch.float64):
        assert scene.draw(scene.tensors(dtype)).dtype == dtype
        numpy_dtype = str(dtype).removeprefix("torch.")
        assert scene.draw(scene.cast(numpy_dtype).numpy()).dtype == numpy_dtype


def test_tensors_without_a_kernel_fall_back_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SCENES["ellipses"]
    tensors = [t.to("meta") for t in scene.tensors(grad=False)]
    assert scene.draw(tensors).shape == (2, 3, 12, 15)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    from medkernels import _backends

    with pytest.raises(mk.BackendError, match="no kernel for 'xpu' tensors; set MEDKERNELS_CPU_FALLBACK=1"):
        _backends.fall_back_to_cpu("ellipses", "there is no kernel for 'xpu' tensors")
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="computing on the CPU"):
        _backends.fall_back_to_cpu("ellipses", "there is no kernel for 'xpu' tensors")
