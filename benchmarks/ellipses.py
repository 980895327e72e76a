"""`medkernels.render.ellipses` beside torch: affine_grid with grid_sample, and the formula itself."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
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
    REACH,
    TAU,
    least_work,
    profile,
    torch_peer,
    touched,
)
from torch import Tensor

import medkernels

TITLE = "Soft ellipses, union with sigmoid profile, float32"
UNITS = "touched pixels"
RASTER = 65  # side of the raster that grid_sample reads
SCATTERED, GRID = "scattered B=8 256x256 K=336", "grid B=8 256x256 K=1344"


def cases(sizes: str) -> list[Case]:
    """The comparison, then curves over the number of ellipses, their radius and the side of the image."""
    if sizes == "small":
        return [
            _case("scattered B=2 64x64 K=21", 2, 64, partial(_scattered, spacings=(16, 32, 64))),
            _case("grid B=2 64x64 K=84", 2, 64, partial(_grid, spacings=(8, 16, 32))),
            *(_point("ellipses", k, 1, 64, k, 4.0) for k in (16, 64)),
        ]
    return [
        _case(SCATTERED, 8, 256, partial(_scattered, spacings=(16, 32, 64))),
        _case(GRID, 8, 256, partial(_grid, spacings=(8, 16, 32))),
        *(_point("ellipses", k, 4, 512, k, 8.0) for k in (64, 256, 1024, 4096, 16384)),
        *(_point("radius", r, 4, 512, 256, r) for r in (0.5, 2.0, 8.0, 32.0, 128.0)),
        *(_point("side", side, 4, side, 256, side / 32) for side in (64, 128, 256, 512, 1024, 2048)),
    ]


def frames(axes: Tensor, angles: Tensor) -> Tensor:
    """The maps from an offset in pixels to the unit disc: [...,2,2]."""
    cos, sin = torch.cos(angles), torch.sin(angles)
    rows = torch.stack([torch.stack([cos, sin], dim=-1), torch.stack([-sin, cos], dim=-1)], dim=-2)
    return rows / axes[..., None]


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
        "angles": torch.rand(batch, count, generator=random) * torch.pi,
        "colors": torch.rand(batch, count, 3, generator=random),
        "background": torch.rand(batch, 3, side, side, generator=random),
        "upstream": torch.randn(batch, 3, side, side, generator=random) / side**2,
    }
    return {**{name: value.to(device) for name, value in arrays.items()}, "size": (side, side)}


def _grid(batch: int, side: int, random: torch.Generator, spacings: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """One ellipse in the middle of each cell of several grids, semi-axes 0.1 to 1 of the spacing."""
    centers, axes = [], []
    for spacing in spacings:
        middle = torch.arange(side // spacing) * spacing + (spacing - 1) / 2
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        place = torch.stack([x.flatten(), y.flatten()], dim=-1).expand(batch, -1, 2)
        centers.append(place)
        axes.append(spacing * (0.1 + 0.9 * torch.rand(place.shape, generator=random)))
    return torch.cat(centers, dim=1).contiguous(), torch.cat(axes, dim=1)


def _scattered(
    batch: int, side: int, random: torch.Generator, spacings: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The ellipses of `_grid`, anywhere on the canvas."""
    centers, axes = _grid(batch, side, random, spacings)
    return torch.rand(centers.shape, generator=random) * (side - 1), axes


def _equal(
    batch: int, side: int, random: torch.Generator, count: int, radius: float
) -> tuple[Tensor, Tensor]:
    centers = torch.rand(batch, count, 2, generator=random) * (side - 1)
    return centers, torch.full((batch, count, 2), float(radius))


def _work(inputs: Inputs, backward: bool) -> Work:
    units = touched(frames(inputs["axes"], inputs["angles"]), inputs["centers"], inputs["size"])
    return least_work(inputs, backward, units)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def draw(part: Inputs) -> Tensor:
        image: Tensor = medkernels.render.ellipses(
            part["centers"],
            part["axes"],
            part["angles"],
            part["colors"],
            part["background"],
            part["size"],
            tau=TAU,
            opacity=OPACITY,
        )
        return image

    return run_in_parts(draw, inputs, backward)


def _dense_alpha(inputs: Inputs, part: slice) -> Tensor:
    """Opacity of each pixel in each ellipse, by the formula."""
    centers, size = inputs["centers"][:, part], inputs["size"]
    a = frames(inputs["axes"][:, part], inputs["angles"][:, part])[..., None]
    x = torch.arange(size[1], device=centers.device).repeat(size[0])
    y = torch.arange(size[0], device=centers.device).repeat_interleave(size[1])
    dx, dy = x - centers[..., 0:1], y - centers[..., 1:2]
    u = a[..., 0, 0, :] * dx + a[..., 0, 1, :] * dy
    v = a[..., 1, 0, :] * dx + a[..., 1, 1, :] * dy
    return profile(torch.sqrt(u * u + v * v + EPS_RHO))


def _sampled_alpha(inputs: Inputs, part: slice) -> Tensor:
    """Opacity of each pixel in each ellipse, read from a raster of the disc as the paper does."""
    centers, size = inputs["centers"][:, part].flatten(0, 1), inputs["size"]
    a = frames(inputs["axes"][:, part], inputs["angles"][:, part]).flatten(0, 1)
    half = torch.tensor([size[1], size[0]], device=centers.device) / 2
    # Canvas coordinates run over -1..1 from edge to edge: x = (x' + 1) W / 2 - 1/2.
    maps = torch.cat([a * half, a @ (half - 0.5 - centers)[..., None]], dim=2) / REACH
    axis = ((torch.arange(RASTER, device=centers.device) + 0.5) / RASTER * 2 - 1) * REACH
    disc = profile(torch.sqrt(axis[:, None] ** 2 + axis**2 + EPS_RHO)).expand(len(maps), 1, -1, -1)
    grid = F.affine_grid(maps, [len(maps), 1, *size], align_corners=False)
    alpha = F.grid_sample(disc, grid, align_corners=False)
    return alpha.reshape(*inputs["centers"][:, part].shape[:2], -1)


_grid_sample, _grid_sample_at_once = torch_peer(_sampled_alpha, tensors=6)
_dense, _dense_at_once = torch_peer(_dense_alpha, tensors=11)

PROVIDERS = (
    Provider("medkernels", _ours),
    # Interpolation in the raster is wrong by up to 2.4e-3 for one ellipse, and more where rims overlap.
    Provider("torch grid_sample", _grid_sample, 5e-2, 5e-3, 0.2, _grid_sample_at_once),
    # Rounding can put a pixel on either side of the cut-off, where the profile jumps by 0.0025.
    Provider("torch dense", _dense, 5e-3, 1e-4, 5e-3, _dense_at_once),
)
TARGETS = (
    Target(SCATTERED, BOTH, "torch grid_sample", 200, 1 / 20),
    Target(GRID, BOTH, "torch grid_sample", 200, 1 / 20),
    Target(SCATTERED, BOTH, "torch dense", 30),
    Target(GRID, BOTH, "torch dense", 30),
)
