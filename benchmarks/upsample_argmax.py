"""`medkernels.segmentation.upsample_argmax` beside torch: interpolate and argmax, of all classes or a few."""

from __future__ import annotations

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
from torch import Tensor
from torch.nn.functional import interpolate

import medkernels

TITLE = "Labels of upsampled logits, float32"
UNITS = "labels times classes"
DIRECTIONS = (FORWARD,)
SMOOTH, NOISE = "105 classes, 32^3 -> 128^3, smooth", "105 classes, 32^3 -> 128^3, noise"
CHUNK = 8  # classes
SPREAD = 8.0  # of smooth logits: one class is clearly above the others in most places
COARSER = 4  # places of smooth logits for each number that is drawn, along an axis


def cases(sizes: str) -> list[Case]:
    """A whole-body segmentation, like that of a network and at its worst; then a curve over the classes."""
    if sizes == "small":
        return [
            _case("7 classes, 4^3 -> 11^3, smooth", 7, 4, 11, True),
            _case("7 classes, 4^3 -> 16^3, noise", 7, 4, 16, False),
            *(_case(f"classes {n}", n, 4, 8, True, "classes") for n in (2, 5)),
        ]
    return [
        _case(SMOOTH, 105, 32, 128, True),
        _case(NOISE, 105, 32, 128, False),
        *(_case(f"classes {n}", n, 32, 128, True, "classes") for n in (2, 8, 32, 128)),
    ]


def _case(name: str, classes: int, side: int, to_side: int, smooth: bool, curve: str = "") -> Case:
    return Case(
        name,
        lambda device, seed: {
            "logits": draw_logits(classes, side, smooth, seed).to(device),
            "size": (to_side,) * 3,
        },
        lambda inputs, _: Work(classes * to_side**3),
        curve,
        classes if curve else 0,
    )


def draw_logits(classes: int, side: int, smooth: bool, seed: int) -> Tensor:
    """Noise, or noise of a coarser grid, [1, classes, side, side, side]."""
    random = torch.Generator().manual_seed(seed)
    if not smooth:
        return torch.randn(1, classes, side, side, side, generator=random)
    coarse = -(-side // COARSER)
    drawn = SPREAD * torch.randn(1, classes, coarse, coarse, coarse, generator=random)
    return interpolate(drawn, size=(side,) * 3, mode="trilinear", align_corners=False)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": medkernels.segmentation.upsample_argmax(inputs["logits"], size=inputs["size"])}


def _dense(inputs: Inputs, backward: bool) -> Outputs:
    return {"result": _upsampled(inputs["logits"], inputs).argmax(1)}


def _chunks(inputs: Inputs, backward: bool) -> Outputs:
    logits = inputs["logits"]
    best, labels = _upsampled(logits[:, :CHUNK], inputs).max(1)
    for first in range(CHUNK, logits.shape[1], CHUNK):
        value, which = _upsampled(logits[:, first : first + CHUNK], inputs).max(1)
        above = value > best
        best = torch.where(above, value, best)
        labels = torch.where(above, which + first, labels)
    return {"result": labels}


def _upsampled(logits: Tensor, inputs: Inputs) -> Tensor:
    return interpolate(logits, size=inputs["size"], mode="trilinear", align_corners=False)


def compare_labels(ours: Outputs, theirs: Outputs) -> Differences:
    """The share of labels that differ: where two classes are equal up to rounding, either may be taken."""
    return {"largest": float((ours["result"] != theirs["result"]).double().mean())}


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch interpolate + argmax", _dense, 1e-4, compare=compare_labels),
    Provider("torch, 8 classes at a time", _chunks, 1e-4, compare=compare_labels),
)
TARGETS = tuple(Target(case, FORWARD, BEST, 20, 1 / 50) for case in (SMOOTH, NOISE))
