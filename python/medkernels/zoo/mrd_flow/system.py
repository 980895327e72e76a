"""mrd_flow as a zoo system: from FCS files to blasts, event by event, and the MRD of each sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medkernels.zoo import register
from medkernels.zoo.engine import FitOptions, Fitted, HubSystem
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.mrd_flow.apply import Answer, evaluate, infer, judge, predict
from medkernels.zoo.mrd_flow.cohort import Data, gather, split
from medkernels.zoo.mrd_flow.data import Reading, check_markers
from medkernels.zoo.mrd_flow.fcs import SCALINGS
from medkernels.zoo.mrd_flow.markers import MARKERS
from medkernels.zoo.mrd_flow.metrics import summarised
from medkernels.zoo.mrd_flow.model import MODELS, Network, build
from medkernels.zoo.mrd_flow.report import write_report
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.tables import write_rows
from medkernels.zoo.mrd_flow.training import Structure, train_network

PAPER = (
    "On the Importance of Local and Global Feature Learning for Automated Measurable Residual Disease "
    "Detection in Flow Cytometry Data, ICPR 2024"
)
TRAINING: dict[str, Any] = {
    "max_epochs": 150,
    "batch_size": 4,
    "lr": 1e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "clip_norm": 2.5,
    "checkpoint_every_epochs": 5,
}
GAT_DECAY = 0.2
EVENTS = 50_000  # drawn from each sample and epoch


@register(
    "mrd_flow",
    title="Finds leukaemic cells in flow cytometry, event by event, and measures residual disease",
    paper=PAPER,
    number=21,
)
class MRDFlow(HubSystem):
    """A graph of nearest events, attention induced by sampled ones, and a logit for every event.

    Parameters
    ----------
    model : {"gin-st-fps", "gat-st-fps", "st-fps", "st", "mlp"}
        The published networks, and its baselines.
    markers : sequence of str, optional
        What the network reads of each event; the paper's eleven if None. A marker that a sample lacks is 0.
    graph_markers : sequence of str, optional
        What the graph of nearest events is built on; `markers` if None.
    k : int
        Neighbours of an event.
    ratio : float
        Of events that attention is induced by, in (0, 1].
    picks : int, optional
        Their number, instead of the ratio.
    points : int
        Inducing points that "st" learns.
    dropout : float
        On the attention of the graph layer of "gat-st-fps".
    scaling : {"logicle", "none"}
        How values of FCS files are brought to [0, 4.5]; see `medkernels.zoo.mrd_flow.fcs.read_fcs`.
    clean : bool
        Leave out events within 0.1 % of an end of the range in any marker.
    init_seed : int
        Of the network's first weights.

    Examples
    --------
    >>> from medkernels import zoo
    >>> from medkernels.zoo.mrd_flow.standin import stand_in
    >>> system = zoo.create("mrd_flow", markers=[f"channel {i}" for i in range(10)])
    >>> found = system.predict(stand_in(2))
    >>> found["samples"], found["judged"]
    (['sample 000', 'sample 001'], array([1500, 1500]))
    """

    module: Network

    def __init__(
        self,
        *,
        model: str = "gin-st-fps",
        markers: Sequence[str] | None = None,
        graph_markers: Sequence[str] | None = None,
        k: int = 10,
        ratio: float = 0.0005,
        picks: int | None = None,
        points: int = 16,
        dropout: float = 0.2,
        scaling: str = "logicle",
        clean: bool = True,
        init_seed: int = 0,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
        if scaling not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}")
        for name, value in (("k", k), ("picks", picks), ("points", points)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        names = check_markers("markers", MARKERS if markers is None else markers)
        around = None if graph_markers is None else check_markers("graph_markers", graph_markers)
        self.model = model
        self.reading = Reading(names, around, scaling, bool(clean))
        self.structure = Structure(k, ratio, picks)
        self.module = build(model, len(names), points=points, dropout=dropout, seed=init_seed)

    def fit(
        self,
        data: Data,
        run_dir: str | Path,
        *,
        events: int = EVENTS,
        jitter: float = 0.01,
        smoothing: float = 0.1,
        **options: Any,
    ) -> Fitted:
        """Train, judge on the held-out samples, and write model, metrics, tables and report into `run_dir`.

        Parameters
        ----------
        data : path or samples
            A folder as `medkernels.zoo.mrd_flow.data` describes it, or samples with labels.
        run_dir : path
            Samples of a folder are also put here, cleaned and scaled, 4 bytes a marker and event.
        events : int
            Drawn at random from each sample and epoch, and no more than the largest training sample has.
        jitter : float
            Standard deviation of noise on each marker while training.
        smoothing : float
            Labels are ``(1 - smoothing) y + smoothing / 2``.
        **options
            Of `FitOptions`; here, as published, 150 epochs of batches of 4 samples, AdamW with a learning
            rate that falls from 0.001, gradients of norm 2.5 at most, and the weights of the epoch with the
            highest mean F1 in validation.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, ValueError
            If the data or an option cannot be used.
        """
        if isinstance(events, bool) or not isinstance(events, int) or events < 2:
            raise ValueError(f"events must be an integer of at least 2, got {events!r}")
        if not 0 <= jitter < float("inf"):
            raise ValueError(f"jitter must be finite and at least 0, got {jitter}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
        decay = {"weight_decay": GAT_DECAY} if self.model == "gat-st-fps" else {}
        settings, folder = FitOptions(**(TRAINING | decay | options)), Path(run_dir)
        samples, skipped = gather(data, self.reading, folder / "samples", progress=settings.progress)
        parts = split(samples, settings.seed)
        result = train_network(
            self.module,
            self.structure,
            parts["train"],
            parts["valid"],
            folder,
            settings,
            events=min(events, max(len(sample) for sample in parts["train"])),
            jitter=jitter,
            smoothing=smoothing,
        )
        metrics: dict[str, Any] = {
            "samples": {name: len(group) for name, group in parts.items()},
            "skipped": len(skipped),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
        }
        done = Fitted(
            metrics, folder / "report.html", folder / "model", result.seconds, result.rank, tuple(skipped)
        )
        if result.rank == 0:
            held_out = next(parts[name] for name in ("test", "valid", "train") if parts[name])
            rows = judge(self.module, self.structure, held_out)
            metrics["judged_on"] = next(name for name in ("test", "valid", "train") if parts[name])
            metrics["held_out"] = summarised(rows)
            self.save_pretrained(done.model)
            write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
            write_rows(folder / "mrd.csv", rows)
            write_report(self, held_out, rows, result.history, done)
        return done

    def answer(self, sample: Sample) -> Answer:
        """Judge one sample; see `medkernels.zoo.mrd_flow.apply.infer`."""
        return infer(self.module, self.structure, sample)

    def predict(self, inputs: Data, out_dir: str | Path | None = None) -> dict[str, Any]:
        """Judge every event of samples.

        Parameters
        ----------
        inputs : path or samples
            A folder or file as `medkernels.zoo.mrd_flow.data` describes it, or samples.
        out_dir : path, optional
            Where to write ``mrd.csv`` (a line a sample), for each sample ``<name>.events.csv`` (a line an
            event: probability and 1 for a blast, both empty where the event was not judged), and for FCS
            files ``<name>.mrd.fcs``: the events as they were, with the channels MRD_PROBABILITY and
            MRD_BLAST, -1 where the event was not judged.

        Returns
        -------
        dict
            ``samples`` (names), ``events``, ``judged``, ``blasts`` (numbers), ``mrd`` (share of blasts among
            the judged events), ``skipped`` files and ``files`` written; without `out_dir` also ``of_events``,
            by sample: ``probabilities`` and ``blast`` of the judged events.

        Raises
        ------
        FileNotFoundError, ValueError
            If no sample can be used.
        """
        target = None if out_dir is None else Path(out_dir)
        return predict(self.module, self.structure, self.reading, inputs, target)

    def evaluate(self, data: Data) -> dict[str, float]:
        """Mean precision, recall and F1 over samples, and the median F1.

        Parameters
        ----------
        data : path or samples
            Samples whose blasts nobody marked are left out.

        Raises
        ------
        FileNotFoundError, ValueError
            If no sample can be judged.
        """
        return evaluate(self.module, self.structure, self.reading, data)

    def demo(self, out_dir: str | Path) -> Path:
        """Train on generated FCS files and write ``report.html``; takes about a minute.

        The system's own settings are not used. The trained system is saved in ``out_dir/model``.
        """
        from medkernels.zoo.mrd_flow.demo import run_demo

        return run_demo(Path(out_dir))
