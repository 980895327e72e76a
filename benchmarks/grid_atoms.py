"""`medkernels.points.grid_atoms` beside NumPy and torch, which draw each atom in a box that holds it.

NumPy works on the CPU, also where ours does not.
"""

from __future__ import annotations

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import (
    BOTH,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
    run_in_parts,
)
from torch import Tensor

import medkernels

TITLE = "Densities of atoms in a grid, float32"
UNITS = "grid points within reach of an atom, summed over atoms"

POCKET = "2500 atoms, 14 channels, 65^3"
RESOLUTION = 0.5
CHANNELS = 14
#: Of the elements in proteins, and how often.
RADII, SHARES = np.array([1.9, 1.8, 1.7, 2.0], np.float32), [0.63, 0.17, 0.19, 0.01]
REACH = 1.5  # radii


def cases(sizes: str) -> list[Case]:
    """The surroundings of a pocket, then curves over atoms and the side of the grid."""
    if sizes == "small":
        return [_case("30 atoms, 9^3", 30, 9), *(_case(f"atoms {n}", n, 9, "atoms", n) for n in (20, 40))]
    return [
        _case(POCKET, 2500, 65),
        *(_case(f"atoms {n}", n, 65, "atoms", n) for n in (25, 250, 2500, 25_000)),
        *(_case(f"side {n}", n**3 // 110, n, "side", n) for n in (17, 33, 65, 129)),
    ]


def _case(name: str, atoms: int, points: int, curve: str = "", at: float = 0.0) -> Case:
    def inputs(device: str, seed: int) -> Inputs:
        rng = np.random.default_rng(seed)
        side = (points - 1) * RESOLUTION
        coords = torch.tensor(rng.uniform(-side / 2, side / 2, (1, atoms, 3)), dtype=torch.float32)
        channels, radii = rng.integers(0, CHANNELS, (1, atoms)), rng.choice(RADII, (1, atoms), p=SHARES)
        upstream = torch.tensor(rng.normal(size=(1, CHANNELS, points, points, points)), dtype=torch.float32)
        return {
            "coords": coords.to(device),
            "channels": channels,
            "radii": radii,
            "kinds": [torch.from_numpy(each).to(device) for each in (channels, radii)],
            "side": side,
            "upstream": upstream.to(device),
        }

    return Case(name, inputs, _work, curve, at)


def _work(inputs: Inputs, backward: bool) -> Work:
    """Operations counted from the formulas.

    Forward, for each point in reach: the square of the distance 1 (those along x and y are there for a row),
    the product of the Gaussian 1 or root and parabola 5, the sum 1: 6 on average. Backward: the distance 2,
    the slope 5, its product with the gradient 1, four sums 8.
    """
    points = inputs["upstream"].shape[-1]
    spheres = 4 / 3 * np.pi * (REACH * inputs["radii"].astype(float) / RESOLUTION) ** 3
    units = int(np.minimum(spheres, points**3).sum())
    values = inputs["coords"].numel() + 2 * inputs["radii"].size + inputs["upstream"].numel()
    if backward:
        values += inputs["upstream"].numel() + inputs["coords"].numel()
    return Work(units, float(units * (22 if backward else 6)), 4.0 * values)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        channels, radii = part["kinds"]
        place = {"center": [0.0, 0.0, 0.0], "side": part["side"], "resolution": RESOLUTION}
        grid: Tensor = medkernels.points.grid_atoms(
            part["coords"], channels, radii, n_channels=CHANNELS, **place
        )
        return grid

    return run_in_parts(draw, inputs, backward)


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    """Every atom in a box that holds the largest; autograd."""
    torch.set_num_threads(medkernels.get_num_threads())

    def draw(part: Inputs) -> Tensor:
        points = inputs["upstream"].shape[-1]
        coords, channels, radii = part["coords"][0], part["kinds"][0][0], part["kinds"][1][0][:, None]
        at = (coords + part["side"] / 2) / RESOLUTION
        half = int(REACH * float(RADII.max()) / RESOLUTION) + 1
        window = torch.arange(-half, half + 1, device=coords.device)
        cells = at.detach().round().long()[:, :, None] + window
        squares = (((cells - at[:, :, None]) * RESOLUTION) / radii[:, :, None]) ** 2
        x, y, z = squares.unbind(1)
        squared = (x[:, :, None, None] + y[:, None, :, None] + z[:, None, None, :]).flatten(1)
        u = squared.clamp(min=1e-12).sqrt()
        tail = np.exp(-2) * (4 * squared - 12 * u + 9)
        values = torch.where(u <= 1, torch.exp(-2 * squared), torch.where(u < REACH, tail, 0.0))
        inside = (cells >= 0) & (cells < points)
        i, j, k = inside.unbind(1)
        inside = (i[:, :, None, None] & j[:, None, :, None] & k[:, None, None, :]).flatten(1)
        i, j, k = cells.clamp(0, points - 1).unbind(1)
        layer = channels[:, None, None, None]
        place = ((layer * points + i[:, :, None, None]) * points + j[:, None, :, None]) * points
        place = (place + k[:, None, None, :]).flatten(1)
        grid = coords.new_zeros(CHANNELS * points**3)
        grid = grid.index_add(0, place.flatten(), (values * inside).flatten())
        return grid.reshape(1, CHANNELS, points, points, points)

    return run_in_parts(draw, inputs, backward)


def _numpy(inputs: Inputs, backward: bool) -> Outputs:
    """Every atom in a box that holds the largest; the gradient by its formula."""
    points, shape = inputs["upstream"].shape[-1], tuple(inputs["upstream"].shape)
    coords, radii = inputs["coords"][0].cpu().numpy(), inputs["radii"][0]
    at = (coords + np.float32(inputs["side"] / 2)) / np.float32(RESOLUTION)
    half = int(REACH * float(radii.max()) / RESOLUTION) + 1
    cells = np.rint(at).astype(np.int64)[:, :, None] + np.arange(-half, half + 1)
    offsets = (cells - at[:, :, None]).astype(np.float32) * np.float32(RESOLUTION) / radii[:, None, None]
    axes = ((slice(None), slice(None), None, None), (slice(None), None, slice(None), None))
    axes = (*axes, (slice(None), None, None, slice(None)))
    squared = sum(offsets[:, d][axes[d]] ** 2 for d in range(3))
    u = np.sqrt(squared)
    inside = (cells >= 0) & (cells < points)
    drawn = (u < REACH) & np.logical_and.reduce(
        np.broadcast_arrays(*(inside[:, d][axes[d]] for d in range(3)))
    )
    i, j, k = (cells[:, d][axes[d]] for d in range(3))
    place = ((inputs["channels"][0][:, None, None, None] * points + i) * points + j) * points + k
    core, parabola = u <= 1, np.float32(np.exp(-2))
    values = np.where(core, np.exp(-2 * squared), parabola * (3 - 2 * u) ** 2)
    grid = np.bincount(place[drawn], values[drawn], CHANNELS * points**3).astype(np.float32)
    outputs = {"result": torch.from_numpy(grid.reshape(shape))}
    if backward:
        slope = np.where(core, -4 * np.exp(-2 * squared), -4 * parabola * (3 - 2 * u) / np.maximum(u, 1))
        upstream = inputs["upstream"].cpu().numpy().reshape(-1)[np.where(drawn, place, 0)]
        weight = np.where(drawn, slope * upstream, 0)
        moves = [-(weight * offsets[:, d][axes[d]]).sum((1, 2, 3)) / radii for d in range(3)]
        outputs["grad coords"] = torch.from_numpy(np.stack(moves, axis=1)[None])
    return outputs


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch", _torch, 1e-4, 1e-5, 1e-4, library="torch"),
    Provider("NumPy", _numpy, 1e-4, 1e-5, 1e-4),
)
TARGETS = (Target(POCKET, BOTH, "NumPy", 50),)
