"""Benchmarks of segmentation: all providers run on the small cases and agree."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import load_op, upsample_argmax  # noqa: E402
from medkernels.benchmarks.runner import cases  # noqa: E402

OPS = ("upsample_argmax", "upsample_dice_ce")


@pytest.mark.parametrize("op", OPS)
def test_providers_agree(op: str) -> None:
    module = load_op(op)
    for direction in cases.directions(module):
        backward = direction == cases.BOTH
        for case in module.cases("small"):
            inputs = case.inputs("cpu", 0)
            assert case.work(inputs, backward).units > 0
            ours = module.PROVIDERS[0].run(inputs, backward)
            for peer in module.PROVIDERS[1:]:
                if peer.library:
                    pytest.importorskip(peer.library)
                found = peer.compare(ours, peer.run(inputs, backward))
                assert all(value <= peer.allows(name) for name, value in found.items()), (
                    case.name,
                    peer.name,
                )


@pytest.mark.parametrize("op", OPS)
def test_targets_name_cases_and_providers(op: str) -> None:
    module = load_op(op)
    names = {case.name for case in module.cases("full")}
    assert {target.case for target in module.TARGETS} <= names
    assert len(names) == len(module.cases("full"))


def test_labels_that_differ_are_seen() -> None:
    labels = torch.zeros(1, 10, 10)
    other = labels.clone()
    other[0, 3, 4] = 1
    assert upsample_argmax.compare_labels({"result": labels}, {"result": other})["largest"] == 0.01
