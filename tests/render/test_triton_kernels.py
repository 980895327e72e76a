"""Triton renderer: in the interpreter without a GPU, on the device with one, compiled in any case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medkernels as mk
from tests.render.scenes import NAMES, Scene, random_scene, scenes

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LOOKS = [{"composition": c, "profile": p} for c in ("union", "over") for p in ("sigmoid", "gaussian")]
NARROW_EDGE = 0.1

interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs where Triton interprets its kernels")


def gpu(test: Any) -> Any:
    missing = INTERPRETED or not torch.cuda.is_available()
    return pytest.mark.gpu(
        pytest.mark.skipif(missing, reason="no GPU, or Triton interprets its kernels")(test)
    )


class Kernel(torch.autograd.Function):
    """The kernels as the reference is called, on tensors of any device."""

    @staticmethod
    def forward(
        ctx: Any, size: tuple[int, ...], look: tuple[str, str, float], *tensors: torch.Tensor
    ) -> torch.Tensor:
        ctx.size, ctx.look = size, look
        ctx.save_for_backward(*tensors)
        return functions(size)[0](*tensors, size, *look)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (None, None, *functions(ctx.size)[1](grads[0], *ctx.saved_tensors, ctx.size, *ctx.look))


def functions(size: tuple[int, ...]) -> tuple[Any, Any]:
    if len(size) == 2:
        from medkernels.kernels.ellipses import ellipses_backward, ellipses_forward

        return ellipses_forward, ellipses_backward
    from medkernels.kernels.ellipsoids import ellipsoids_backward, ellipsoids_forward

    return ellipsoids_forward, ellipsoids_backward


def kernel(
    centers: torch.Tensor,
    axes: torch.Tensor,
    turn: torch.Tensor,
    colors: torch.Tensor,
    background: torch.Tensor,
    size: tuple[int, ...],
    *,
    opacity: torch.Tensor,
    composition: str = "union",
    profile: str = "sigmoid",
    tau: float = 0.15,
) -> torch.Tensor:
    look = (composition, profile, tau)
    image: torch.Tensor = Kernel.apply(size, look, centers, axes, turn, colors, opacity, background)
    return image


def gradients(
    image: torch.Tensor, weight: torch.Tensor, tensors: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    weight = weight.to(image)
    return torch.autograd.grad((image * weight).sum(), tensors, allow_unused=True, materialize_grads=True)


def check(
    scene: Scene,
    dtype: torch.dtype,
    atol: float,
    grad_tol: float,
    function: Any = kernel,
    device: str = "cpu",
) -> None:
    """Image and gradients against the definition in float64, cut-off voxels left out of both."""
    rounded = [t.to(dtype).double() for t in scene.tensors(grad=False)]
    scene = Scene({n: t.numpy() for n, t in zip(NAMES, rounded, strict=True)}, scene.size, scene.look)
    exact = scene.tensors()
    ours = [t.detach().to(dtype).to(device).requires_grad_() for t in exact]
    image, wanted = scene.draw(ours, function), scene.draw(exact, scene.reference)
    assert image.dtype == dtype
    assert image.shape == wanted.shape
    clear = ~scene.ambiguous()[:, None].expand(wanted.shape)
    torch.testing.assert_close(image.detach().cpu().double()[clear], wanted[clear], rtol=0, atol=atol)
    # An exact float16 number, so that every implementation is asked the same.
    weight = torch.from_numpy(np.random.default_rng(1).integers(-8, 9, wanted.shape) / 8) * clear
    for name, ours_g, wanted_g in zip(
        NAMES, gradients(image, weight, ours), gradients(wanted, weight, exact), strict=True
    ):
        scale = 1 + float(wanted_g.abs().max()) if wanted_g.numel() else 1
        assert ours_g.dtype == dtype
        torch.testing.assert_close(
            ours_g.cpu().double(), wanted_g, rtol=0, atol=grad_tol * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


@interpreted
@settings(max_examples=15)
@given(scene=st.one_of(scenes(max_side=20, max_count=4), scenes(dims=3, max_side=7, max_count=3)))
def test_any_scene_in_float64(scene: Scene) -> None:
    check(scene, torch.float64, atol=1e-11, grad_tol=1e-9)


@interpreted
@settings(max_examples=15)
@given(scene=st.one_of(scenes(max_side=20, max_count=4), scenes(dims=3, max_side=7, max_count=3)))
def test_any_scene_in_float32(scene: Scene) -> None:
    # A narrow edge (tau 0.01) turns rounding of rho into 1/(4 tau) times as much in alpha.
    wide = scene.look["tau"] >= NARROW_EDGE or scene.look["profile"] == "gaussian"
    check(scene, torch.float32, atol=1e-5 if wide else 1e-4, grad_tol=1e-4 if wide else 1e-3)


@interpreted
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("size", "channels"), [((19, 35), 5), ((5, 9, 10), 2)])
@pytest.mark.parametrize("full_background", [False, True])
def test_every_look(
    look: dict[str, str], size: tuple[int, ...], channels: int, full_background: bool
) -> None:
    scene = random_scene(
        11,
        batch=1,
        count=4,
        channels=channels,
        size=size,
        axes=(0.5, 5.0),
        full_background=full_background,
        **look,
    )
    check(scene, torch.float32, atol=1e-5, grad_tol=2e-5)


@interpreted
@pytest.mark.parametrize("size", [(9, 20), (4, 5, 9)])
def test_public_function_hands_over_to_the_kernels(
    size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medkernels.render import _torch

    monkeypatch.setattr(_torch, "_uses_triton", lambda family, tensor: True)
    scene = random_scene(9, batch=1, count=3, size=size, axes=(1.0, 4.0), composition="over", tau=0.3)
    check(scene, torch.float64, atol=1e-11, grad_tol=1e-9, function=scene.function)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    scene = random_scene(2, batch=1, count=3, size=(16, 18), axes=(2.0, 5.0), composition="over")
    scene.arrays["opacity"] *= 0.9
    half = torch.finfo(dtype).eps
    check(scene, dtype, atol=half, grad_tol=half)


@interpreted
@pytest.mark.parametrize("composition", ["union", "over"])
def test_many_opaque_layers(composition: str) -> None:
    """Forty layers of opacity 0.999 underflow a float32 product; colours and gradients must not."""
    scene = random_scene(5, batch=1, count=40, size=(6, 7), axes=(20.0, 30.0), composition=composition)
    scene.arrays["opacity"][...] = 0.999
    check(scene, torch.float32, atol=1e-5, grad_tol=2e-5)


@interpreted
@pytest.mark.parametrize("composition", ["union", "over"])
def test_fully_saturated_edge(composition: str) -> None:
    """With a hard edge alpha equals an opacity that rounds to 1 - 6e-8: nothing may be divided by zero."""
    scene = random_scene(
        6, batch=1, count=3, size=(9, 9), axes=(30.0, 40.0), composition=composition, tau=1e-3
    )
    scene.arrays["centers"][...] = 4.0
    scene.arrays["opacity"][...] = np.nextafter(np.float32(1), np.float32(0))
    check(scene, torch.float32, atol=1e-5, grad_tol=1e-4)


@interpreted
@pytest.mark.parametrize(
    ("batch", "count", "size"), [(0, 3, (5, 6)), (2, 0, (5, 6)), (1, 2, (1, 1)), (1, 0, (1, 2, 1))]
)
def test_empty_and_smallest(batch: int, count: int, size: tuple[int, ...]) -> None:
    check(random_scene(1, batch=batch, count=count, size=size), torch.float32, atol=1e-5, grad_tol=1e-5)


@interpreted
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e5, 5e29])
@pytest.mark.parametrize("size", [(8, 20), (3, 4, 5)])
def test_extreme_axes(scale: float, size: tuple[int, ...]) -> None:
    scene = random_scene(8, batch=1, count=3, size=size, axes=(1.0, 2.0))
    scene.arrays["centers"] = np.round(scene.arrays["centers"]) + 0.5
    scene.arrays["axes"] *= scale
    check(scene, torch.float32, atol=1e-5, grad_tol=1e-4)


@interpreted
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("centers", np.nan, "centers must be finite, but element 0"),
        ("axes", 0.0, r"axes must be finite and greater than 0 \(from 1e-30 to 1e30\), but element 0"),
        ("axes", 1e-32, "axes must be finite and greater than 0"),
        ("axes", np.inf, "axes must be finite and greater than 0"),
        ("turn", np.inf, "angles must be finite"),
        ("colors", np.nan, "colors must be finite"),
        ("opacity", 1.0, "opacity must be at least 0 and less than 1"),
        ("background", -np.inf, "background must be finite"),
    ],
)
def test_bad_values_are_named(name: str, value: float, message: str) -> None:
    scene = random_scene(0, batch=1, count=2, size=(4, 4))
    scene.arrays[name].flat[0] = value
    with pytest.raises(ValueError, match=message):
        scene.draw(scene.tensors(torch.float32), kernel)


@interpreted
def test_zero_quaternion_is_named() -> None:
    scene = random_scene(0, batch=1, count=2, size=(4, 4, 4))
    scene.arrays["turn"][0, 1] = 0
    with pytest.raises(ValueError, match="rotations must be quaternions of non-zero length, but number 1"):
        scene.draw(scene.tensors(torch.float32), kernel)


@interpreted
def test_too_many_entries_are_refused() -> None:
    """A canvas of 2^22 x 2^22 tiles: refused from the counts alone, before lists or images are allocated."""
    from medkernels.kernels.quadric_tiles import Grid, bin_primitives

    scene = random_scene(0, batch=1, count=1, size=(4, 4), axes=(1e9, 2e9))
    centers, axes, turn, colors, background, opacity = scene.tensors(torch.float32, grad=False)
    grid = Grid((2**26, 2**26, 1), (16, 16, 1))
    with pytest.raises(ValueError, match="more than 32-bit indices hold"):
        bin_primitives(centers, axes, turn, colors, opacity, background, grid, 1.9, torch.float32, True)


@interpreted
def test_reruns_are_bitwise_equal_and_inputs_untouched() -> None:
    scene = random_scene(4, batch=2, count=5, size=(18, 17))
    tensors = scene.tensors(torch.float32)
    before = [t.detach().clone() for t in tensors]
    runs = []
    for _ in range(2):
        image = scene.draw(tensors, kernel)
        runs.append((image, *gradients(image, torch.ones_like(image), tensors)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@pytest.mark.parametrize(("capability", "dtypes"), [(80, ("fp32",)), (90, ("fp32", "bf16", "fp64"))])
def test_kernels_compile_without_a_gpu(capability: int, dtypes: tuple[str, ...]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.render.compile_triton_kernels", str(capability), *dtypes],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == 6 + 4 * (2 if dtypes == ("fp32",) else 4)
    for used in kernels:
        assert used["bytes"] > 0
        if used["kernel"].startswith("render") and used["dtype"] != "fp64":
            assert used.get("stack", 0) == 0, f"spills: {used}"


@gpu
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("size", "count", "channels"), [((257, 300), 200, 3), ((64, 64), 60, 64), ((33, 50, 70), 60, 2)]
)
@pytest.mark.parametrize("full_background", [False, True])
def test_device_equals_definition(
    look: dict[str, str], size: tuple[int, ...], count: int, channels: int, full_background: bool
) -> None:
    scene = random_scene(
        12, batch=2, count=count, channels=channels, size=size, full_background=full_background, **look
    )
    check(scene, torch.float32, atol=1e-5, grad_tol=1e-4, function=scene.function, device="cuda")


@gpu
@settings(max_examples=150)
@given(scene=st.one_of(scenes(), scenes(dims=3, max_side=12)))
def test_any_scene_on_the_device(scene: Scene) -> None:
    wide = scene.look["tau"] >= NARROW_EDGE or scene.look["profile"] == "gaussian"
    check(
        scene,
        torch.float32,
        atol=1e-5 if wide else 1e-4,
        grad_tol=1e-4 if wide else 1e-3,
        function=scene.function,
        device="cuda",
    )


@gpu
@pytest.mark.parametrize("size", [(60, 70), (10, 20, 30)])
@pytest.mark.parametrize("composition", ["union", "over"])
def test_device_in_float64(size: tuple[int, ...], composition: str) -> None:
    scene = random_scene(13, count=20, size=size, composition=composition)
    check(scene, torch.float64, atol=1e-11, grad_tol=1e-9, function=scene.function, device="cuda")


@gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("composition", ["union", "over"])
def test_device_in_half_precision(dtype: torch.dtype, composition: str) -> None:
    scene = random_scene(14, count=20, size=(60, 70), axes=(2.0, 9.0), composition=composition)
    scene.arrays["opacity"] *= 0.9
    half = torch.finfo(dtype).eps
    check(scene, dtype, atol=2 * half, grad_tol=half, function=scene.function, device="cuda")


@gpu
@pytest.mark.parametrize("composition", ["union", "over"])
def test_device_agrees_with_cpu_on_a_large_batch(composition: str) -> None:
    scene = random_scene(15, batch=8, count=1344, size=(256, 256), axes=(1.0, 16.0), composition=composition)
    host = scene.tensors(torch.float32)
    device = [t.detach().cuda().requires_grad_() for t in host]
    ours, wanted = scene.draw(device), scene.draw(host)
    assert ours.is_cuda
    # Near the cut-off the profile is 0.0025 on one side and 0 on the other: allow a few such pixels.
    off = (ours.detach().cpu() - wanted.detach()).abs() > 1e-5
    assert off.float().mean() < 1e-3
    weight = ~off
    for name, ours_g, wanted_g in zip(
        NAMES, gradients(ours, weight, device), gradients(wanted, weight, host), strict=True
    ):
        scale = 1 + float(wanted_g.abs().max())
        torch.testing.assert_close(
            ours_g.cpu(), wanted_g, rtol=0, atol=1e-3 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


@gpu
@pytest.mark.parametrize("size", [(512, 384), (40, 50, 60)])
@pytest.mark.parametrize("composition", ["union", "over"])
def test_device_reruns_are_bitwise_equal(size: tuple[int, ...], composition: str) -> None:
    scene = random_scene(16, batch=3, count=300, size=size, axes=(1.0, 30.0), composition=composition)
    tensors = [t.detach().cuda().requires_grad_() for t in scene.tensors(torch.float32)]
    runs = []
    for _ in range(3):
        image = scene.draw(tensors)
        runs.append((image, *gradients(image, torch.ones_like(image), tensors)))
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*runs, strict=True))


@gpu
@pytest.mark.parametrize("size", [(60, 70), (10, 20, 30)])
def test_cupy_in_cupy_out(size: tuple[int, ...]) -> None:
    cupy = pytest.importorskip("cupy")
    scene = random_scene(17, count=20, size=size).cast(np.float32)
    image = scene.draw([cupy.asarray(a) for a in scene.numpy()])
    assert isinstance(image, cupy.ndarray)
    assert image.dtype == cupy.float32
    wanted = scene.draw([t.cuda() for t in scene.tensors(torch.float32, grad=False)])
    assert np.array_equal(cupy.asnumpy(image), wanted.cpu().numpy())


@gpu
def test_bad_values_on_the_device_are_named() -> None:
    scene = random_scene(0, batch=1, count=2, size=(4, 4))
    scene.arrays["axes"][0, 1, 0] = -1
    tensors = [t.cuda() for t in scene.tensors(torch.float32, grad=False)]
    with pytest.raises(
        ValueError, match=r"axes must be finite and greater than 0 \(from 1e-30 to 1e30\), but element 2"
    ):
        scene.draw(tensors)


@gpu
def test_more_elements_than_32_bits_count() -> None:
    """2^31 voxels and more: the last ones are drawn where they belong."""
    size = (1024, 1024, 2049)
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GiB of free GPU memory")
    like = {"dtype": torch.float32, "device": "cuda"}
    volume = mk.render.ellipsoids(
        torch.tensor([[[2044.0, 1020.0, 1020.0]]], **like),
        torch.full((1, 1, 3), 2.0, **like),
        torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], **like),
        torch.ones(1, 1, 1, **like),
        torch.zeros(1, 1, **like),
        size,
    )
    assert volume[0, 0, 1020, 1020, 2044] > 0.5
    assert int((volume > 0).sum()) == int((volume[0, 0, 1010:, 1010:, 2030:] > 0).sum()) > 0
