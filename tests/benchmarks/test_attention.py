"""Benchmarks of attention: all providers run on the small cases and agree."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import load_op, prob_sparse  # noqa: E402
from medkernels.benchmarks.runner import cases  # noqa: E402

from tests.reference import prob_sparse as reference  # noqa: E402

OPS = ("channel", "knn_memory", "prob_sparse", "set_attention")


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("backward", [False, True])
def test_providers_agree(op: str, backward: bool) -> None:
    module = load_op(op)
    if backward and cases.BOTH not in cases.directions(module):
        return
    for case in (c for c in module.cases("small") if not c.curve):
        inputs = case.inputs("cpu", 0)
        assert case.work(inputs, backward).units > 0
        ours = module.PROVIDERS[0].run(inputs, backward)
        for peer in module.PROVIDERS[1:]:
            if peer.library:
                pytest.importorskip(peer.library)
            found = peer.compare(ours, peer.run(inputs, backward))
            assert all(value <= peer.allows(name) for name, value in found.items()), (case.name, peer.name)


@pytest.mark.parametrize("op", OPS)
def test_targets_name_cases_and_providers(op: str) -> None:
    module = load_op(op)
    names = {case.name for case in module.cases("full")}
    assert {target.case for target in module.TARGETS} <= names
    assert len(names) == len(module.cases("full"))


def test_peers_compare_with_the_keys_of_the_definition() -> None:
    for length, samples, seed in [(70, 25, 0), (33, 3, 2**40 + 1)]:
        assert torch.equal(
            prob_sparse.sampled_keys(length, samples, seed), reference.sampled_keys(length, samples, seed)
        )
