"""The ops between points and grids as operators of PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import medkernels as mk


class Call(NamedTuple):
    """Two items of an op: arrays, the function of a batch of them, options and arrays of the operator."""

    arrays: list[np.ndarray]
    function: Callable[..., Any]
    options: tuple[Any, ...]
    flat: list[np.ndarray]


def _call(name: str) -> Call:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (2, 7, 3))
    if name == "grid_atoms":
        channels = np.arange(14).reshape(2, 7) % 3 - 1
        place = {"side": 3.0, "resolution": 0.5, "n_channels": 2}

        def atoms(coords: Any, radii: Any, center: Any) -> Any:
            kinds: Any = torch.from_numpy(channels) if isinstance(coords, torch.Tensor) else channels.tolist()
            return mk.points.grid_atoms(coords, kinds, radii, center=center, **place)

        arrays = [points, rng.uniform(0.5, 1.5, (2, 7)), rng.normal(size=(2, 3)) / 4]
        flat = [points.reshape(14, 3), channels.reshape(14), arrays[1].reshape(14), arrays[2]]
        return Call(arrays, atoms, (2, 7, 3.0, 0.5, 1.0, False), flat)
    if name == "voxelize":
        features = rng.normal(size=(2, 7, 4))
        flat = [points.reshape(14, 3), features.reshape(14, 4)]
        return Call([points, features], lambda p, f: mk.points.voxelize(p, f, resolution=3), (3, True), flat)
    grids = rng.normal(size=(2, 4, 3, 3, 3))
    return Call([grids, points], mk.points.devoxelize, (True,), [grids, points.reshape(14, 3)])


@pytest.fixture(params=["grid_atoms", "voxelize", "devoxelize"])
def named(request: Any) -> tuple[str, Call]:
    return request.param, _call(request.param)


def tensors(call: Call) -> list[torch.Tensor]:
    return [torch.tensor(array, requires_grad=True) for array in call.arrays]


def gradients(result: Any, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad((result**2).sum(), inputs, materialize_grads=True)


def test_opcheck(named: tuple[str, Call]) -> None:
    name, call = named
    call.function(*tensors(call))
    arguments = [torch.tensor(a, requires_grad=a.dtype == np.float64) for a in call.flat]
    operator = getattr(torch.ops.medkernels, name).default
    torch.library.opcheck(operator, (*arguments, [7, 7], *call.options))


def test_compile_without_graph_break(named: tuple[str, Call]) -> None:
    call = named[1]
    inputs = tensors(call)
    compiled = torch.compile(call.function, fullgraph=True, backend="aot_eager")
    result, plain = compiled(*inputs), call.function(*inputs)
    torch.testing.assert_close(result, plain)
    for a, b in zip(gradients(result, inputs), gradients(plain, inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_vmap(named: tuple[str, Call]) -> None:
    call = named[1]
    inputs = [torch.from_numpy(array) for array in call.arrays]
    stacked = [torch.stack([t, t * 0.9, t * 0.8]) for t in inputs]
    mapped = torch.func.vmap(call.function)(*stacked)
    for i in range(3):
        torch.testing.assert_close(mapped[i], call.function(*(t[i] for t in stacked)))


def test_jax(named: tuple[str, Call]) -> None:
    jax = pytest.importorskip("jax")
    call = named[1]

    def loss(*arrays: Any) -> Any:
        return (call.function(*arrays) ** 2).sum()

    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(array) for array in call.arrays]
        wanted = call.function(*call.arrays)
        for function in (call.function, jax.jit(call.function)):
            result = function(*arrays)
            assert isinstance(result, jax.Array)
            np.testing.assert_array_equal(np.asarray(result), wanted)
        inputs = tensors(call)
        expected = gradients(call.function(*inputs), inputs)
        everything = tuple(range(len(arrays)))
        for gradient in (jax.grad(loss, everything), jax.jit(jax.grad(loss, everything))):
            for ours, theirs in zip(gradient(*arrays), expected, strict=True):
                np.testing.assert_allclose(np.asarray(ours), theirs.numpy(), rtol=1e-11, atol=1e-11)
        doubled = [jax.numpy.stack([a, a * 0.9]) for a in arrays]
        mapped = jax.vmap(jax.grad(loss, everything))(*doubled)
        single = jax.grad(loss, everything)(*[a[1] for a in doubled])
        for many, one in zip(mapped, single, strict=True):
            np.testing.assert_allclose(np.asarray(many[1]), np.asarray(one), rtol=1e-11, atol=1e-11)


def test_channels_must_be_known() -> None:
    coords, channels = torch.zeros(2, 3), torch.tensor([0, 1])

    def draw(channels: torch.Tensor) -> torch.Tensor:
        grid: torch.Tensor = mk.points.grid_atoms(
            coords, channels, 1.0, center=[0, 0, 0], side=2, resolution=1
        )
        return grid

    assert draw(channels).shape == (2, 3, 3, 3)
    with pytest.raises(ValueError, match="n_channels must be given where the call is traced"):
        torch.func.vmap(draw)(channels.expand(2, 2))


def test_binary_grids_have_no_gradient() -> None:
    coords = torch.zeros(1, 3, requires_grad=True)
    place = {"center": [0, 0, 0], "side": 2, "resolution": 1, "density": "binary"}
    assert not mk.points.grid_atoms(coords, [0], 1.5, **place).requires_grad
    jax = pytest.importorskip("jax")

    def total(coords: Any) -> Any:
        return mk.points.grid_atoms(coords, [0], 1.5, n_channels=1, **place).sum()

    assert not np.asarray(jax.grad(total)(jax.numpy.zeros((1, 3)))).any()


def test_other_arrays() -> None:
    """Plain Python, and what only speaks DLPack."""
    place = {"center": [0, 0, 0], "side": 2, "resolution": 1}
    wanted = mk.points.grid_atoms([[0.0, 0.0, 0.0]], [0], 1.5, **place)
    assert wanted.dtype == np.float64
    o3d = pytest.importorskip("open3d")
    grid = mk.points.grid_atoms(o3d.core.Tensor(np.zeros((1, 3))), [0], 1.5, **place)
    assert isinstance(grid, o3d.core.Tensor)
    assert np.array_equal(grid.numpy(), wanted)
