"""drivpocket as a zoo system: from structures of proteins to ranked pockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medkernels.zoo import register
from medkernels.zoo.drivpocket.apply import MOST, RANKINGS, judge, segment
from medkernels.zoo.drivpocket.data import Data, Skipped, listed, stream
from medkernels.zoo.drivpocket.dria import Attention
from medkernels.zoo.drivpocket.entries import entries_of, split
from medkernels.zoo.drivpocket.fit_report import write_report
from medkernels.zoo.drivpocket.metrics import success_rates
from medkernels.zoo.drivpocket.model import DRIVPocket, build
from medkernels.zoo.drivpocket.pocket import Pocket
from medkernels.zoo.drivpocket.reading import Reading
from medkernels.zoo.drivpocket.report import DRAWN, overview, write_predictions
from medkernels.zoo.drivpocket.sites import POINTS, RESOLUTION, SIDE
from medkernels.zoo.drivpocket.structure import Structure
from medkernels.zoo.drivpocket.training import OPTIMIZERS, SHIFT, Cube, Sites, train_network
from medkernels.zoo.drivpocket.voxel_stream import grid_sizes
from medkernels.zoo.drivpocket.writing import write_pockets
from medkernels.zoo.engine import FitOptions, Fitted, HubSystem
from medkernels.zoo.engine.files import write_text

PAPER = (
    "DRIVPocket: A Dual-stream Rotation Invariance in Feature Sampling and Voxel Fusion Approach for Protein "
    "Binding Site Prediction, ICPR 2024"
)
TRAINING: dict[str, Any] = {
    "max_epochs": 150,
    "batch_size": 8,
    "lr": 4e-3,
    "weight_decay": 1e-3,
    "schedule": "step",
    "clip_norm": 10.0,
}


@register(
    "drivpocket",
    title="Finds the pockets of a protein in which ligands bind, and ranks them",
    paper=PAPER,
    number=14,
)
class DRIVPocketSystem(HubSystem):
    """Candidates from geometry, each segmented by a voxel stream and a rotation-invariant stream of atoms.

    Parameters
    ----------
    width : int
        Channels of the voxel stream's first block; 32 as published.
    point_width : int, optional
        Of the point stream's first layer; `width` if None.
    second_kernel : {1, 3}
        Edge of the second kernel in convolution blocks; 1 has the published number of parameters.
    heads, factor : int
        Of attention; `factor` c makes ``c ln L`` queries of L attend.
    branches : {"both", "spatial", "channel", "none"}
        Attention over voxels, over channels, or both.
    normalise : bool
        Bring queries and keys to length 1 first, as the released code does.
    mean : {"reference", "sample"}
        Divisor in the rating of queries; see `medkernels.attention.prob_sparse`.
    side, resolution : float
        Edge of the cube around a candidate and spacing of its lattice, Angstrom; an odd number of points
        along the edge that is 1 above a multiple of 16.
    points : int
        How many of the nearest atoms the point stream reads.
    prior : float, optional
        Probability with which each voxel begins, which shortens a training; 0.5 if None, as published.
    ranking : {"volume", "candidate"}
        Pockets are ranked by what the network finds in them, or keep the order of their candidates.
    metals : bool
        Metal ions of a file belong to the receptor.
    init_seed : int
        Of the network's first weights.

    Examples
    --------
    >>> from medkernels import zoo
    >>> from medkernels.zoo.drivpocket.standin import stand_in
    >>> system = zoo.create("drivpocket", width=4, resolution=1.0)
    >>> found = system.predict(stand_in(1))
    >>> found["structures"]
    ['stand-in 000']
    """

    module: DRIVPocket

    def __init__(
        self,
        *,
        width: int = 32,
        point_width: int | None = None,
        second_kernel: int = 1,
        heads: int = 4,
        factor: int = 5,
        branches: str = "both",
        normalise: bool = False,
        mean: str = "reference",
        side: float = SIDE,
        resolution: float = RESOLUTION,
        points: int = POINTS,
        prior: float | None = None,
        ranking: str = "volume",
        metals: bool = False,
        init_seed: int = 0,
    ) -> None:
        for name, length in (("side", side), ("resolution", resolution)):
            if not 0 < length < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {length}")
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise ValueError(f"points must be an integer of at least 1, got {points!r}")
        if ranking not in RANKINGS:
            raise ValueError(f"ranking must be one of {', '.join(RANKINGS)}, got {ranking!r}")
        self.ranking = ranking
        self.cube = Cube(float(side), float(resolution), points)
        grid_sizes(self.cube.edge)
        self.reading = Reading(metals=bool(metals))
        self.module = build(
            width,
            point_width=point_width,
            second_kernel=second_kernel,
            attention=Attention(heads, factor, branches, bool(normalise), mean),
            prior=prior,
            seed=init_seed,
        )

    def fit(
        self,
        data: Data,
        run_dir: str | Path,
        *,
        optimizer: str = "sgd",
        turn: bool = True,
        shift: float = SHIFT,
        decoys: int = 1,
        **options: Any,
    ) -> Fitted:
        """Train, judge on the held-out structures, and write model, metrics and report into `run_dir`.

        Parameters
        ----------
        data : path or structures
            A folder as `medkernels.zoo.drivpocket.data` describes it, or structures with ligands.
        run_dir : path
        optimizer : {"sgd", "adamw"}
            The first one, with momentum, as published; the second needs fewer epochs.
        turn : bool
            Turn sites at random while training.
        shift : float
            Greatest random shift of a site's centre, Angstrom.
        decoys : int
            Candidates without a ligand that each structure adds to the training, so that the network also
            tells where there is none.
        **options
            Of `FitOptions`; here, as in the released code, 150 epochs of batches of 8, a learning rate of
            0.004 that is multiplied by 0.9 every 5 epochs, weight decay 0.001 and gradients of norm 10 at
            most.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, ValueError
            If the data or an option cannot be used.
        """
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
        if not 0 <= shift < float("inf"):
            raise ValueError(f"shift must be finite and at least 0, got {shift}")
        if isinstance(decoys, bool) or not isinstance(decoys, int) or decoys < 0:
            raise ValueError(f"decoys must be an integer of at least 0, got {decoys!r}")
        settings, folder = FitOptions(**(TRAINING | options)), Path(run_dir)
        skipped: Skipped = []
        known = list(stream(data, self.reading, skipped, labelled=True, progress=settings.progress))
        if not known:
            raise ValueError(f"data: no structure can be trained on ({listed(skipped)})")
        parts = split(known, settings.seed)
        sites = {
            name: Sites(entries_of(group, decoys), self.cube, turn=turn and name == "train", shift=shift)
            for name, group in parts.items()
        }
        result = train_network(
            self.module,
            sites["train"],
            sites["valid"] if parts["valid"] else None,
            folder,
            settings,
            optimizer=optimizer,
        )
        metrics: dict[str, Any] = {
            "structures": {name: len(group) for name, group in parts.items()},
            "sites": {name: len(entries) for name, entries in sites.items()},
            "skipped": len(skipped),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
        }
        done = Fitted(
            metrics, folder / "report.html", folder / "model", result.seconds, result.rank, tuple(skipped)
        )
        if result.rank == 0:
            metrics["judged_on"] = next(name for name in ("test", "valid", "train") if parts[name])
            held_out = [one for one in parts[metrics["judged_on"]] if one.ligands]
            found = [judge(one, self.answer(one)) for one in held_out]
            if found:
                metrics["held_out"] = success_rates(found)
            self.save_pretrained(done.model)
            write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
            write_report(self, list(zip(held_out, found, strict=True)), result.history, done)
        return done

    def answer(self, structure: Structure, *, most: int = MOST) -> list[Pocket]:
        """The ranked pockets of one structure; see `medkernels.zoo.drivpocket.apply.segment`."""
        return segment(self.module, structure, cube=self.cube, most=most, ranking=self.ranking)

    def predict(self, inputs: Data, out_dir: str | Path | None = None) -> dict[str, Any]:
        """Find and rank the pockets of structures.

        Parameters
        ----------
        inputs : path or structures
            A folder or file as `medkernels.zoo.drivpocket.data` describes it, or structures.
        out_dir : path, optional
            Where to write ``report.html``, with views of the first structures that can be turned, and the
            files of each structure that `medkernels.zoo.drivpocket.writing` names.

        Returns
        -------
        dict
            ``structures`` (names), ``pockets`` (how many each has), ``skipped`` files and ``files`` written;
            without `out_dir` also ``of_structures``, by name the list of `Pocket`, the best first.

        Raises
        ------
        FileNotFoundError, ValueError
            If no structure can be used.
        """
        skipped: Skipped = []
        files: list[str] = []
        rows: list[dict[str, Any]] = []
        shown: list[tuple[Structure, list[Pocket]]] = []
        found: dict[str, list[Pocket]] = {}
        for structure, _ in stream(inputs, self.reading, skipped):
            pockets = self.answer(structure)
            rows.append(overview(structure, pockets))
            if out_dir is None:
                found[structure.name] = pockets
            else:
                files += write_pockets(Path(out_dir), structure, pockets)
                shown += [(structure, pockets)] if len(shown) < DRAWN else []
        if not rows:
            raise ValueError(f"data: no structure can be used ({listed(skipped)})")
        if out_dir is not None:
            files.append(write_predictions(Path(out_dir) / "report.html", shown, rows, skipped).name)
        return {
            "structures": [row["structure"] for row in rows],
            "pockets": [row["pockets"] for row in rows],
            **({"of_structures": found} if out_dir is None else {}),
            "skipped": [list(entry) for entry in skipped],
            "files": files,
        }

    def evaluate(self, data: Data) -> dict[str, float]:
        """DCA and DCC among the first n and n + 2 pockets of proteins with n ligands, and DVO.

        Parameters
        ----------
        data : path or structures
            Structures without a ligand are left out.

        Raises
        ------
        FileNotFoundError, ValueError
            If no structure can be judged.
        """
        skipped: Skipped = []
        found = [
            judge(structure, self.answer(structure))
            for structure, _ in stream(data, self.reading, skipped, labelled=True)
            if structure.ligands
        ]
        if not found:
            raise ValueError(f"data: no structure can be judged ({listed(skipped)})")
        return success_rates(found) | {"structures": len(found), "skipped": len(skipped)}

    def demo(self, out_dir: str | Path) -> Path:
        """Find the pockets of a real protein and write ``report.html``; takes about a minute.

        The system's own settings are not used. The trained system is saved in ``out_dir/model``.
        """
        from medkernels.zoo.drivpocket.demo import run_demo

        return run_demo(Path(out_dir))
