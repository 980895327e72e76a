"""`medkernels.points.farthest_point_sampling` beside fpsample, Open3D and a loop in torch.

On a GPU fpsample and Open3D work on the CPU, and the loop on the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import (
    BEST,
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
)
from medkernels.benchmarks.runner.compare import Differences

import medkernels

TITLE = "Farthest point sampling, float32"
UNITS = "distances of the plain algorithm"
DIRECTIONS = (FORWARD,)

MANY, FEW, CELLS = "30000 -> 4096, 3-D", "4096 -> 1024, 3-D", "50000 -> 25, 11-D"
SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000)
ONLY_8 = "it takes up to 8 coordinates"
ONLY_3 = "it takes 3 coordinates"


def cases(sizes: str) -> list[Case]:
    """Clouds as of atoms and of cells, then curves over the points."""
    if sizes == "small":
        return [
            _case("60 -> 9, 3-D", 60, 9, 3),
            _case("90 -> 5, 11-D", 90, 5, 11),
            *(_case(f"points {n}", n, n // 8, 3, "points") for n in (64, 128)),
        ]
    return [
        _case(MANY, 30000, 4096, 3),
        _case(FEW, 4096, 1024, 3),
        _case(CELLS, 50000, 25, 11),
        *(
            _case(f"points {n}", n, n // 8, 3, "points")
            for n in (1000, 3000, 10_000, 30_000, 100_000, 300_000)
        ),
    ]


def _case(name: str, count: int, samples: int, dimensions: int, curve: str = "") -> Case:
    excluded = {}
    if dimensions > 8:
        excluded = {"fpsample, k-d lines": ONLY_8, "Open3D": ONLY_3}

    def inputs(device: str, seed: int) -> Inputs:
        return {**on_device(cloud(seed, count, dimensions), device), "samples": samples}

    return Case(name, inputs, _work, curve, count if curve else 0, None, excluded)


def on_device(host: np.ndarray, device: str) -> Inputs:
    """Points for ours, and for peers that work on the CPU."""
    return {"points": host if device == "cpu" else torch.from_numpy(host).to(device), "host": host}


def cloud(seed: int, count: int, dimensions: int) -> np.ndarray:
    """One normal distribution in 3-D; seven of them, as of populations of cells, in more dimensions."""
    rng = np.random.default_rng(seed)
    if dimensions <= 3:
        return rng.normal(size=(count, dimensions)).astype(np.float32)
    centres = rng.uniform(0.7, 3.7, (7, dimensions))
    spread = rng.normal(size=(count, dimensions)) * 0.25
    return (centres[rng.integers(0, 7, count)] + spread).astype(np.float32)


def _work(inputs: Inputs, backward: bool) -> Work:
    """How few distances suffice is not known."""
    return Work(len(inputs["points"]) * inputs["samples"])


def compare_picks(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """How many picks differ from ours with the same first pick, which a library may choose itself."""
    picks = np.asarray(torch.as_tensor(theirs["result"]).cpu())
    wanted = medkernels.points.farthest_point_sampling(ours["points"], len(picks), start=int(picks[0]))
    return {"largest": float((picks != wanted).sum())}


def compare_sets(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """How far picked points lie apart, which come in any order."""
    wanted = ours["points"][np.asarray(torch.as_tensor(ours["result"]).cpu())]
    apart = medkernels.points.knn(wanted, theirs["result"], k=1)[1]
    return {"largest": float(np.sqrt(apart.max())) if len(wanted) == len(theirs["result"]) else np.inf}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    picks = medkernels.points.farthest_point_sampling(inputs["points"], inputs["samples"])
    return {"result": picks, "points": inputs["host"]}


def _kd_lines(inputs: Inputs, backward: bool) -> Outputs:
    """The variant that its authors recommend, with about 256 points a bucket, the fastest here."""
    import fpsample

    points = inputs["host"]
    height = max(2, int(np.log2(max(len(points) / 256, 1))))
    picks = fpsample.bucket_fps_kdline_sampling(points, inputs["samples"], h=height)
    return {"result": picks, "points": points}


def _plain(inputs: Inputs, backward: bool) -> Outputs:
    import fpsample

    picks = fpsample.fps_sampling(inputs["host"], inputs["samples"], start_idx=0)
    return {"result": picks, "points": inputs["host"]}


def _open3d(inputs: Inputs, backward: bool) -> Outputs:
    import open3d

    cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor.from_numpy(inputs["host"]))
    picked = cloud.farthest_point_down_sample(inputs["samples"])
    return {"result": picked.point.positions.numpy(), "points": inputs["host"]}


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    torch.set_num_threads(medkernels.get_num_threads())
    points = torch.as_tensor(inputs["points"])
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    picks = torch.zeros(inputs["samples"], dtype=torch.int64, device=points.device)
    for i in range(1, inputs["samples"]):
        nearest = torch.minimum(nearest, (points - points[picks[i - 1]]).square().sum(dim=1))
        picks[i] = nearest.argmax()
    return {"result": picks, "points": inputs["host"]}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("fpsample, k-d lines", _kd_lines, compare=compare_picks, library="fpsample"),
    Provider("fpsample, plain", _plain, compare=compare_picks, library="fpsample"),
    Provider("Open3D", _open3d, compare=compare_sets, library="open3d"),
    Provider("torch loop", _torch, compare=compare_picks, library="torch"),
)
TARGETS = tuple(Target(name, FORWARD, BEST, 1.5) for name in (MANY, FEW, CELLS))
