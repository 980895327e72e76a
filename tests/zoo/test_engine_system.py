"""Saving and loading of systems, and the parts below it: whole files, seeded items, batch plans."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medkernels.zoo.engine import HubSystem, System
from medkernels.zoo.engine.files import replacing, write_text
from medkernels.zoo.engine.randomness import (
    BatchPlan,
    SeededItems,
    kept_rng,
    rng_state,
    seed_all,
    set_rng_state,
)
from tests.zoo.jobs import Noisy, assert_same, weights


class Small(HubSystem, library_name="medkernels"):
    """A system with a network and something fitted beside it."""

    def __init__(self, width: int = 3, names: list[str] | None = None) -> None:
        self.module = nn.Linear(2, width)
        self.names = names
        self.threshold: float | None = None

    def export_state(self) -> dict[str, Any]:
        return {"threshold": self.threshold}

    def import_state(self, state: dict[str, Any]) -> None:
        self.threshold = state["threshold"]

    def fit(self, data: Any, run_dir: str | Path) -> None:
        self.threshold = float(data)

    def predict(self, inputs: Any) -> Any:
        return self.module(inputs)

    def evaluate(self, data: Any) -> dict[str, float]:
        return {"threshold": self.threshold or 0.0}

    def demo(self, out_dir: str | Path) -> Path:
        return write_text(Path(out_dir) / "report.html", "") or Path(out_dir) / "report.html"


def test_save_and_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = Small(width=5, names=["a", "b"])
    assert isinstance(system, System)
    system.fit(0.25, tmp_path)
    system.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "state.json",
    }
    assert json.loads((tmp_path / "saved/config.json").read_text()) == {"names": ["a", "b"], "width": 5}

    loaded = Small.from_pretrained(tmp_path / "saved")
    assert_same(weights(loaded.module), weights(system.module))
    assert (loaded.names, loaded.threshold) == (["a", "b"], 0.25)
    assert not loaded.module.training
    assert capsys.readouterr().out == ""  # what a machine reads stays clean


def test_saving_again_replaces(tmp_path: Path) -> None:
    Small(width=5).save_pretrained(tmp_path)
    (tmp_path / "mine.txt").touch()
    Small(width=2).save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    assert Small.from_pretrained(tmp_path).module.out_features == 2


def test_a_failed_save_keeps_what_was_there(tmp_path: Path) -> None:
    class Broken(Small):
        def export_state(self) -> dict[str, Any]:
            raise RuntimeError("no state")

    Small(width=5).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="no state"):
        Broken(width=2).save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert Small.from_pretrained(tmp_path).module.out_features == 5


def test_the_card_beside_the_module_becomes_the_hub_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.md").write_text("# What it does\n")
    monkeypatch.setattr("inspect.getfile", lambda system: str(tmp_path / "system.py"))
    Small().save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved/README.md").read_text()
    assert card.startswith("---\nlibrary_name: medkernels\n")
    assert card.endswith("---\n\n# What it does\n")


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_incomplete_folder_is_named(tmp_path: Path, name: str) -> None:
    Small().save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"is not a saved Small: {name} is missing"):
        Small.from_pretrained(tmp_path)


def test_state_without_a_place_is_refused() -> None:
    class Bare(HubSystem):
        pass

    assert Bare().export_state() == {}
    with pytest.raises(ValueError, match=r"Bare has no place for the saved state \['tree'\]"):
        Bare().import_state({"tree": 1})


def test_a_system_that_learns_nothing_is_saved_without_weights(tmp_path: Path) -> None:
    class Rule(HubSystem):
        learned = False

        def __init__(self, level: int = 3) -> None:
            self.level = level

    Rule(level=7).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "state.json"}
    assert Rule.from_pretrained(tmp_path).level == 7
    (tmp_path / "state.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"is not a saved Rule: state.json is missing"):
        Rule.from_pretrained(tmp_path)


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.txt"
    write_text(path, "old")

    def fails() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert path.read_text() == "old"
    assert [other.name for other in path.parent.iterdir()] == ["file.txt"]
    write_text(path, "new")
    assert path.read_text() == "new"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_rng_state_round_trip(tmp_path: Path) -> None:
    """Also through a file, read without running code from it."""
    seed_all(1, 2)
    torch.save(rng_state(), tmp_path / "rng.pt")
    first = random.random(), np.random.standard_normal(), torch.rand(3)
    set_rng_state(torch.load(tmp_path / "rng.pt", weights_only=True))
    again = random.random(), np.random.standard_normal(), torch.rand(3)
    assert first[:2] == again[:2]
    assert torch.equal(first[2], again[2])
    with kept_rng():
        seed_all(9)
    assert not torch.equal(torch.rand(3), first[2])


def test_items_depend_on_seed_epoch_and_index_alone() -> None:
    items = SeededItems(Noisy(5), (1, 2))
    first = items[(0, 3)][0]
    torch.rand(7)
    before = torch.get_rng_state()
    assert torch.equal(items[(0, 3)][0], first)
    assert torch.equal(torch.get_rng_state(), before)
    others = [items[(1, 3)][0], SeededItems(Noisy(5), (1, 3))[(0, 3)][0]]
    assert not any(torch.equal(first, other) for other in others)


@given(
    length=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    world=st.integers(1, 4),
    seed=st.none() | st.integers(0, 9),
    drop_last=st.booleans(),
    start=st.integers(0, 3),
)
def test_batch_plan_shares_every_item_once(
    length: int, batch_size: int, world: int, seed: int | None, drop_last: bool, start: int
) -> None:
    plans = [
        BatchPlan(length, batch_size, rank=rank, world=world, seed=seed, drop_last=drop_last)
        for rank in range(world)
    ]
    whole = [list(plan) for plan in plans]
    assert {len(batches) for batches in whole} == {plans[0].batches}
    counted = []
    for number in range(plans[0].batches):
        parts = [whole[rank][number][: plans[rank].share(number)[0]] for rank in range(world)]
        assert sum(map(len, parts)) == plans[0].share(number)[1]
        assert all(whole[rank][number] for rank in range(world))  # none is left without a batch
        counted += [index for part in parts for _, index in part]
    expected = length // batch_size * batch_size if drop_last else length
    assert len(counted) == len(set(counted)) == expected
    for plan, batches in zip(plans, whole, strict=True):
        start = min(start, plan.batches)
        plan.go_to(0, start)
        assert list(plan) == batches[start:]
        assert len(plan) == plan.batches - start
        plan.go_to(1, 0)
        assert [[index for _, index in batch] for batch in plan] == [
            [index for _, index in batch] for batch in batches
        ] or seed is not None
