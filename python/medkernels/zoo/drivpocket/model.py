"""The network: a voxel stream and a rotation-invariant point stream that gates its attention.

Source: "DRIVPocket: A Dual-stream Rotation Invariance in Feature Sampling and Voxel Fusion Approach for
Protein Binding Site Prediction", ICPR 2024. What the paper leaves open, and how it is settled here, stands in
card.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.zoo.drivpocket.dria import Attention
from medkernels.zoo.drivpocket.geometry import FEATURES, geometry
from medkernels.zoo.drivpocket.point_stream import PointStream, invariant_grids
from medkernels.zoo.drivpocket.voxel_stream import VoxelStream, grid_sizes

TYPES = 14  # kinds of atoms
POINT_SCALE = 16.25  # Angstrom: points are (xyz - centre) / POINT_SCALE
GATES = 7  # attention blocks: e1 to e4, d4 to d2
STREAMS = ("both", "voxel", "points")


class DRIVPocket(nn.Module):
    """Voxels and points of a site -> where a ligand binds, and which atoms it touches.

    Parameters
    ----------
    width : int
        W, channels of the voxel stream's first block: 32 as published (64, 128, 256 and 512 below).
    point_width : int, optional
        Of the point stream's first layer; W if None, as published.
    streams : {"both", "voxel", "points"}
        As published, or one of the streams alone.
    features : {"invariant", "xyz"}
        How the point stream sees neighbours; the second one changes when the protein is turned.
    second_kernel : {1, 3}
        Edge of the second kernel of the voxel stream's blocks but the first; see `VoxelStream`.
    attention : Attention, optional
    """

    def __init__(
        self,
        width: int = 32,
        *,
        point_width: int | None = None,
        streams: str = "both",
        features: str = "invariant",
        second_kernel: int = 1,
        attention: Attention | None = None,
    ) -> None:
        super().__init__()
        points = width if point_width is None else point_width
        for name, value in (("width", width), ("point_width", points)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if streams not in STREAMS:
            raise ValueError(f"streams must be one of {', '.join(STREAMS)}, got {streams!r}")
        if features not in FEATURES:
            raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {features!r}")
        if second_kernel not in (1, 3):
            raise ValueError(f"second_kernel must be 1 or 3, got {second_kernel!r}")
        self.features = features
        gates = 2 * points if streams == "both" else 0
        self.points = PointStream(TYPES, points, features) if streams != "voxel" else None
        self.voxels = (
            VoxelStream(TYPES, width, second_kernel, attention or Attention(), gates)
            if streams != "points"
            else None
        )

    def forward(
        self, voxels: Tensor | None, points: Tensor | None, types: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Judge sites.

        Parameters
        ----------
        voxels : [B,14,R,R,R]
            Atoms in a grid with R = 17, 33, 49, 65, ... points along an edge.
        points : [B,N,3]
            Atoms near the centre, ``(xyz - centre) / 16.25``.
        types : integers [B,N] or one-hot [B,N,14]
            Their kinds.

        Returns
        -------
        voxel_logits : [B,R,R,R], None without a voxel stream
        point_logits : [B,N], None without a point stream
        """
        point_logits: Tensor | None = None
        gates: Sequence[Tensor | None] = [None] * GATES
        if self.points is not None:
            assert points is not None
            assert types is not None
            kinds = types if types.is_floating_point() else F.one_hot(types, TYPES)
            around = geometry(points, features=self.features)
            point_logits, found = self.points(around, kinds.float())
            if self.voxels is not None:
                assert voxels is not None
                gates = invariant_grids(around, found, grid_sizes(voxels.shape[-1]))
        if self.voxels is None:
            return None, point_logits
        assert voxels is not None
        grid_sizes(voxels.shape[-1])
        return self.voxels(voxels, gates), point_logits


def build(
    width: int = 32,
    *,
    point_width: int | None = None,
    streams: str = "both",
    features: str = "invariant",
    second_kernel: int = 1,
    attention: Attention | None = None,
    prior: float | None = None,
    seed: int = 0,
) -> DRIVPocket:
    """A network whose first weights are drawn from the seed; global generators stay as they are.

    Parameters
    ----------
    width, point_width, streams, features, second_kernel, attention : as in `DRIVPocket`.
    prior : float, optional
        Probability with which each voxel begins.
    seed : int
    """
    if prior is not None and not 0 < prior < 1:
        raise ValueError(f"prior must lie in (0, 1), got {prior}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DRIVPocket(
            width,
            point_width=point_width,
            streams=streams,
            features=features,
            second_kernel=second_kernel,
            attention=attention,
        )
    if prior is not None and network.voxels is not None:
        bias = network.voxels.out.bias
        assert bias is not None
        nn.init.constant_(bias, math.log(prior / (1 - prior)))
    return network
