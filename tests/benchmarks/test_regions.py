"""Benchmarks of regions: all providers run on the small cases and agree."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import label, load_op  # noqa: E402

OPS = ("label", "max_tree", "mser", "specular_mask")


@pytest.mark.parametrize("op", OPS)
def test_providers_agree(op: str) -> None:
    module = load_op(op)
    for case in (c for c in module.cases("small") if not c.curve):
        inputs = case.inputs("cpu", 0)
        assert case.work(inputs, False).units > 0
        ours = module.PROVIDERS[0].run(inputs, False)
        for peer in module.PROVIDERS[1:]:
            pytest.importorskip(peer.library)
            if peer.name in case.excluded:
                continue
            found = peer.compare(ours, peer.run(inputs, False))
            assert all(value <= peer.allows(name) for name, value in found.items()), (case.name, peer.name)


@pytest.mark.parametrize("op", OPS)
def test_targets_name_cases_and_providers(op: str) -> None:
    module = load_op(op)
    names = {case.name for case in module.cases("full")}
    assert {target.case for target in module.TARGETS} <= names
    assert len(names) == len(module.cases("full"))


def test_labels_that_differ_are_seen() -> None:
    one, two = np.array([0, 1, 1, 2]), np.array([0, 5, 6, 2])
    assert label.compare_labels({"result": one}, {"result": one * 3})["largest"] == 0
    assert label.compare_labels({"result": one}, {"result": two})["largest"] > 0
