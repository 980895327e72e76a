"""`grid_atoms` against its definition; gradients, batches, frameworks, threads, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medkernels as mk
from tests.instruction_sets import printed_with_each
from tests.points.clouds import with_threads
from tests.reference.grid_atoms import binary_atoms
from tests.reference.grid_atoms import grid_atoms as reference

CUBE: dict[str, Any] = {"center": [1.0, -2.0, 0.5], "side": 6.0, "resolution": 0.7}


def atoms(seed: int, count: int, spread: float = 2.5, channels: int = 3) -> dict[str, Any]:
    """Some of them off the grid."""
    rng = np.random.default_rng(seed)
    return {
        "coords": rng.normal(size=(count, 3)) * spread + CUBE["center"],
        "channels": rng.integers(-1, channels, count),
        "radii": rng.uniform(0.5, 2.2, count),
    }


def expected(call: dict[str, Any], channels: int, multiple: float = 1.0) -> torch.Tensor:
    coords, radii = (torch.tensor(call[name], dtype=torch.float64) for name in ("coords", "radii"))
    center = torch.tensor(call["center"], dtype=torch.float64)
    sizes = (call["side"], call["resolution"], channels)
    return reference(coords, call["channels"], radii, center, *sizes, multiple)


@st.composite
def calls(draw: Any) -> dict[str, Any]:
    """Grids smaller and larger than a vector, atoms on points, coincident, tiny, huge, off the grid."""
    call = atoms(
        draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 7)), draw(st.sampled_from([0.5, 3, 50]))
    )
    step = draw(st.sampled_from([0.25, 0.5, 0.7, 1.0]))
    call |= {"center": [0.5, -1.0, 2.0], "resolution": step, "side": step * draw(st.integers(0, 18))}
    call["radii"] *= draw(st.sampled_from([0.01, 1.0, 30.0]))
    kind = draw(st.sampled_from(["any", "on points", "coincident"]))
    if kind == "on points":
        call["coords"] = np.round(call["coords"] / step) * step + call["center"] - call["side"] / 2
    elif kind == "coincident":
        call["coords"][:] = call["coords"][:1]
    return call


@given(calls(), st.sampled_from([0.3, 1.0, 2.5]))
def test_equals_definition(call: dict[str, Any], multiple: float) -> None:
    single = call | {name: call[name].astype(np.float32) for name in ("coords", "radii")}
    for given_call, tolerance in ((call, 1e-12), (single, 1e-5)):
        grid = mk.points.grid_atoms(**given_call, n_channels=3, gaussian_radius_multiple=multiple)
        assert grid.dtype == given_call["coords"].dtype
        wanted = expected(given_call, 3, multiple).numpy()
        np.testing.assert_allclose(grid, wanted, rtol=tolerance, atol=tolerance)


@given(calls())
def test_binary(call: dict[str, Any]) -> None:
    grid = mk.points.grid_atoms(**call, n_channels=3, density="binary")
    coords, radii = torch.from_numpy(call["coords"]), torch.from_numpy(call["radii"])
    place = call["center"], call["side"], call["resolution"]
    wanted, smaller, larger = (
        binary_atoms(coords, call["channels"], radii * factor, torch.tensor(place[0]), *place[1:], 3).numpy()
        for factor in (1, 1 - 1e-12, 1 + 1e-12)
    )
    clear = smaller == larger  # rounding decides where a point lies on the surface of an atom
    assert np.array_equal(grid[clear], wanted[clear])
    assert set(np.unique(grid)) <= {0, 1}


@settings(max_examples=40)
@given(calls(), st.sampled_from([0.3, 1.0, 2.5]))
def test_gradients_equal_those_of_the_definition(call: dict[str, Any], multiple: float) -> None:
    arrays = [
        torch.tensor(call[n], dtype=torch.float64, requires_grad=True) for n in ("coords", "radii", "center")
    ]
    options = {"side": call["side"], "resolution": call["resolution"]}
    ours = mk.points.grid_atoms(
        arrays[0],
        call["channels"].tolist(),
        arrays[1],
        center=arrays[2],
        n_channels=3,
        gaussian_radius_multiple=multiple,
        **options,
    )
    theirs = reference(arrays[0], call["channels"], *arrays[1:], *options.values(), 3, multiple)
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=ours.shape))
    wanted = torch.autograd.grad((theirs * weight).sum(), arrays, materialize_grads=True)
    for ours_g, wanted_g in zip(torch.autograd.grad((ours * weight).sum(), arrays), wanted, strict=True):
        scale = float(wanted_g.abs().max()) if wanted_g.numel() else 0.0
        torch.testing.assert_close(ours_g, wanted_g, rtol=1e-9, atol=1e-9 * (1 + scale))


def test_gradient_in_float32_and_beside_nan() -> None:
    """A gradient that is NaN counts only for atoms that reach its point."""
    call = atoms(3, 40) | CUBE
    tensors = [torch.tensor(call[n], dtype=torch.float32, requires_grad=True) for n in ("coords", "radii")]
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 10, 10, 10)))
    grid = mk.points.grid_atoms(tensors[0], call["channels"].tolist(), tensors[1], **CUBE, n_channels=3)
    grad = torch.autograd.grad((grid * weight.float()).sum(), tensors, retain_graph=True)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    theirs = reference(exact[0], call["channels"], exact[1], torch.tensor(CUBE["center"]), 6.0, 0.7, 3)
    for ours, wanted in zip(grad, torch.autograd.grad((theirs * weight).sum(), exact), strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-4, atol=1e-4)
    spoiled = weight.float()
    spoiled[:, 0, 0, 0] = torch.nan
    near = torch.autograd.grad((grid * spoiled).sum(), tensors)[0].isnan().any(1)
    corner = torch.tensor(CUBE["center"]) - 3
    reaching = (tensors[0] - corner).norm(dim=1) < 1.5 * tensors[1]
    assert not (near & ~reaching).any()


def test_gradcheck() -> None:
    call = atoms(5, 6)
    arrays = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (call["coords"], call["radii"])
    ]
    center = torch.tensor(CUBE["center"], dtype=torch.float64, requires_grad=True)

    def draw(coords: torch.Tensor, radii: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
        place = CUBE | {"center": center}
        grid: torch.Tensor = mk.points.grid_atoms(
            coords, call["channels"].tolist(), radii, **place, n_channels=3
        )
        return grid

    assert torch.autograd.gradcheck(draw, [*arrays, center], eps=1e-6, atol=1e-6)


def test_batches_and_lists_are_their_items() -> None:
    items = [atoms(seed, 9) for seed in range(3)]
    batch = {name: np.stack([item[name] for item in items]) for name in items[0]}
    centers = np.random.default_rng(0).normal(size=(3, 3)) + CUBE["center"]
    place = CUBE | {"n_channels": 4}
    together = mk.points.grid_atoms(**batch, **(place | {"center": centers}))
    assert together.shape == (3, 4, 10, 10, 10)
    ragged = {name: [value[: 9 - 4 * i] for i, value in enumerate(values)] for name, values in batch.items()}
    listed = mk.points.grid_atoms(**ragged, **(place | {"center": list(centers)}))
    for i in range(3):
        alone = place | {"center": centers[i]}
        assert np.array_equal(together[i], mk.points.grid_atoms(**items[i], **alone))
        one = {name: values[i] for name, values in ragged.items()}
        assert np.array_equal(listed[i], mk.points.grid_atoms(**one, **alone))
    shared = mk.points.grid_atoms(**batch | {"radii": 1.7}, **place)
    each = mk.points.grid_atoms(**batch | {"radii": np.full((3, 9), 1.7)}, **place)
    assert np.array_equal(shared, each)
    assert mk.points.grid_atoms([], [], 1.0, **CUBE).shape == (0, 1, 10, 10, 10)


def test_no_atoms() -> None:
    grid = mk.points.grid_atoms(np.zeros((0, 3), np.float32), [], [], **CUBE, n_channels=2)
    assert grid.shape == (2, 10, 10, 10)
    assert not grid.any()
    coords = torch.zeros(0, 3, requires_grad=True)
    mk.points.grid_atoms(coords, [], [], **CUBE).sum().backward()
    assert coords.grad is not None
    assert coords.grad.shape == (0, 3)


def test_size_of_the_grid() -> None:
    """Halves are rounded up, and a side of 0 is one point."""
    origin = np.zeros((1, 3))
    for side, resolution, points in ((32, 0.5, 65), (0, 0.5, 1), (1.25, 0.5, 4), (1, 0.4, 4), (0.9, 2, 1)):
        grid = mk.points.grid_atoms(origin, [0], 1.0, center=[0, 0, 0], side=side, resolution=resolution)
        assert grid.shape == (1, points, points, points)


def test_results_do_not_depend_on_threads() -> None:
    call = {n: torch.from_numpy(v) for n, v in atoms(7, 300, 8.0, 4).items()}
    place = CUBE | {"side": 15.0}

    def results() -> list[bytes]:
        coords = call["coords"].float().requires_grad_()
        grid = mk.points.grid_atoms(coords, call["channels"], call["radii"].float(), **place)
        (grid**2).sum().backward()
        return [grid.detach().numpy().tobytes(), coords.grad.numpy().tobytes()]

    first, *others = with_threads(results)
    assert all(other == first for other in others)


def test_results_do_not_depend_on_the_instruction_set() -> None:
    code = """
import hashlib, numpy as np
from medkernels.points._grids import GRID_ATOMS, backward, forward
rng, found = np.random.default_rng(0), hashlib.sha256()
for dtype in (np.float32, np.float64):
    radii = rng.uniform(1, 2, 60).astype(dtype)
    arrays = (rng.normal(size=(60, 3)) * 3).astype(dtype), np.zeros(60, int), radii, np.zeros((1, 3), dtype)
    call = arrays, [60], (1, 19, 9.0, 0.5, 1.0, False)
    grid = forward(GRID_ATOMS, *call)
    for result in (grid, *backward(GRID_ATOMS, grid, *call)):
        found.update(result.tobytes())
print(found.hexdigest())
"""
    assert len(printed_with_each(code)) == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"coords": np.zeros((3, 2))}, ValueError, r"coords must have shape \[N, 3\]"),
        ({"coords": np.full((3, 3), np.nan)}, ValueError, "coords must be finite and at most 1e150 in size"),
        ({"coords": np.zeros((3, 3), int)}, TypeError, "coords must be float32 or float64, not int64"),
        ({"channels": [0, 1]}, ValueError, r"channels must have shape \[N\] with N = 3"),
        (
            {"channels": [0, 1, 2], "n_channels": 2},
            ValueError,
            "channels must be from -1 to n_channels - 1 = 1",
        ),
        ({"channels": [0, 1, -2]}, ValueError, "channels must be from -1"),
        ({"channels": [0.0, 1.0, 1.0]}, TypeError, "channels must hold integers, not float64"),
        ({"channels": [[0, 1, 1]]}, ValueError, r"channels must have shape \[N\]"),
        ({"radii": [1.0, 0.0, 1.0]}, ValueError, "radii must be from 1e-18 to 1e18"),
        ({"radii": np.ones(3, np.float32)}, TypeError, "radii is float32, but coords is float64"),
        ({"radii": torch.ones(3)}, TypeError, "use one kind"),
        (
            {"center": [0, 0]},
            ValueError,
            r"center must have shape \[3\] with 3 = 3|center must have shape \[3\]",
        ),
        ({"center": [0, 0, np.inf]}, ValueError, "center must be finite"),
        ({"side": -1}, ValueError, "side must be at least 0"),
        ({"side": np.inf}, ValueError, "side / resolution must be less than"),
        ({"resolution": 0}, ValueError, "resolution must be greater than 0"),
        ({"resolution": 1e-4}, ValueError, "is too large: it needs about"),
        ({"n_channels": 0}, ValueError, "n_channels must be at least 1"),
        ({"density": "sharp"}, ValueError, "density must be one of 'gaussian', 'binary'"),
        ({"gaussian_radius_multiple": 0}, ValueError, "gaussian_radius_multiple must be at least 0.01"),
        ({"gaussian_radius_multiple": 7}, ValueError, "gaussian_radius_multiple must be at most 6"),
        ({"coords": [np.zeros((3, 3))]}, ValueError, "channels must be a list of 1 arrays, as coords is one"),
    ],
)
def test_refusals(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call: dict[str, Any] = {"coords": np.zeros((3, 3)), "channels": [0, 1, 1], "radii": 1.0} | CUBE
    with pytest.raises(error, match=message):
        mk.points.grid_atoms(**(call | change))
