"""Random ellipses and ellipsoids for the tests, easy and degenerate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

import medkernels as mk
from tests.reference.ellipses import ellipse_rho
from tests.reference.ellipses import ellipses as reference_ellipses
from tests.reference.ellipsoids import ellipsoid_rho
from tests.reference.ellipsoids import ellipsoids as reference_ellipsoids

NAMES = ("centers", "axes", "turn", "colors", "background", "opacity")


@dataclass
class Scene:
    """Arguments of one call: float64 arrays in the order of the public function, opacity last."""

    arrays: dict[str, np.ndarray]
    size: tuple[int, ...]
    look: dict[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> Any:
        return mk.render.ellipses if len(self.size) == 2 else mk.render.ellipsoids

    @property
    def reference(self) -> Any:
        return reference_ellipses if len(self.size) == 2 else reference_ellipsoids

    def cast(self, dtype: Any) -> Scene:
        return Scene({k: v.astype(dtype) for k, v in self.arrays.items()}, self.size, self.look)

    def tensors(self, dtype: torch.dtype = torch.float64, grad: bool = True) -> list[torch.Tensor]:
        return [torch.tensor(self.arrays[n], dtype=dtype, requires_grad=grad) for n in NAMES]

    def draw(self, arrays: Any, function: Any = None) -> Any:
        *first, opacity = arrays
        return (function or self.function)(*first, self.size, opacity=opacity, **self.look)

    def numpy(self) -> list[np.ndarray]:
        return [self.arrays[n] for n in NAMES]

    def ambiguous(self) -> torch.Tensor:
        """Voxels so near a cut-off that rounding in float32 decides their side: bool [B, *size]."""
        centers, axes, turn = self.tensors(grad=False)[:3]
        rho = (ellipse_rho if len(self.size) == 2 else ellipsoid_rho)(centers, axes, turn, self.size)
        sigmoid = self.look.get("profile", "sigmoid") == "sigmoid"
        reach = 1 + 6 * self.look.get("tau", 0.15) if sigmoid else 12**0.5
        return ((rho - reach).abs() < 1e-4 * reach).any(dim=1).reshape(-1, *self.size)


def random_scene(
    seed: int = 0,
    batch: int = 2,
    count: int = 8,
    channels: int = 3,
    size: tuple[int, ...] = (21, 34),
    axes: tuple[float, float] = (0.4, 9.0),
    full_background: bool = False,
    **look: Any,
) -> Scene:
    """Primitives partly and wholly off the canvas, of any orientation."""
    rng = np.random.default_rng(seed)
    dims = len(size)
    extent = np.array(size[::-1], float)
    centers = rng.uniform(-0.3, 1.3, (batch, count, dims)) * extent
    turn = rng.uniform(-7, 7, (batch, count)) if dims == 2 else rng.normal(0, 2, (batch, count, 4))
    arrays = {
        "centers": centers,
        "axes": rng.uniform(*axes, (batch, count, dims)),
        "turn": turn,
        "colors": rng.uniform(-0.5, 1.5, (batch, count, channels)),
        "background": rng.random((batch, channels, *size) if full_background else (batch, channels)),
        "opacity": rng.uniform(0, 0.999, (batch, count)),
    }
    return Scene(arrays, size, look)


@st.composite
def scenes(draw: Any, dims: int = 2, max_side: int = 40, max_count: int = 12) -> Scene:
    """Any shape, option and degenerate geometry: coincident, on voxels, sub-voxel, huge, elongated."""
    size = tuple(draw(st.integers(1, max_side)) for _ in range(dims))
    scene = random_scene(
        seed=draw(st.integers(0, 2**32 - 1)),
        batch=draw(st.integers(0, 3)),
        count=draw(st.integers(0, max_count)),
        channels=draw(st.sampled_from([1, 2, 3, 4, 7])),
        size=size,
        axes=draw(st.sampled_from([(0.05, 0.6), (0.5, 6.0), (5.0, 300.0), (0.3, 40.0)])),
        full_background=draw(st.booleans()),
        composition=draw(st.sampled_from(["union", "over"])),
        profile=draw(st.sampled_from(["sigmoid", "gaussian"])),
        tau=draw(st.sampled_from([0.01, 0.15, 0.7])),
    )
    special = draw(st.sampled_from(["none", "coincident", "on voxels", "circles", "axis aligned", "opaque"]))
    arrays = scene.arrays
    if special == "coincident":
        for name in ("centers", "axes", "turn"):
            arrays[name][:, 1:] = arrays[name][:, :1]
    elif special == "on voxels":
        arrays["centers"] = np.round(arrays["centers"])
    elif special == "circles":
        arrays["axes"][...] = arrays["axes"][..., :1]
    elif special == "axis aligned":
        arrays["turn"] = np.zeros_like(arrays["turn"]) if dims == 2 else np.eye(4)[0] + 0 * arrays["turn"]
    elif special == "opaque":
        arrays["opacity"][...] = 0.999
    return scene
