"""drivpocket as a system: trained on structures, saved, resumed, applied and judged."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from medkernels import cli, zoo
from medkernels.zoo.drivpocket import acceptance
from medkernels.zoo.drivpocket.apply import infer, judge, ranked, segment
from medkernels.zoo.drivpocket.candidates import Candidates, propose
from medkernels.zoo.drivpocket.entries import centres_of, split
from medkernels.zoo.drivpocket.model import build
from medkernels.zoo.drivpocket.standin import stand_in
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.drivpocket.system import DRIVPocketSystem
from medkernels.zoo.drivpocket.training import Cube
from medkernels.zoo.engine import System

SMALL = {"width": 4, "point_width": 4, "side": 16.0, "resolution": 1.0, "points": 64, "prior": 0.05}
QUICK = {"max_epochs": 2, "batch_size": 4, "lr": 1e-2, "progress": False, "tensorboard": False}
CUBE = Cube(16.0, 1.0, 64)


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with acceptance.one_thread():
        yield


@pytest.fixture(scope="module")
def proteins():
    return stand_in(6, 3, turned=True)


@pytest.fixture(scope="module")
def trained(proteins, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    system = zoo.create("drivpocket", **SMALL)
    return system, system.fit(proteins, run, optimizer="adamw", **QUICK), run


@pytest.fixture(scope="module")
def undecided():
    """Untrained: about half of all voxels are taken for a pocket."""
    return zoo.create("drivpocket", **(SMALL | {"prior": None}))


def test_fit_writes_everything(trained):
    system, done, run = trained
    assert isinstance(system, System)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == done.metrics
    assert metrics["structures"] == {"train": 4, "valid": 1, "test": 1}
    assert metrics["sites"]["train"] == 8
    assert metrics["judged_on"] == "test"
    assert 0 <= metrics["held_out"]["dca_top_n"] <= 1
    page = done.report.read_text()
    for word in ("Pockets of proteins", "DCA, top n + 2", "LIG A 1", "lowest validation loss"):
        assert word in page, word


def test_a_saved_system_gives_the_same_answers(undecided, proteins, tmp_path):
    undecided.save_pretrained(tmp_path / "model")
    same = DRIVPocketSystem.from_pretrained(tmp_path / "model")
    assert same.cube == undecided.cube
    answers = undecided.answer(proteins[0])
    assert answers
    for one, other in zip(answers, same.answer(proteins[0]), strict=True):
        assert one.score == other.score
        assert np.array_equal(one.points, other.points)


def test_a_stopped_run_goes_on_exactly(proteins, tmp_path):
    weights = []
    for stops in ((1, 2), (2,)):
        for epochs in stops:
            system = DRIVPocketSystem(**SMALL)
            system.fit(proteins[:4], tmp_path / str(len(stops)), **(QUICK | {"max_epochs": epochs}))
        weights.append(system.module.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_published_training_is_the_default(proteins, tmp_path, monkeypatch):
    seen = {}

    def stop(*given, **options):
        seen.update(options=given[4], optimizer=options["optimizer"])
        raise RuntimeError

    monkeypatch.setattr("medkernels.zoo.drivpocket.system.train_network", stop)
    with pytest.raises(RuntimeError):
        DRIVPocketSystem(**SMALL).fit(proteins, tmp_path, progress=False)
    found = seen["options"]
    assert seen["optimizer"] == "sgd"
    assert (found.max_epochs, found.batch_size, found.lr, found.weight_decay) == (150, 8, 0.004, 0.001)
    assert (found.schedule, found.step_epochs, found.step_factor, found.clip_norm) == ("step", 5, 0.9, 10)


def test_pockets_are_told_whole(undecided, proteins):
    system = undecided
    found = system.predict(proteins[:2])
    assert found["structures"] == [protein.name for protein in proteins[:2]]
    pockets = found["of_structures"][proteins[0].name]
    assert found["pockets"][0] == len(pockets) > 0
    assert [pocket.rank for pocket in pockets] == list(range(1, len(pockets) + 1))
    scores = [pocket.score for pocket in pockets]
    assert scores == sorted(scores, reverse=True)
    for pocket in pockets:
        assert pocket.volume == pytest.approx(len(pocket.points) * system.cube.resolution**3)
        assert pocket.score == pytest.approx(pocket.probability * pocket.volume, rel=1e-4)
        assert np.allclose(pocket.centre, pocket.points.mean(axis=0), atol=1e-4)
        gaps = np.linalg.norm(proteins[0].coords[:, None] - pocket.points, axis=2).min(axis=1)
        assert np.array_equal(pocket.atoms, np.flatnonzero(gaps <= 4.0))


def test_evaluate_judges_by_the_ligands(trained, proteins):
    system, done, _ = trained
    assert DRIVPocketSystem.from_pretrained(done.model).cube == system.cube
    found = system.evaluate([*proteins, replace(proteins[0], name="bare", ligands=(), cavity=None)])
    assert (found["structures"], found["skipped"]) == (6, 1)
    assert 0 <= found["dca_top_n"] <= found["dca_top_n_plus_2"] <= found["dca_any"] <= 1


def test_pockets_near_a_better_one_are_left_out(undecided, proteins):
    pocket = undecided.answer(proteins[0])[0]
    step = np.array([1, 0, 0], np.float32)
    given = [
        replace(pocket, score=score, centre=pocket.centre + shift * step, rank=9)
        for score, shift in ((1.0, 0.0), (3.0, 3.0), (2.0, 6.9), (0.5, 8.0))
    ]
    kept = ranked(given)
    assert [(one.score, one.rank) for one in kept] == [(3.0, 1), (0.5, 2)]


def test_the_true_place_is_a_hit(proteins):
    """A network that is sure of a ball around the cavity's middle finds the ligand."""
    protein = proteins[0]
    middle = protein.cavity.mean(axis=0)
    network = build(4, point_width=4)
    site = CUBE.site(protein, middle)

    class Sure(torch.nn.Module):
        voxels, points = network.voxels, network.points

        def forward(self, voxels, points, types):
            edge = torch.arange(voxels.shape[-1]) - (voxels.shape[-1] - 1) / 2
            squared = edge[:, None, None] ** 2 + edge[:, None] ** 2 + edge**2
            return torch.where(squared < 16, 8.0, -8.0)[None], torch.full(points.shape[:2], -8.0)

    sure = Sure()
    sure.register_parameter("any", torch.nn.Parameter(torch.zeros(1)))
    answer = infer(sure, site)
    assert len(answer.binding) == 0
    one = Candidates(middle[None], np.ones(1, np.float32), [middle[None]], [np.ones(1, np.float32)])
    pockets = segment(sure, protein, one, cube=CUBE)
    assert len(pockets) == 1
    found = judge(protein, pockets)[0]
    assert (found.dca_rank, found.dcc_rank) == (1, 1)
    assert found.dcc < 0.5
    assert found.overlap > 0.5


def test_a_stream_of_points_alone_finds_no_pockets(proteins):
    with pytest.raises(ValueError, match="a point stream alone"):
        segment(build(4, streams="points"), proteins[0], cube=CUBE)


def test_voxels_alone_are_enough(proteins):
    network = build(4, streams="voxel")
    answer = infer(network, CUBE.site(proteins[0], [0, 0, 0]))
    assert answer.atoms is None
    assert len(answer.binding) == 0


def test_sites_to_train_on(proteins):
    protein = proteins[0]
    ligand = protein.ligands[0].coords
    for decoys in (0, 1, 2):
        centres = centres_of(protein, decoys)
        gaps = [np.linalg.norm(ligand - centre, axis=1).min() for centre in centres]
        assert gaps[0] < 4 or np.allclose(centres[0], ligand.mean(axis=0))
        assert len(centres) <= 1 + decoys
        assert all(gap >= 4 for gap in gaps[1:])
    every = propose(protein).centres
    assert len(centres_of(protein, 100)) == 1 + sum(
        np.linalg.norm(ligand - centre, axis=1).min() >= 4 for centre in every
    )
    by_cavity = centres_of(replace(protein, ligands=()), 0)
    assert np.linalg.norm(by_cavity[0] - protein.cavity.mean(axis=0)) < 6


def test_structures_without_hollows_are_trained_on_at_their_ligand(proteins):
    few = Structure(
        "few",
        np.eye(3, dtype=np.float32),
        np.zeros(3, np.int64),
        np.ones(3, np.float32),
        ligands=proteins[0].ligands,
    )
    assert np.allclose(centres_of(few, 2), proteins[0].ligands[0].coords.mean(axis=0))


def test_parts_are_those_that_the_data_name(proteins):
    named = [(protein, part) for protein, part in zip(proteins, ["train", "test"] * 3, strict=True)]
    parts = split(named, 0)
    assert {name: len(group) for name, group in parts.items()} == {"train": 2, "valid": 1, "test": 3}
    free = split([(protein, None) for protein in proteins], 0)
    assert sorted(one.name for group in free.values() for one in group) == [one.name for one in proteins]
    assert split([(proteins[0], None)], 0)["train"] == [proteins[0]]


def test_the_command_line_knows_the_system(capsys):
    assert cli.main(["zoo", "card", "drivpocket", "--json"]) == 0
    assert "drivpocket" in json.loads(capsys.readouterr().out)["card"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"side": 0.0}, "side must be positive"),
        ({"resolution": float("nan")}, "resolution must be positive"),
        ({"resolution": 0.7}, "the grid must have"),
        ({"points": 0}, "points must be"),
        ({"width": 0}, "width must be"),
        ({"heads": 3}, "heads must divide"),
        ({"branches": "two"}, "branches must be one of"),
        ({"prior": 0.0}, "prior must lie in"),
    ],
)
def test_bad_options_are_named(config, error):
    with pytest.raises(ValueError, match=error):
        zoo.create("drivpocket", **(SMALL | config))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"optimizer": "adam"}, "optimizer must be one of"),
        ({"shift": -1.0}, "shift must be"),
        ({"decoys": 1.5}, "decoys must be"),
    ],
)
def test_bad_options_of_fit_are_named(options, error, proteins, tmp_path):
    with pytest.raises(ValueError, match=error):
        DRIVPocketSystem(**SMALL).fit(proteins, tmp_path, **options)


def test_data_that_cannot_be_used(proteins, tmp_path):
    system = DRIVPocketSystem(**SMALL)
    bare = replace(proteins[0], ligands=(), cavity=None)
    with pytest.raises(ValueError, match=r"no structure can be trained on .*no ligand is bound"):
        system.fit([bare], tmp_path, progress=False)
    with pytest.raises(ValueError, match="no structure can be judged"):
        system.evaluate([bare])
    with pytest.raises(ValueError, match="no structure can be used"):
        system.predict([])
    with pytest.raises(TypeError, match="got a ndarray among them"):
        system.predict([np.zeros(3)])


@pytest.mark.slow
def test_acceptance_of_the_point_stream():
    invariant, plain = (acceptance.point_scores(0, each, progress=False) for each in ("invariant", "xyz"))
    assert invariant["turned"] >= 0.92
    assert abs(invariant["turned"] - invariant["same_pose"]) <= 0.02
    assert invariant["turned"] >= plain["turned"] + 0.2


@pytest.mark.slow
def test_acceptance_of_fusion():
    both, alone = (acceptance.pocket_scores(0, each, progress=False) for each in ("both", "voxel"))
    assert acceptance.success(both["fused"]) > acceptance.success(alone["voxels"])
    assert acceptance.success(both["fused"]) >= acceptance.success(both["voxels"]) + 0.02
