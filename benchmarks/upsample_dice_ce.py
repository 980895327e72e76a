"""`medkernels.segmentation.upsample_dice_ce` beside torch's operations and MONAI's loss on dense logits."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from medkernels.benchmarks.runner.cases import (
    BEST,
    BOTH,
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
    run_in_parts,
)
from medkernels.benchmarks.upsample_argmax import draw_logits
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

import medkernels

TITLE = "Dice and cross-entropy of upsampled logits, float32"
UNITS = "labels times classes"
WHOLE_BODY, ABDOMEN = "105 classes, 32^3 -> 128^3", "14 classes, 24^3 -> 96^3"
SMOOTHING = 1e-5
WRONG = 0.1
FLOPS, FLOPS_BACKWARD = 8, 10  # for a label and a class


def cases(sizes: str) -> list[Case]:
    """Many classes and few; then a curve over the classes."""
    if sizes == "small":
        return [
            _case("7 classes, 4^3 -> 11^3", 7, 4, 11),
            *(_case(f"classes {n}", n, 4, 8, "classes") for n in (2, 5)),
        ]
    return [
        _case(WHOLE_BODY, 105, 32, 128),
        _case(ABDOMEN, 14, 24, 96),
        *(_case(f"classes {n}", n, 32, 128, "classes") for n in (2, 8, 32, 128)),
    ]


def _case(name: str, classes: int, side: int, to_side: int, curve: str = "") -> Case:
    return Case(
        name,
        lambda device, seed: _inputs(classes, side, to_side, device, seed),
        _work,
        curve,
        classes if curve else 0,
    )


def _inputs(classes: int, side: int, to_side: int, device: str, seed: int) -> Inputs:
    """A network that is right, but for a tenth of the places, which have any label."""
    logits = draw_logits(classes, side, True, seed)
    labels = medkernels.segmentation.upsample_argmax(logits, size=(to_side,) * 3)
    random = torch.Generator().manual_seed(seed)
    wrong = torch.rand(labels.shape, generator=random) < WRONG
    labels[wrong] = torch.randint(0, classes, (int(wrong.sum()),), generator=random).to(labels.dtype)
    # In a tuple, as labels are no input that a gradient could be taken of.
    return {
        "logits": logits.to(device),
        "labels": (labels.to(device),),
        "upstream": torch.ones(1, device=device),
    }


def _work(inputs: Inputs, backward: bool) -> Work:
    """Of each logit the interpolation along a row, an exponential, and what is summed and carried back."""
    pairs = inputs["logits"].shape[1] * inputs["labels"][0].numel()
    moved = inputs["logits"].numel() * 4 * (2 if backward else 1) + inputs["labels"][0].numel()
    return Work(pairs, pairs * (FLOPS + (FLOPS_BACKWARD if backward else 0)), moved)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    def loss(part: Inputs) -> Tensor:
        found: Tensor = medkernels.segmentation.upsample_dice_ce(part["logits"], part["labels"][0])
        return found.reshape(1)

    return run_in_parts(loss, inputs, backward)


def _upsampled(part: Inputs) -> tuple[Tensor, Tensor]:
    labels = part["labels"][0]
    return interpolate(
        part["logits"], size=labels.shape[1:], mode="trilinear", align_corners=False
    ), labels.long()


def _torch(inputs: Inputs, backward: bool) -> Outputs:
    def loss(part: Inputs) -> Tensor:
        logits, labels = _upsampled(part)
        p = logits.softmax(1)
        own = labels.flatten(1)
        sums = p.new_zeros(p.shape[:2])
        products = sums.scatter_add(1, own, p.gather(1, labels[:, None]).flatten(1))
        counts = sums.scatter_add(1, own, torch.ones_like(own, dtype=p.dtype))
        dice = (2 * products + SMOOTHING) / (p.square().sum((2, 3, 4)) + counts + SMOOTHING)
        return (cross_entropy(logits, labels) + 1 - dice.mean()).reshape(1)

    return run_in_parts(loss, inputs, backward)


@cache
def _monai_loss() -> Any:
    from monai.losses import DiceCELoss

    return DiceCELoss(
        to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING
    )


def _monai(inputs: Inputs, backward: bool) -> Outputs:
    def loss(part: Inputs) -> Tensor:
        logits, labels = _upsampled(part)
        found: Tensor = _monai_loss()(logits, labels[:, None])
        return found.reshape(1)

    return run_in_parts(loss, inputs, backward)


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("torch", _torch, 1e-4, 1e-4, 1e-3),
    Provider("MONAI", _monai, 1e-4, 1e-4, 1e-3, library="monai"),
)
TARGETS = (
    Target(WHOLE_BODY, FORWARD, BEST, 20, 1 / 50),
    Target(WHOLE_BODY, BOTH, BEST, 20, 1 / 50),
    Target(ABDOMEN, BOTH, BEST, 10),
)
