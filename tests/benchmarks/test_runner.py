"""The benchmark runner: counts, comparison, turns, memory, files."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from medkernels.benchmarks import affine_covariant, ellipses, ellipsoids, load_op, vietoris_rips  # noqa: E402
from medkernels.benchmarks.runner import cases, memory, page, quadrics, run, tables, timing  # noqa: E402

from medkernels import cli, render  # noqa: E402
from tests.reference.ellipses import ellipse_rho  # noqa: E402
from tests.reference.ellipsoids import ellipsoid_rho  # noqa: E402


def test_touched_pixels_are_counted_exactly() -> None:
    random = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    # Some lie off the canvas, some are smaller than a pixel, one covers it all.
    centers, axes = draw(2, 40, 2) * 60 - 15, draw(2, 40, 2) * 9 + 0.05
    axes[0, 0] = 300.0
    angles, size = draw(2, 40) * 6 - 3, (23, 31)
    dense = int((ellipse_rho(centers, axes, angles, size) <= quadrics.REACH).sum())
    assert quadrics.touched(ellipses.frames(axes, angles), centers, size) == dense > 23 * 31

    centers, axes, turns = draw(2, 20, 3) * 24 - 4, draw(2, 20, 3) * 5 + 0.05, draw(2, 20, 4) - 0.5
    solid = (9, 13, 17)
    dense = int((ellipsoid_rho(centers, axes, turns, solid) <= quadrics.REACH).sum())
    assert quadrics.touched(ellipsoids.frames(axes, turns), centers, solid) == dense > 0


@pytest.mark.parametrize("op", sorted(render.__all__))
def test_peers_agree_with_ours_when_they_work_in_parts(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quadrics.HELD_BYTES, "cpu", 1 << 20)  # forces several chunks, and single images
    module = load_op(op)
    case = module.cases("small")[0]
    inputs = case.inputs("cpu", 0)
    for backward in (False, True):
        ours = module.PROVIDERS[0].run(inputs, backward)
        for peer in module.PROVIDERS[1:]:
            differences = run.check(case, peer, ours, peer.run(inputs, backward))
            assert differences["relative result"] > 0


def test_check_finds_what_differs() -> None:
    case = ellipses.cases("small")[0]
    peer = dataclasses.replace(ellipses.PROVIDERS[2], largest=0.1, relative=0.01, relative_gradient=0.5)
    ours = {"result": torch.ones(4, 4), "grad colors": torch.ones(3)}
    found = run.check(case, peer, ours, {**ours, "grad colors": torch.full((3,), 1.25)})
    assert found == {"largest": 0.0, "relative result": 0.0, "relative grad colors": pytest.approx(0.25)}
    for name, wrong in {
        "largest": {"result": ours["result"] + 0.2 * torch.eye(4)},
        "relative result": {"result": ours["result"] + 0.05},
        "relative grad colors": {"grad colors": torch.zeros(3)},
        "by nan": {"result": torch.full((4, 4), math.nan)},
    }.items():
        with pytest.raises(run.MismatchError, match=name):
            run.check(case, peer, ours, {**ours, **wrong})
    with pytest.raises(run.MismatchError, match="returns"):
        run.check(case, peer, ours, {"result": ours["result"]})


def test_a_wrong_peer_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ellipses.PROVIDERS[2]

    def wrong(inputs: Any, backward: bool) -> Any:
        return {name: value * 1.01 for name, value in peer.run(inputs, backward).items()}

    monkeypatch.setattr(ellipses, "PROVIDERS", (ellipses.PROVIDERS[0], dataclasses.replace(peer, run=wrong)))
    with pytest.raises(run.MismatchError, match="torch dense"):
        run.run_benchmarks(["ellipses"], peers=True, sizes="small", say=lambda line: None)


def test_turns_budget_and_median() -> None:
    order: list[tuple[str, int]] = []
    costs = {"quick": 0.09375, "slow": 3.0}

    def clock(task: Any) -> tuple[float, Any]:
        name = task()
        return costs[name] * (10 if len(order) <= 2 else 1), name

    def task(name: str) -> Any:
        return lambda number: order.append((name, number)) or name

    times, results = timing.time_in_turns({"quick": task("quick"), "slow": task("slow")}, clock, budget=1.0)
    assert results == {"quick": "quick", "slow": "slow"}
    assert times["slow"] == timing.Times(30.0, 30.0, 30.0, 1, False)
    assert times["quick"].runs == 11
    assert times["quick"].warm
    assert times["quick"].median == pytest.approx(0.09375)
    assert order[:3] == [("quick", 0), ("slow", 0), ("quick", 1)]


def test_work_is_floor_of_both_directions() -> None:
    case = ellipses.cases("small")[0]
    inputs = case.inputs("cpu", 0)
    forward, both = case.work(inputs, False), case.work(inputs, True)
    image = 2 * 3 * 64 * 64 * 4
    assert 2 * image < forward.bytes < 2.1 * image  # the background read, the image written
    assert 5 * image < both.bytes < 5.3 * image  # and its gradient read, the background's written
    assert both.units == forward.units
    assert 2 < both.flops / forward.flops < 4


def test_peak_memory_sees_what_a_run_holds() -> None:
    case, (ours, _, dense) = ellipses.cases("small")[1], ellipses.PROVIDERS
    requests = [(case, ours, cases.BOTH), (case, dense, cases.BOTH), (case, dense, cases.FORWARD)]
    small, large, forward = memory.peak_memory("ellipses", "small", requests, threads=1, device="cpu")
    assert large is not None
    assert forward is not None
    units = 2 * 84 * 64 * 64 * 4  # one float32 for every pixel of every ellipse
    assert 4 * units < large < 40 * units
    assert units < forward < large
    assert small is None or small < units


def test_small_run_writes_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "ellipsoids", "--peers", "--sizes", "small", "--threads", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-2:] == [str(tmp_path / "results.json"), str(tmp_path / "index.html")]
    assert "ellipsoids: scattered" in err
    result = json.loads((tmp_path / "results.json").read_text())
    assert list(result["ops"]) == ["ellipsoids"]
    assert result["settings"] == {"sizes": "small", "peers": True, "threads": 1, "device": "cpu"}
    for op in result["ops"].values():
        assert op["ceilings"]["copy_bytes_per_s"] > 0
        for row in op["rows"]:
            assert row["seconds_lower"] <= row["seconds_median"] <= row["seconds_upper"]
            assert row["share_of_ceiling"] == pytest.approx(row["floor_seconds"] / row["seconds_median"])
            assert (row["differences"] is None) == (row["provider"] == cases.OURS)
    text = (tmp_path / "index.html").read_text()
    assert text.count("<svg") == sum(len(list(page._figures(op))) for op in result["ops"].values())
    assert page.INK not in text
    assert all(word in text for word in ("B/s, multiply-add", "flop/s", "torch dense", "Peak memory"))
    assert "http" not in text.replace("http://www.w3.org", "")
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "index.html"}


def test_targets_are_judged_by_time_and_memory() -> None:
    def row(provider: str, time: float, bytes_: int | None) -> dict[str, Any]:
        kind = {"case": ellipses.GRID, "direction": cases.BOTH, "provider": provider}
        return {**kind, "seconds_median": time, "memory_bytes": bytes_}

    ours = row("medkernels", 0.1, 100)
    peers = [row("torch grid_sample", 25.0, 2500), row("torch dense", 2.0, 5000)]
    told = run._targets(ellipses, [ours, *peers])
    assert [(t["provider"], t["met"]) for t in told] == [("torch grid_sample", True), ("torch dense", False)]
    assert tables.target_rows({"targets": told})[0]["memory, measured"] == "1/25"
    assert not run._targets(ellipses, [ours, row("torch grid_sample", 25.0, 1000)])[0]["met"]
    assert not run._targets(ellipses, [ours, row("torch grid_sample", 25.0, None)])[0]["met"]
    assert run._targets(ellipses, [ours]) == []


def test_best_peer_is_the_fastest_that_ran() -> None:
    case = "34 series, 184 points, H0-H1"
    kind = {"case": case, "direction": cases.FORWARD, "memory_bytes": None}
    times = {"medkernels": 1.0, "giotto-ph": 7.0, "GUDHI": 6.0, "Ripser.py": 8.0}
    rows = [{**kind, "provider": name, "seconds_median": time} for name, time in times.items()]
    (told,) = run._targets(vietoris_rips, rows)
    assert (told["against"], told["measured_faster"], told["met"]) == ("GUDHI", 6.0, True)
    assert tables.target_rows({"targets": [told]})[0]["against"] == "best peer: GUDHI"
    assert run._targets(vietoris_rips, rows[:1]) == []


def test_targets_may_count_what_was_found() -> None:
    case = affine_covariant.TISSUE
    found = {"medkernels": (1.0, 50, 40, 0), "OpenCV AffineFeature": (20.0, 500, 50, 5)}
    rows = [
        {
            "case": case,
            "direction": cases.FORWARD,
            "provider": name,
            "seconds_median": seconds,
            "memory_bytes": None,
            "amounts": dict(zip(affine_covariant.AMOUNTS, amounts, strict=True)),
        }
        for name, (seconds, *amounts) in found.items()
    ]
    told = run._targets(affine_covariant, rows)
    assert [t["measured_faster"] for t in told] == [2.0, 16.0, 0.0]
    assert [t["met"] for t in told] == [False, True, False]
    assert tables.target_rows({"targets": told})[1]["case"] == f"{case}, forward, time / distinct features"


def test_profile_leaves_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "ellipses", "--sizes", "small", "--profile", "--out", str(tmp_path)]) == 0
    trace = json.loads((tmp_path / "ellipses.trace.json").read_text())
    assert any("medkernels" in event.get("name", "") for event in trace["traceEvents"])


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no benchmark 'nothing'"):
        run.run_benchmarks(["nothing"])
    with pytest.raises(ValueError, match="sizes"):
        run.run_benchmarks(sizes="huge")
    assert cli.main(["bench", "nothing"]) == 2
    assert "ellipses" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert cli.main(["bench", "ellipses", "--device", "cuda"]) == 1
        assert "no CUDA device" in capsys.readouterr().err
