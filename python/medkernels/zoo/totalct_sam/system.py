"""totalct_sam as a zoo system: from CTs to a label for every voxel, with or without clicks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medkernels.zoo import register
from medkernels.zoo.engine import FitOptions, Fitted, HubSystem
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.totalct_sam.apply import Judged, evaluate, judge, predict
from medkernels.zoo.totalct_sam.classes import check_classes
from medkernels.zoo.totalct_sam.cohort import Data, Reading, gather, split
from medkernels.zoo.totalct_sam.data import list_sources, unknown_structures
from medkernels.zoo.totalct_sam.metrics import summarised
from medkernels.zoo.totalct_sam.model import TotalCTSAM, build
from medkernels.zoo.totalct_sam.report import write_report
from medkernels.zoo.totalct_sam.sizes import SIZES
from medkernels.zoo.totalct_sam.tables import write_rows
from medkernels.zoo.totalct_sam.training import train_network
from medkernels.zoo.totalct_sam.volume import Scan, Volume

PAPER = "TotalCT-SAM: A Whole-Body CT Segment Anything Model with Memorizing Transformer, ICPR 2024"
TRAINING: dict[str, Any] = {
    "max_epochs": 20,
    "batch_size": 2,
    "lr": 3e-4,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "clip_norm": 1.0,
    "find_unused_parameters": True,
}
MOST_JUDGED = 20  # CTs that `fit` judges at its end


@register(
    "totalct_sam",
    title="Labels the structures of a CT voxel by voxel, with or without clicks",
    paper=PAPER,
    number=15,
)
class TotalCTSAMSystem(HubSystem):
    """SAM-Med3D with a token for each structure and a memory of the scan's earlier windows.

    Parameters
    ----------
    size : {"small", "base", "tiny", "crops"}
        See `medkernels.zoo.totalct_sam.sizes`: 14.2 and 99.7 million weights with 104 structures; the other
        two are for the demonstration and the stand-in.
    classes : sequence of str, optional
        Names of the structures, whose labels are 1, 2, ...; the 104 of TotalSegmentator if None.
    memory : bool
        Whether windows read what earlier windows of their scan left in a memory.
    spacing : float, optional
        Of the voxels that the network sees, mm; None keeps that of each CT.
    overlap : float
        Share of its side that a window has in common with the next one, in [0, 1).
    init_seed : int
        Of the network's first weights.

    Examples
    --------
    >>> import numpy as np
    >>> from medkernels import zoo
    >>> from medkernels.zoo.totalct_sam.volume import Volume
    >>> system = zoo.create("totalct_sam", size="tiny", classes=["liver", "spleen"], spacing=None)
    >>> air = Volume("air", np.full((40, 32, 20), -1000), np.eye(4))
    >>> system.predict(air)["labels"]["air"].shape
    (40, 32, 20)
    """

    module: TotalCTSAM

    def __init__(
        self,
        *,
        size: str = "small",
        classes: Sequence[str] | None = None,
        memory: bool = True,
        spacing: float | None = 1.5,
        overlap: float = 0.5,
        init_seed: int = 0,
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        if spacing is not None and not 0 < spacing < float("inf"):
            raise ValueError(f"spacing must be finite and above 0, got {spacing}")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must lie in [0, 1), got {overlap}")
        self.reading = Reading(check_classes(classes), None if spacing is None else float(spacing))
        self.overlap = overlap
        self.module = build(SIZES[size], len(self.reading.classes) + 1, memory=bool(memory), seed=init_seed)

    def fit(
        self,
        data: Data,
        run_dir: str | Path,
        *,
        clicks: int = 3,
        contexts: int = 2,
        draws: int = 8,
        **options: Any,
    ) -> Fitted:
        """Train, judge on held-out CTs, and write model, metrics, tables and report into `run_dir`.

        Parameters
        ----------
        data : path or volumes
            A folder as `medkernels.zoo.totalct_sam.data` describes it, or volumes with labels.
        run_dir : path
            CTs of a folder are also put here as the network sees them, 3 bytes a voxel.
        clicks : int
            Rounds of simulated clicks on the worst structure of each window, after a round without prompts;
            11 as published.
        contexts : int
            Windows of the same CT that fill the memory before one is trained on.
        draws : int
            Windows of each CT and epoch.
        **options
            Of `FitOptions`; here 20 epochs of batches of 2 windows, AdamW with a learning rate that falls
            from 0.0003, gradients of norm 1 at most, and the weights of the lowest loss in validation.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, ValueError
            If the data or an option cannot be used.
        """
        for name, value, least in (("clicks", clicks, 0), ("contexts", contexts, 0), ("draws", draws, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        settings, folder = FitOptions(**(TRAINING | options)), Path(run_dir)
        classes = self.reading.classes
        scans, skipped = gather(data, self.reading, folder / "scans", progress=settings.progress)
        if isinstance(data, (str, Path)):
            unknown = unknown_structures(list_sources(data), classes)
            skipped += [(f"segmentations/{name}", "none of the system's structures") for name in unknown]
        parts = split(scans, settings.seed)
        result = train_network(
            self.module,
            classes,
            parts["train"],
            parts["valid"],
            folder,
            settings,
            contexts=contexts if self.module.mask_decoder.memorizing is not None else 0,
            clicks=clicks,
            draws=draws,
        )
        metrics: dict[str, Any] = {
            "scans": {name: len(group) for name, group in parts.items()},
            "skipped": len(skipped),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
        }
        done = Fitted(
            metrics, folder / "report.html", folder / "model", result.seconds, result.rank, tuple(skipped)
        )
        if result.rank == 0:
            metrics["judged_on"] = next(name for name in ("test", "valid", "train") if parts[name])
            held_out = parts[metrics["judged_on"]][:MOST_JUDGED]
            judged = [self.judge(_as_volume(scan), progress=settings.progress) for scan in held_out]
            scores = [answer.scores for answer in judged]
            metrics["held_out"] = summarised(scores, [answer.counts for answer in judged])
            metrics["seconds_a_scan"] = float(np.mean([answer.seconds for answer in judged]))
            self.save_pretrained(done.model)
            write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
            rows = [
                {"scan": answer.volume.name, "structure": name, **values}
                for answer in judged
                for name, values in answer.scores.items()
            ]
            write_rows(folder / "structures.csv", rows, ("scan", "structure", "dice", "iou"))
            write_report(judged, classes, result.history, done)
        return done

    def judge(self, volume: Volume, *, clicks: int = 0, seed: int = 0, progress: bool = True) -> Judged:
        """Label one CT that has labels, and compare; see `medkernels.zoo.totalct_sam.apply.judge`."""
        return judge(
            self.module,
            self.reading,
            volume,
            overlap=self.overlap,
            clicks=clicks,
            seed=seed,
            progress=progress,
        )

    def predict(
        self, inputs: Data, out_dir: str | Path | None = None, *, prompts: str | Path | None = None
    ) -> dict[str, Any]:
        """Label every voxel of CTs.

        Parameters
        ----------
        inputs : path or volumes
            A folder or file as `medkernels.zoo.totalct_sam.data` describes it, or volumes.
        out_dir : path, optional
            Where to write for each CT ``<name>.structures.nii.gz`` (labels on the CT's own grid),
            ``.structures.json`` (their names) and ``.structures.csv`` (voxels and millilitres), and a
            ``report.html`` with pictures.
        prompts : path, optional
            Clicks, boxes and coarse masks for all these CTs, laid out as `medkernels.zoo.totalct_sam.prompts`
            says. If None, those of the file beside each CT.

        Returns
        -------
        dict
            ``scans`` (names), ``seconds`` of the network, ``millilitres`` (by scan and structure),
            ``skipped`` and ``files`` written; without `out_dir` also ``labels``, by scan: uint8 arrays.

        Raises
        ------
        FileNotFoundError, ValueError
            If no CT can be used, or the prompts cannot be understood.
        """
        target = None if out_dir is None else Path(out_dir)
        told = None if prompts is None else Path(prompts)
        return predict(self.module, self.reading, inputs, target, told, self.overlap)

    def evaluate(self, data: Data, *, clicks: int = 0) -> dict[str, float]:
        """Mean Dice and IoU over structures, accuracy of voxels, and the time of a CT.

        Parameters
        ----------
        data : path or volumes
            CTs without labels are left out.
        clicks : int
            Simulated clicks on each structure, before the labels are judged.

        Raises
        ------
        FileNotFoundError, ValueError
            If no CT can be judged.
        """
        if isinstance(clicks, bool) or not isinstance(clicks, int) or clicks < 0:
            raise ValueError(f"clicks must be an integer of at least 0, got {clicks!r}")
        return evaluate(self.module, self.reading, data, overlap=self.overlap, clicks=clicks)

    def demo(self, out_dir: str | Path) -> Path:
        """Train on synthetic CTs of bodies and write ``report.html``; takes a minute or two.

        The system's own settings are not used. The trained system is saved in ``out_dir/model``.
        """
        from medkernels.zoo.totalct_sam.demo import run_demo

        return run_demo(Path(out_dir))


def _as_volume(scan: Scan) -> Volume:
    """A scan as a volume of its own, on the grid that the network sees."""
    return Volume(scan.name, scan.values, scan.affine, np.asarray(scan.labels), scan.part)
