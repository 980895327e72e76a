"""The benchmark of a zoo network: all providers give the same logits, on graphs that are right."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("faiss")
pytest.importorskip("fpsample")

from medkernels.benchmarks import mrd_flow_inference  # noqa: E402
from medkernels.benchmarks.runner import run  # noqa: E402


def test_providers_agree() -> None:
    case = mrd_flow_inference.cases("small")[0]
    inputs = case.inputs("cpu", 3)
    ours = mrd_flow_inference.PROVIDERS[0].run(inputs, False)
    assert ours["result"].shape == (case.work(inputs, False).units,)
    for peer in mrd_flow_inference.PROVIDERS[1:]:
        found = run.check(case, peer, ours, peer.run(inputs, False))
        assert found["relative result"] < 1e-4, peer.name  # on samples this small every graph is exact


def test_another_network_is_noticed() -> None:
    case, peer = mrd_flow_inference.cases("small")[0], mrd_flow_inference.PROVIDERS[1]
    ours = mrd_flow_inference.PROVIDERS[0].run(case.inputs("cpu", 3), False)
    with pytest.raises(run.MismatchError, match="differ, relative result"):
        run.check(case, peer, ours, {"result": ours["result"] * 1.01})


@pytest.mark.parametrize("name", ["_flat", "_lists", "_tree"])
def test_graphs_of_peers(name: str) -> None:
    """Rows of the nearest events, each event its own nearest."""
    features = mrd_flow_inference.cases("small")[0].inputs("cpu", 0)["features"]
    found = getattr(mrd_flow_inference, name)(features)
    squared = np.square(features[:, None].astype(np.float64) - features).sum(axis=2)
    wanted = np.argsort(squared, axis=1)[:, : mrd_flow_inference.STRUCTURE.k + 1]
    assert found.shape == wanted.shape
    assert (np.sort(found, axis=1) == np.sort(wanted, axis=1)).all(axis=1).mean() > 0.98


def test_targets_name_cases_and_providers() -> None:
    names = {case.name: case for case in mrd_flow_inference.cases("full")}
    peers = {provider.name for provider in mrd_flow_inference.PROVIDERS[1:]}
    for target in mrd_flow_inference.TARGETS:
        assert target.provider in peers - set(names[target.case].excluded)
