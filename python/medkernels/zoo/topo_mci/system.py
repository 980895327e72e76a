"""topo_mci as a zoo system: from a folder of fMRI images or series to classes, distances and p-values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from medkernels.zoo import register
from medkernels.zoo.engine import FitOptions, Fitted, HubSystem
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.topo_mci.apply import evaluate, predict
from medkernels.zoo.topo_mci.atlas import Atlas, load_atlas, read_atlas
from medkernels.zoo.topo_mci.cohort import Cohort, from_arrays
from medkernels.zoo.topo_mci.data import load_folder
from medkernels.zoo.topo_mci.learners import LEARNERS, new_network
from medkernels.zoo.topo_mci.persistence import Chain, Floats, pr_matrices
from medkernels.zoo.topo_mci.report import write_report
from medkernels.zoo.topo_mci.splits import accuracies, run_splits
from medkernels.zoo.topo_mci.tables import p_maps, write_p_values, write_predictions

PAPER = "Leveraging Persistent Homology for Differential Diagnosis of Mild Cognitive Impairment, ICPR 2024"
TRAINING: dict[str, Any] = {"max_epochs": 100, "batch_size": 64, "lr": 1e-3, "checkpoint_every_epochs": 10}
LEAST_ROIS = 2  # below this there is no distance

Data = str | Path | Cohort | npt.NDArray[Any] | Sequence[npt.NDArray[Any]]


@register(
    "topo_mci",
    title="Tells cognitive impairment from health by the topology of fMRI time series",
    paper=PAPER,
    number=2,
)
class TopoMCI(HubSystem):
    """Persistence of sliding windows, Wasserstein distances between ROIs, and a network on the distances.

    Parameters
    ----------
    network : str, optional
        Use the ROIs of this network of the atlas only, such as "DMN"; all ROIs if None.
    homology : {0, 1, 2}
        Dimension of the holes whose diagrams are compared: components, loops or cavities.
    dimension, delay : int
        Of the sliding window.
    zscore : bool
        Bring each series to mean 0 and standard deviation 1 first; distances of raw series depend on their
        amplitude.
    order, ground : number or "inf"
        Of the Wasserstein distance: its exponent, and the norm in the plane of births and deaths (2 or
        "inf").
    radius : float
        Of the spheres around the atlas's coordinates, mm.
    roi_axis : {0, 1}
        In tables of series: 0 for a row a ROI, 1 for a column a ROI.
    variable : str, optional
        Name of the matrix in MAT files.
    dropout : float
    init_seed : int
        Of the network's first weights.
    classes : sequence of str, optional
        The classes to tell apart, in this order; all of the data if None.
    rois : int, optional
        How many; taken from the data that the system is trained on if None.
    """

    module: nn.Module

    def __init__(
        self,
        *,
        network: str | None = None,
        homology: int = 1,
        dimension: int = 3,
        delay: int = 1,
        zscore: bool = False,
        order: float | str = 1,
        ground: float | str = 2,
        radius: float = 5.0,
        roi_axis: int = 0,
        variable: str | None = None,
        dropout: float = 0.2,
        init_seed: int = 0,
        classes: Sequence[str] | None = None,
        rois: int | None = None,
    ) -> None:
        if homology not in (0, 1, 2):
            raise ValueError(f"homology must be 0, 1 or 2, got {homology!r}")
        if roi_axis not in (0, 1):
            raise ValueError(f"roi_axis must be 0 or 1, got {roi_axis!r}")
        if not (math.isfinite(radius) and radius > 0):
            raise ValueError(f"radius must be finite and above 0, got {radius}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.chain = Chain(
            max_dim=homology,
            dimension=dimension,
            delay=delay,
            zscore=bool(zscore),
            order=_number("order", order),
            ground=_number("ground", ground),
        )
        self.homology, self.dropout, self.init_seed = homology, dropout, init_seed
        self.reading: dict[str, Any] = {
            "network": network,
            "radius": radius,
            "roi_axis": roi_axis,
            "variable": variable,
        }
        self.classes = None if classes is None else _check_classes(classes)
        self.atlas: Atlas | None = None
        self.rois = rois
        if rois is not None:
            if rois < LEAST_ROIS:
                raise ValueError(f"rois must be at least {LEAST_ROIS}, got {rois}")
            outputs = 2 if self.classes is None else len(self.classes)
            self.module = new_network("cnn", rois, outputs, dropout, init_seed)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that create this system as it is now, as JSON values."""
        chain = self.chain
        return {
            **self.reading,
            "homology": self.homology,
            "dimension": chain.dimension,
            "delay": chain.delay,
            "zscore": chain.zscore,
            "order": "inf" if math.isinf(chain.order) else chain.order,
            "ground": "inf" if math.isinf(chain.ground) else chain.ground,
            "dropout": self.dropout,
            "init_seed": self.init_seed,
            "classes": None if self.classes is None else list(self.classes),
            "rois": self.rois,
        }

    def load(self, data: Data, *, atlas: str | Path | Atlas | None = None) -> Cohort:
        """The cohort of a folder or file (see `medkernels.zoo.topo_mci.data`), or of series [N,n,T].

        Raises
        ------
        FileNotFoundError, ValueError
            As `load_folder`, or if the number of ROIs is not the trained system's.
        """
        if isinstance(data, (str, Path)):
            table = read_atlas(atlas) if isinstance(atlas, (str, Path)) else atlas
            cohort = load_folder(data, atlas=self.atlas if table is None else table, **self.reading)
        else:
            cohort = data if isinstance(data, Cohort) else from_arrays(data)
        if self.rois is not None and len(cohort.rois) != self.rois:
            raise ValueError(f"data: {len(cohort.rois)} ROIs, but the system works on {self.rois}")
        return cohort

    def fit(
        self,
        data: Data,
        run_dir: str | Path,
        *,
        atlas: str | Path | Atlas | None = None,
        splits: int = 5,
        held_out: float = 0.2,
        baselines: Sequence[str] = ("forest",),
        fdr: bool = False,
        **options: Any,
    ) -> Fitted:
        """Train and judge on repeated splits; write model, matrices, p-values, predictions and report.

        The network of the first split becomes the system's; the subjects that it was not trained on are
        marked in ``predictions.csv``. A run that was stopped goes on where it was.

        Parameters
        ----------
        data : path, Cohort, or series [N,n,T]
            With at least two classes.
        run_dir : path
        atlas : path or Atlas, optional
            Coordinates and networks; see `load_folder` for what is used if None.
        splits : int
            How often to draw the held-out subjects anew.
        held_out : float
            Their share, in (0, 1).
        baselines : sequence of {"forest", "densenet"}
            Trained beside the network on the same splits.
        fdr : bool
            Adjust p-values by Benjamini and Hochberg's method.
        **options
            Of `FitOptions`; here, as published, 100 epochs of batches of 64 at a learning rate of 0.001.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, ValueError
            As `load_folder` and `FitOptions`; also if there are not enough subjects or classes.
        """
        learners = _check_learners(baselines)
        if isinstance(splits, bool) or not isinstance(splits, int) or splits < 1:
            raise ValueError(f"splits must be an integer of at least 1, got {splits!r}")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must lie in (0, 1), got {held_out}")
        settings, folder = FitOptions(**(TRAINING | options)), Path(run_dir)
        cohort = self.load(data, atlas=atlas)
        if self.classes is None and len(cohort.classes) < 2:
            raise ValueError(
                "data: want at least two classes, a sub-folder each (or class numbers), "
                f"got: {', '.join(cohort.classes) or 'none'}"
            )
        cohort = cohort.of_classes(self.classes or cohort.classes)
        if len(cohort.rois) < LEAST_ROIS:
            raise ValueError(f"data: want at least {LEAST_ROIS} ROIs, got {len(cohort.rois)}")
        matrices = self.matrices(cohort, keep=folder / "matrices", progress=settings.progress)
        results = run_splits(
            matrices[:, self.homology],
            cohort.labels,
            learners,
            splits,
            held_out,
            folder,
            settings,
            dropout=self.dropout,
            init_seed=self.init_seed,
        )
        self.module = results[0].networks["cnn"]
        self.rois, self.classes, self.atlas = len(cohort.rois), cohort.classes, cohort.atlas
        metrics: dict[str, Any] = {
            "subjects": {name: int((cohort.labels == i).sum()) for i, name in enumerate(cohort.classes)},
            "skipped": len(cohort.skipped),
            "rois": len(cohort.rois),
            "homology": self.homology,
            "splits": splits,
            "chance": float(np.bincount(cohort.labels).max() / len(cohort)),
            "accuracy": accuracies(results, cohort.labels),
        }
        seconds = sum(split.seconds for split in results)
        done = Fitted(
            metrics, folder / "report.html", folder / "model", seconds, results[0].rank, cohort.skipped
        )
        if done.rank == 0:
            maps = p_maps(cohort, matrices, fdr=fdr)
            self.save_pretrained(done.model)
            write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
            write_p_values(folder / "p-values.csv", cohort, matrices, maps)
            write_predictions(folder / "predictions.csv", cohort, results)
            write_report(cohort, self.chain, matrices, maps, results, metrics, done.report)
        return done

    def matrices(self, data: Data, *, keep: Path | None = None, progress: bool = True) -> Floats:
        """PR matrices [N, homology + 1, n, n] of all subjects; see `pr_matrices`."""
        cohort = self.load(data)
        for subject, series in zip(cohort.subjects, cohort.series, strict=True):
            self.chain.check_length(series.shape[1], subject)
        return pr_matrices(cohort.series, self.chain, keep=keep, progress=progress)

    def predict(self, inputs: Data, out_dir: str | Path | None = None) -> dict[str, Any]:
        """Classify subjects.

        Parameters
        ----------
        inputs : path, Cohort, or series [N,n,T]
        out_dir : path, optional
            Where to write ``predictions.csv``.

        Returns
        -------
        dict
            ``subjects``, ``classes`` (the predicted ones), ``class_names``, ``probabilities`` [N,classes],
            ``matrices`` [N,n,n] (PR, not standardised), ``rois``, ``skipped`` subjects and ``files`` written.

        Raises
        ------
        ValueError
            If the system is not trained, or as `load`.
        """
        module, classes = self._trained()
        return predict(
            self.load(inputs), self.matrices, module, classes, None if out_dir is None else Path(out_dir)
        )

    def evaluate(self, data: Data) -> dict[str, float]:
        """Accuracy, balanced accuracy, macro-F1 and, with two classes, the area under the ROC curve.

        Parameters
        ----------
        data : path or Cohort
            Subjects without a class, or of classes that the system does not know, are left out.

        Raises
        ------
        ValueError
            If the system is not trained, or no subject is of a class it knows.
        """
        module, classes = self._trained()
        return evaluate(self.load(data), self.matrices, module, classes)

    def demo(self, out_dir: str | Path) -> Path:
        """Run the whole chain on generated series and write ``report.html``; takes about a minute.

        The system's own settings are not used: all three dimensions of homology are compared. The system
        trained on loops is saved in ``out_dir/model``.
        """
        from medkernels.zoo.topo_mci.demo import run_demo

        return run_demo(Path(out_dir))

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the trained system to a folder; see `HubSystem.save_pretrained`."""
        self._trained()
        return super().save_pretrained(save_directory, **({"config": self.config} | options))

    def export_state(self) -> dict[str, Any]:
        """The atlas."""
        return {} if self.atlas is None else {"atlas": self.atlas.export()}

    def import_state(self, state: dict[str, Any]) -> None:
        """Take back the atlas."""
        self.atlas = load_atlas(state["atlas"]) if "atlas" in state else None

    def _trained(self) -> tuple[nn.Module, tuple[str, ...]]:
        if self.rois is None or self.classes is None:
            raise ValueError("the system is not trained: call fit, or load one with from_pretrained")
        return self.module, self.classes


def _number(name: str, value: float | str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number or 'inf', got {value!r}") from None


def _check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"classes: want at least two different ones, got: {', '.join(names) or 'none'}")
    return names


def _check_learners(baselines: Sequence[str]) -> list[str]:
    names = [baselines] if isinstance(baselines, str) else list(baselines)
    known = [name for name in LEARNERS if name != "cnn"]
    for name in names:
        if name not in known:
            raise ValueError(f"baselines: want some of {', '.join(known)}, got {name!r}")
    return ["cnn", *dict.fromkeys(names)]
