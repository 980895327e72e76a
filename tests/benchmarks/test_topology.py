"""Benchmarks of topology: comparison of diagrams, clouds, peers, and what the runner does for them."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("gudhi")

from medkernels.benchmarks import list_ops, load_op, persistence_chain, vietoris_rips  # noqa: E402
from medkernels.benchmarks.runner import cases, compare, memory, page, run, tables, topology  # noqa: E402

import medkernels  # noqa: E402
from medkernels import cli, render  # noqa: E402

#: Peers that are too large for everybody's environment.
OPTIONAL = ("open3d",)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Peers then work in this process."""
    before = medkernels.get_num_threads()
    medkernels.set_num_threads(1)
    yield
    medkernels.set_num_threads(before)


@st.composite
def diagrams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A diagram on a coarse grid, so with ties, and another: the same one moved a little, or unrelated."""
    number = st.integers(0, 4)
    bars = st.lists(st.tuples(number, st.integers(0, 3) | st.just(math.inf)), max_size=8)
    a = np.array([(birth, birth + length) for birth, length in draw(bars)], dtype=float).reshape(-1, 2)
    if draw(st.booleans()):
        return a, np.array([(x, x + n) for x, n in draw(bars)], dtype=float).reshape(-1, 2)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    moved = a + draw(st.sampled_from([0.0, 1e-7, 1e-3])) * random.uniform(-1, 1, a.shape)
    short = random.uniform(0, 4, (draw(st.integers(0, 2)), 1)) + np.array([[0.0, 1e-9]])
    return a, random.permutation(np.concatenate([moved, short]))


@settings(max_examples=200, deadline=None)
@given(diagrams())
def test_bottleneck_bound_holds_and_is_near(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (np.where(bars[:, :1] < bars[:, 1:], bars, bars[:, :1]) for bars in pair)
    # GUDHI's is wrong where bars are nearly of no length: 1.8 for diagrams that differ in bars of 1e-9 only.
    distance = float(medkernels.topology.wasserstein(a, b, order=math.inf, ground=math.inf))
    bound = compare.bottleneck_bound(a, b)
    assert bound >= distance * (1 - 1e-12)
    if distance <= 1:
        assert bound <= max(1e-9, 10 * distance * (1 + 1e-12))


def test_bottleneck_bound_of_what_cannot_match() -> None:
    endless, ended = np.array([[0.0, math.inf]]), np.array([[0.0, 1.0]])
    assert compare.bottleneck_bound(endless, ended) == math.inf
    assert math.isnan(compare.bottleneck_bound(np.array([[0.0, math.nan]]), ended))
    assert compare.bottleneck_bound(np.empty((0, 2)), np.empty((0, 2))) == 0.0
    # Births in another order by rounding: sorted bars are far apart, the diagrams are not.
    a, b = np.array([[0.0, 9.0], [1e-8, 1.0]]), np.array([[1e-8, 9.0], [0.0, 1.0]])
    assert compare.bottleneck_bound(a, b) == pytest.approx(1e-8)


def test_nested_diagrams_are_compared_item_by_item() -> None:
    bar, longer = np.array([[0.0, 1.0]]), np.array([[0.0, 1.25]])
    ours = {"result": [[bar, bar], [bar]]}
    assert compare.compare_diagrams(ours, ours) == {"largest": 0.0}
    assert compare.compare_diagrams(ours, {"result": [[bar, longer], [bar]]}) == {"largest": 0.25}
    case, peer = vietoris_rips.cases("small")[0], vietoris_rips.PROVIDERS[1]
    with pytest.raises(run.MismatchError, match="giotto-ph and medkernels differ, largest"):
        run.check(case, peer, ours, {"result": [[bar, longer], [bar]]})
    with pytest.raises(run.MismatchError, match="lists of 2 and 1"):
        run.check(case, peer, ours, {"result": [[bar], [bar]]})


def test_arrays_of_numpy_are_compared() -> None:
    ours = {"result": np.array([[0.0, math.inf], [3.0, 4.0]])}
    assert compare.compare_arrays(ours, ours) == {"largest": 0.0, "relative result": 0.0}
    finite = {"result": np.array([3.0, 4.0])}
    found = compare.compare_arrays(finite, {"result": torch.tensor([3.0, 4.5])})
    assert found == {"largest": 0.5, "relative result": pytest.approx(0.1)}
    case, peer = persistence_chain.cases("small")[0], persistence_chain.PROVIDERS[1]
    with pytest.raises(run.MismatchError, match="shapes"):
        run.check(case, peer, finite, {"result": np.zeros(3)})


def test_series_are_smooth_and_clouds_their_windows() -> None:
    series = topology.fmri_series(3, 40, seed=5)
    np.testing.assert_allclose(series.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(series.std(axis=1), 1)
    frequencies, spectrum = np.fft.rfftfreq(40, topology.REPETITION), np.abs(np.fft.rfft(series))
    assert spectrum[:, (frequencies < 0.01) | (frequencies > 0.1)].max() < 1e-12
    clouds = topology.fmri_clouds(3, 38, seed=5)
    assert (clouds.shape, clouds.dtype) == ((3, 38, 3), np.float32)
    np.testing.assert_array_equal(clouds[1, 7], series[1, 7:10].astype(np.float32))


def test_torus() -> None:
    cloud = topology.torus_clouds(1, 50, seed=0)[0]
    ring = np.hypot(cloud[:, 0], cloud[:, 1]) - topology.TORUS_RADII[0]
    np.testing.assert_allclose(np.hypot(ring, cloud[:, 2]), topology.TORUS_RADII[1], rtol=1e-6)


def test_items_are_spread_over_processes_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "get_num_threads", lambda: 2)
    for spread in (topology.in_processes, topology.in_threads):
        assert spread(math.sqrt, [float(n * n) for n in range(20)]) == [float(n) for n in range(20)]
    workers = set(topology.in_processes(_process, range(16)))
    assert os.getpid() not in workers
    assert topology.in_processes(_process, [0]) == [os.getpid()]
    monkeypatch.setenv(memory.ONE_PROCESS, "1")
    assert set(topology.in_processes(_process, range(16))) == {os.getpid()}


def _process(item: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("op", [op for op in list_ops() if op not in render.__all__])
@pytest.mark.usefixtures("one_thread")
def test_peers_agree_with_ours(op: str) -> None:
    module = load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs("cpu", 0)
        for direction in cases.directions(module):
            backward = direction == cases.BOTH
            ours = module.PROVIDERS[0].run(inputs, backward)
            for peer in module.PROVIDERS[1:]:
                if peer.library in OPTIONAL and importlib.util.find_spec(peer.library) is None:
                    continue
                if peer.name not in case.excluded and not case.curve:
                    run.check(case, peer, ours, peer.run(inputs, backward))


@pytest.mark.parametrize("op", [op for op in list_ops() if op not in render.__all__])
def test_names_of_cases_and_peers_hang_together(op: str) -> None:
    module = load_op(op)
    for sizes in run.SIZES:
        listed = module.cases(sizes)
        assert len({case.name for case in listed}) == len(listed)
        for case in listed:
            assert set(case.excluded) <= {provider.name for provider in module.PROVIDERS[1:]}
    known = {provider.name for provider in module.PROVIDERS[1:]} | {cases.BEST}
    for target in module.TARGETS:
        assert target.case in {case.name for case in module.cases("full")}
        assert target.provider in known
        assert target.direction in cases.directions(module)


def test_peers_that_do_not_run_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = vietoris_rips.PROVIDERS[0]
    other = dataclasses.replace(ours, name="other", compare=compare.compare_diagrams)
    absent = dataclasses.replace(other, name="absent", library="no_such_package")
    monkeypatch.setattr(vietoris_rips, "PROVIDERS", (ours, other, absent))
    first, second = vietoris_rips.cases("small")[:2]
    listed = [first, dataclasses.replace(second, excluded={"other": "too large"})]
    monkeypatch.setattr(vietoris_rips, "cases", lambda sizes: listed)
    monkeypatch.setattr(vietoris_rips, "TARGETS", (cases.Target(first.name, cases.FORWARD, cases.BEST, 0.0),))
    monkeypatch.setattr(run, "peak_memory", lambda op, sizes, requests, *rest: [100] * len(requests))
    result = run.run_benchmarks(["vietoris_rips"], peers=True, sizes="small", say=lambda line: None)
    op = result["ops"]["vietoris_rips"]
    ran = [(row["case"], row["provider"]) for row in op["rows"]]
    assert ran == [(first.name, "medkernels"), (first.name, "other"), (second.name, "medkernels")]
    assert tables.left_out_lines(op) == [
        f"absent left out of {first.name}; {second.name}: the package no_such_package is not installed",
        f"other left out of {second.name}: too large",
    ]
    assert op["targets"][0]["against"] == "other"
    assert all(row["share_of_ceiling"] is None for row in op["rows"])
    assert {row["share of ceiling"] for row in tables.table_rows(op)} == {"-"}
    text = page.write_page(result, tmp_path / "page.html").read_text()
    assert "too large" in text


def test_threads_of_a_case_hold_for_that_case_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(inputs: Any, backward: bool) -> Any:
        seen.append(medkernels.get_num_threads())
        return {"result": []}

    monkeypatch.setattr(vietoris_rips, "PROVIDERS", (cases.Provider("medkernels", spy),))
    case = vietoris_rips.cases("small")[0]
    listed = [case, dataclasses.replace(case, name="two", threads=2), dataclasses.replace(case, name="last")]
    monkeypatch.setattr(vietoris_rips, "cases", lambda sizes: listed)
    monkeypatch.setattr(run, "peak_memory", lambda op, sizes, requests, *rest: [None] * len(requests))
    before = medkernels.get_num_threads()
    try:
        run.run_benchmarks(["vietoris_rips"], sizes="small", threads=1, say=lambda line: None)
    finally:
        medkernels.set_num_threads(before)
    assert [seen[0], seen[-1]] == [1, 1]
    assert set(seen) == {1, 2}


def test_growth_without_peers_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "vietoris_rips", "--sizes", "small", "--threads", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    capsys.readouterr()
    text = (tmp_path / "index.html").read_text()
    assert "Growth with threads" in text
    assert "time goes as points, H1 to the power" in text


def test_an_op_for_one_device_is_refused_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="persistence_chain runs on cpu, got cuda"):
        run.run_benchmarks(["persistence_chain"], device="cuda")
