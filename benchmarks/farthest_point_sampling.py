"""`medkernels.points.farthest_point_sampling` beside fpsample, Open3D and a loop in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
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
DEVICES = ("cpu",)

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
        return {"points": cloud(seed, count, dimensions), "samples": samples}

    return Case(name, inputs, _work, curve, count if curve else 0, None, excluded)


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
    picks = np.asarray(theirs["result"])
    wanted = medkernels.points.farthest_point_sampling(ours["points"], len(picks), start=int(picks[0]))
    return {"largest": float((picks != wanted).sum())}


def compare_sets(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differences:
    """How far picked points lie apart, which come in any order."""
    wanted = ours["points"][ours["result"]]
    apart = medkernels.points.knn(wanted, theirs["result"], k=1)[1]
    return {"largest": float(np.sqrt(apart.max())) if len(wanted) == len(theirs["result"]) else np.inf}


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    picks = medkernels.points.farthest_point_sampling(inputs["points"], inputs["samples"])
    return {"result": picks, "points": inputs["points"]}


def _kd_lines(inputs: Inputs, backward: bool) -> Outputs:
    """The variant that its authors recommend, with about 256 points a bucket, the fastest here."""
    import fpsample

    points = inputs["points"]
    height = max(2, int(np.log2(max(len(points) / 256, 1))))
    picks = fpsample.bucket_fps_kdline_sampling(points, inputs["samples"], h=height)
    return {"result": picks, "points": points}


def _plain(inputs: Inputs, backward: bool) -> Outputs:
    import fpsample

    picks = fpsample.fps_sampling(inputs["points"], inputs["samples"], start_idx=0)
    return {"result": picks, "points": inputs["points"]}


def _open3d(inputs: Inputs, backward: bool) -> Outputs:
    import open3d

    cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor.from_numpy(inputs["points"]))
    picked = cloud.farthest_point_down_sample(inputs["samples"])
    return {"result": picked.point.positions.numpy(), "points": inputs["points"]}


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    import torch

    torch.set_num_threads(medkernels.get_num_threads())
    points = torch.from_numpy(inputs["points"])
    nearest, picks = torch.full((len(points),), torch.inf), [0]
    while len(picks) < inputs["samples"]:
        nearest = torch.minimum(nearest, (points - points[picks[-1]]).square().sum(dim=1))
        picks.append(int(nearest.argmax()))
    return {"result": np.array(picks), "points": inputs["points"]}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("fpsample, k-d lines", _kd_lines, compare=compare_picks, library="fpsample"),
    Provider("fpsample, plain", _plain, compare=compare_picks, library="fpsample"),
    Provider("Open3D", _open3d, compare=compare_sets, library="open3d"),
    Provider("torch loop", _torch, compare=compare_picks, library="torch"),
)
TARGETS = tuple(Target(name, FORWARD, BEST, 1.5) for name in (MANY, FEW, CELLS))
