"""The acceptance check on the stand-in: the point stream on turned proteins, and what it adds to voxels.

Run it with ``python -m medkernels.zoo.drivpocket.acceptance``; ``--seeds 3`` repeats it. ``--ranking``
instead asks how well a network that was trained on candidates ranks them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score

from medkernels.points import grid_atoms
from medkernels.zoo.drivpocket.apply import infer, judge, segment
from medkernels.zoo.drivpocket.candidates import propose
from medkernels.zoo.drivpocket.entries import entries_of
from medkernels.zoo.drivpocket.fusion import Grid, Mask, density, pocket_mask
from medkernels.zoo.drivpocket.geometry import geometry
from medkernels.zoo.drivpocket.metrics import NEAR, find, success_rates
from medkernels.zoo.drivpocket.model import DRIVPocket, build
from medkernels.zoo.drivpocket.sites import label_known, random_rotation
from medkernels.zoo.drivpocket.standin import stand_in
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.drivpocket.training import Cube, Sites, tensors, train_network
from medkernels.zoo.engine import FitOptions

Doubles = npt.NDArray[np.float64]

TRAIN, TEST = 60, 40  # proteins, for the point stream
POCKET_TRAIN, POCKET_TEST = 60, 100  # for both streams
RANKED_DECOYS, RANKED_EPOCHS = 2, 3  # candidates without a ligand beside each with one
TEST_SEEDS = 1000  # above those of training
CUBE = Cube(side=32.0, resolution=1.0, points=320)
MIDDLE = np.zeros(3, np.float32)  # of each protein, where its only site is
PRIOR = 0.02  # share of voxels in a pocket
POINT_WIDTH, WIDTH = 16, 4
POINT_TRAINING: dict[str, Any] = {
    "max_epochs": 10,
    "batch_size": 4,
    "lr": 3e-3,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "checkpoint_every_epochs": 10,
    "tensorboard": False,
}
POCKET_TRAINING: dict[str, Any] = POINT_TRAINING | {
    "max_epochs": 5,
    "lr": 1e-2,
    "checkpoint_every_epochs": 5,
}
PROCESSES = 2


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread: for networks this small more of them cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trained(
    network: DRIVPocket, proteins: Sequence[Structure], seed: int, *, streams: str, turn: bool, **options: Any
) -> DRIVPocket:
    """A network trained on some proteins, the weights of the lowest training loss."""
    defaults = POINT_TRAINING if streams == "points" else POCKET_TRAINING
    settings = FitOptions(**(defaults | {"seed": seed} | options))
    sites = Sites([(protein, MIDDLE) for protein in proteins], CUBE, turn=turn, streams=streams)
    with tempfile.TemporaryDirectory() as work:
        train_network(network, sites, None, Path(work), settings, optimizer="adamw")
    return network


def atom_auc(network: DRIVPocket, proteins: Sequence[Structure]) -> float:
    """Area under the ROC curve over the atoms of some proteins."""
    wanted, found = [], []
    network.eval()
    for protein in proteins:
        site = label_known(CUBE.site(protein, MIDDLE))
        batch = tensors(site, "points")
        with torch.inference_mode():
            logits = network(None, batch["points"][None], batch["types"][None])[1][0].numpy()
        assert site.atom_labels is not None
        wanted.append(site.atom_labels[site.present])
        found.append(logits[site.present])
    return float(roc_auc_score(np.concatenate(wanted), np.concatenate(found)))


def point_scores(seed: int, features: str, **options: Any) -> dict[str, float]:
    """AUC of a point stream that was trained on proteins in one pose: on others in that pose, and turned."""
    with one_thread():
        network = build(POINT_WIDTH, streams="points", features=features, seed=seed)
        trained(network, stand_in(TRAIN, seed), seed, streams="points", turn=False, **options)
        return {
            name: atom_auc(network, stand_in(TEST, TEST_SEEDS + seed, turned=turned))
            for name, turned in (("same_pose", False), ("turned", True))
        }


def distance(protein: Structure, grid: Grid, mask: Mask) -> float:
    """Distance from the middle of a mask to that of the cavity, Angstrom; infinite without a mask."""
    assert protein.cavity is not None
    middle = grid.places(np.argwhere(mask)).mean(axis=0) if mask.any() else np.inf
    return float(np.linalg.norm(middle - protein.cavity.mean(axis=0)))


def pocket_scores(seed: int, streams: str, **options: Any) -> dict[str, Doubles]:
    """Distances on turned test proteins of a network trained with random rotations.

    Returns
    -------
    dict
        ``voxels``: of masks from the voxels' probabilities alone; ``fused``: of those with the atoms, the
        same where there is no point stream.
    """
    with one_thread():
        network = build(WIDTH, point_width=POINT_WIDTH, streams=streams, prior=PRIOR, seed=seed)
        trained(network, stand_in(POCKET_TRAIN, seed), seed, streams=streams, turn=True, **options)
        found: dict[str, list[float]] = {"voxels": [], "fused": []}
        for protein in stand_in(POCKET_TEST, TEST_SEEDS + seed, turned=True):
            site = CUBE.site(protein, MIDDLE)
            answer = infer(network, site)
            found["voxels"].append(distance(protein, site.grid, pocket_mask(answer.probabilities)))
            found["fused"].append(distance(protein, site.grid, answer.mask))
        return {name: np.array(values) for name, values in found.items()}


def ranking_scores(seed: int, **options: Any) -> dict[str, dict[str, float]]:
    """How often the ligand's pocket comes first among candidates: by geometry, and by a trained network.

    Returns
    -------
    dict
        ``geometry``, ``network``: as `success_rates` gives them, over turned test proteins.
    """
    with one_thread():
        network = build(WIDTH, point_width=POINT_WIDTH, prior=PRIOR, seed=seed)
        sites = Sites(entries_of(stand_in(POCKET_TRAIN, seed), RANKED_DECOYS), CUBE, turn=True)
        settings = FitOptions(**(POCKET_TRAINING | {"max_epochs": RANKED_EPOCHS, "seed": seed} | options))
        with tempfile.TemporaryDirectory() as work:
            train_network(network, sites, None, Path(work), settings, optimizer="adamw")
        proteins = stand_in(POCKET_TEST, TEST_SEEDS + seed, turned=True)
        plain = [find(protein.ligands, propose(protein).centres) for protein in proteins]
        ranked = [judge(protein, segment(network, protein, cube=CUBE)) for protein in proteins]
        return {"geometry": success_rates(plain), "network": success_rates(ranked)}


def rotation_gap(proteins: int = 10, seed: int = 0) -> float:
    """Greatest change of a rotation-invariant feature when proteins are turned."""
    rng = np.random.default_rng(seed)
    greatest = 0.0
    for protein in stand_in(proteins, seed):
        site = CUBE.site(protein, MIDDLE)
        points = site.points[site.present]
        turned = points @ random_rotation(rng).T
        one, other = (geometry(torch.from_numpy(cloud)[None]) for cloud in (points, turned))
        for before, after in zip([*one.down, *one.up], [*other.down, *other.up], strict=True):
            greatest = max(greatest, float((before.features - after.features).abs().max()))
    return greatest


def gridding_gap(atoms: int = 50, seed: int = 0) -> dict[str, Any]:
    """Greatest difference of the grid from the formula of its density, and whether its gradient is right."""
    rng = np.random.default_rng(seed)
    coords, channels = rng.uniform(-8, 8, (atoms, 3)), rng.integers(14, size=atoms)
    radii = rng.uniform(1.2, 2.2, atoms)
    single = (coords.astype(np.float32), channels, radii.astype(np.float32))
    drawn = grid_atoms(*single, center=MIDDLE, side=16.0, resolution=0.5, n_channels=14)
    edge = np.linspace(-8, 8, 33)
    lattice = np.stack(np.meshgrid(edge, edge, edge, indexing="ij"), axis=-1)
    expected = np.zeros((14, 33, 33, 33))
    for place, kind, radius in zip(coords, channels, radii, strict=True):
        expected[kind] += density(np.linalg.norm(lattice - place, axis=-1), 1.0, radius)
    kinds, sizes = torch.from_numpy(channels[:4]), torch.from_numpy(radii[:4])
    middle = torch.zeros(3, dtype=torch.float64)

    def draw(places: torch.Tensor) -> Any:
        return grid_atoms(places, kinds, sizes, center=middle, side=4.0, resolution=1.0, n_channels=14)

    right = torch.autograd.gradcheck(draw, (torch.from_numpy(coords[:4] / 4).requires_grad_(),))
    return {"gridding_gap": float(np.abs(drawn - expected).max()), "gradcheck": right}


def success(found: Doubles) -> float:
    """Share of the distances below 4 Angstrom."""
    return float((found < NEAR).mean())


def main() -> None:
    """Check, compare for some seeds and print the table."""
    parser = argparse.ArgumentParser(description="drivpocket on the stand-in")
    parser.add_argument("--seeds", type=int, default=1, help="repeat for so many seeds")
    parser.add_argument("--ranking", action="store_true", help="rank candidates by a network trained on them")
    given = parser.parse_args()
    seeds = range(given.seeds)
    started = time.perf_counter()
    if given.ranking:
        for seed in seeds:
            for name, rates in ranking_scores(seed, progress=False).items():
                told = "  ".join(f"{key} {value:.3f}" for key, value in rates.items())
                print(f"seed {seed}  {name}: {told}", flush=True)
        return
    checks = {"rotation_gap": rotation_gap()} | gridding_gap()
    print("  ".join(f"{name} {value}" for name, value in checks.items()), flush=True)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        pockets: dict[tuple[int, str], Future[dict[str, Doubles]]] = {}
        points: dict[tuple[int, str], Future[dict[str, float]]] = {}
        for seed in seeds:
            for streams in ("both", "voxel"):
                pockets[seed, streams] = pool.submit(pocket_scores, seed, streams, progress=False)
            for features in ("invariant", "xyz"):
                points[seed, features] = pool.submit(point_scores, seed, features, progress=False)
        for seed in seeds:
            for features in ("invariant", "xyz"):
                scores = points[seed, features].result()
                told = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                print(f"seed {seed}  atom AUC, {features}: {told}", flush=True)
            both, voxel = pockets[seed, "both"].result(), pockets[seed, "voxel"].result()
            compared = {
                "voxel stream alone": voxel["voxels"],
                "both streams, voxels": both["voxels"],
                "both streams, fused": both["fused"],
            }
            told = "  ".join(f"{name} {success(found):.3f}" for name, found in compared.items())
            print(f"seed {seed}  DCC success: {told}", flush=True)
    print(f"total seconds {time.perf_counter() - started:.4g}")


if __name__ == "__main__":
    main()
