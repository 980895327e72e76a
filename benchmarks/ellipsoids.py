"""`medkernels.render.ellipsoids` beside its formula in torch."""

from __future__ import annotations

from functools import partial

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
from medkernels.benchmarks.runner.quadrics import (
    EPS_RHO,
    OPACITY,
    TAU,
    least_work,
    profile,
    torch_peer,
    touched,
)
from torch import Tensor

import medkernels

TITLE = "Soft ellipsoids, union with sigmoid profile, float32"
UNITS = "touched voxels"
MIXED = "scattered B=2 64x64x64 K=73"


def cases(sizes: str) -> list[Case]:
    """The comparison, then curves over the number of ellipsoids, their radius and the side of the volume."""
    if sizes == "small":
        return [
            _case("scattered B=1 16x16x16 K=9", 1, 16, partial(_scattered, spacings=(8, 16))),
            *(_point("ellipsoids", k, 1, 16, k, 3.0) for k in (8, 32)),
        ]
    return [
        _case(MIXED, 2, 64, partial(_scattered, spacings=(16, 32, 64))),
        *(_point("ellipsoids", k, 1, 128, k, 6.0) for k in (16, 64, 256, 1024, 4096)),
        *(_point("radius", r, 1, 128, 64, r) for r in (0.5, 2.0, 8.0, 32.0)),
        *(_point("side", side, 1, side, 64, side / 16) for side in (32, 64, 128, 192)),
    ]


def frames(axes: Tensor, rotations: Tensor) -> Tensor:
    """The maps from an offset in voxels to the unit ball: [...,3,3], from quaternions (w, x, y, z)."""
    w, x, y, z = (rotations / rotations.norm(dim=-1, keepdim=True)).unbind(-1)
    columns = [  # of the rotation, which are the rows of its inverse
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=-1),
        torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=-1),
        torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(columns, dim=-2) / axes[..., None]


def _case(name: str, batch: int, side: int, place: partial[tuple[Tensor, Tensor]]) -> Case:
    return Case(name, lambda device, seed: _inputs(batch, side, place, device, seed), _work)


def _point(curve: str, at: float, batch: int, side: int, count: int, radius: float) -> Case:
    place = partial(_equal, count=count, radius=radius)
    return Case(
        f"{curve} {at:g}", lambda device, seed: _inputs(batch, side, place, device, seed), _work, curve, at
    )


def _inputs(batch: int, side: int, place: partial[tuple[Tensor, Tensor]], device: str, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    centers, axes = place(batch, side, random)
    count = centers.shape[1]
    arrays = {
        "centers": centers,
        "axes": axes,
        "rotations": torch.randn(batch, count, 4, generator=random),
        "colors": torch.rand(batch, count, 1, generator=random),
        "background": torch.rand(batch, 1, side, side, side, generator=random),
        "upstream": torch.randn(batch, 1, side, side, side, generator=random) / side**3,
    }
    return {**{name: value.to(device) for name, value in arrays.items()}, "size": (side, side, side)}


def _scattered(
    batch: int, side: int, random: torch.Generator, spacings: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """As many ellipsoids as several grids have cells, anywhere; semi-axes 0.1 to 1 of the spacing."""
    spacing = torch.cat([torch.full(((side // r) ** 3,), float(r)) for r in spacings])[:, None]
    axes = spacing * (0.1 + 0.9 * torch.rand(batch, len(spacing), 3, generator=random))
    return torch.rand(axes.shape, generator=random) * (side - 1), axes


def _equal(
    batch: int, side: int, random: torch.Generator, count: int, radius: float
) -> tuple[Tensor, Tensor]:
    centers = torch.rand(batch, count, 3, generator=random) * (side - 1)
    return centers, torch.full((batch, count, 3), float(radius))


def _work(inputs: Inputs, backward: bool) -> Work:
    units = touched(frames(inputs["axes"], inputs["rotations"]), inputs["centers"], inputs["size"])
    return least_work(inputs, backward, units)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        volume: Tensor = medkernels.render.ellipsoids(
            part["centers"],
            part["axes"],
            part["rotations"],
            part["colors"],
            part["background"],
            part["size"],
            tau=TAU,
            opacity=OPACITY,
        )
        return volume

    return run_in_parts(draw, inputs, backward)


def _dense_alpha(inputs: Inputs, part: slice) -> Tensor:
    """Opacity of each voxel in each ellipsoid, by the formula."""
    centers = inputs["centers"][:, part]
    a = frames(inputs["axes"][:, part], inputs["rotations"][:, part])
    ranges = [torch.arange(n, device=centers.device, dtype=centers.dtype) for n in inputs["size"]]
    z, y, x = (coordinate.flatten() for coordinate in torch.meshgrid(*ranges, indexing="ij"))
    points = torch.stack([x, y, z])
    local = a @ points - a @ centers[..., None]
    return profile(torch.sqrt((local * local).sum(dim=2) + EPS_RHO))


_dense, _dense_at_once = torch_peer(_dense_alpha, tensors=15)

PROVIDERS = (
    Provider("medkernels", _ours),
    # Rounding can put a voxel on either side of the cut-off, where the profile jumps by 0.0025.
    Provider("torch dense", _dense, 5e-3, 1e-4, 5e-3, _dense_at_once),
)
TARGETS = (Target(MIXED, BOTH, "torch dense", 30),)
