"""The demonstration: generated FCS files, raw as a cytometer writes them, from training to labelled files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from medkernels.zoo.engine import FitOptions, Report
from medkernels.zoo.mrd_flow.acceptance import OPTIONS, STRUCTURE, one_thread
from medkernels.zoo.mrd_flow.apply import judge
from medkernels.zoo.mrd_flow.cohort import gather, split
from medkernels.zoo.mrd_flow.metrics import summarised
from medkernels.zoo.mrd_flow.model import build
from medkernels.zoo.mrd_flow.raw_files import write_raw
from medkernels.zoo.mrd_flow.report import add_result, add_samples
from medkernels.zoo.mrd_flow.standin import CHANNELS, EVENTS, stand_in
from medkernels.zoo.mrd_flow.system import MRDFlow
from medkernels.zoo.mrd_flow.training import train_network

PARTS = {"train": 40, "valid": 8, "test": 24}
BASELINES = {"mlp": "each event on its own", "st": "attention induced by 16 learnt points"}
LARGE = 300_000  # events of a whole sample, as many as a real one has on average
TRAINING: dict[str, Any] = OPTIONS | {"checkpoint_every_epochs": 5}


def run_demo(out_dir: Path) -> Path:
    """Train and judge on generated files, and write ``report.html`` and a model into ``out_dir``."""
    data = out_dir / "data"
    parts = [part for part, count in PARTS.items() for _ in range(count)]
    for number, (part, sample) in enumerate(zip(parts, stand_in(len(parts)), strict=True)):
        write_raw(data / part / f"s{number:02d}.fcs", sample)
    system = MRDFlow(picks=STRUCTURE.picks)
    with one_thread():
        system.fit(data, out_dir / "run", events=EVENTS, resume=False, **TRAINING)
        samples, _ = gather(data, system.reading, out_dir / "run" / "samples", progress=False)
        groups = split(samples, 0)
        rows = judge(system.module, STRUCTURE, groups["test"])
        table: list[dict[str, object]] = [
            {"network": system.model, "context": "nearest events and sampled events", **summarised(rows)}
        ]
        for model, context in BASELINES.items():
            network = build(model, len(system.reading.markers))
            train_network(
                network,
                STRUCTURE,
                groups["train"],
                groups["valid"],
                out_dir / "baselines" / model,
                FitOptions(**TRAINING, resume=False),
                events=EVENTS,
                jitter=0.01,
                smoothing=0.1,
            )
            found = summarised(judge(network, STRUCTURE, groups["test"]))
            table.append({"network": model, "context": context, **found})
    system.save_pretrained(out_dir / "model")

    large = out_dir / "large" / "large.fcs"
    write_raw(large, stand_in(1, seed=1, events=LARGE)[0])
    started = time.perf_counter()
    answer = system.predict(large, out_dir / "large")
    seconds = time.perf_counter() - started

    report = Report(
        "Blasts found by what lies around them",
        "mrd_flow on generated FCS files: a graph of nearest events, and attention induced by sampled ones",
    )
    report.section(
        "Networks",
        f"{len(parts)} raw FCS files of {EVENTS} events in {CHANNELS} channels, which are compensated, "
        "brought to the logicle scale and cleaned as they are read. Blasts lie a fixed step away from "
        "*one* healthy population of their sample, while each instrument shifts every channel by about as "
        "much: where an event lies says little, where it lies among the others decides.",
    )
    report.table(
        [{name.replace("_", " "): value for name, value in row.items()} for row in table],
        f"Means over {PARTS['test']} test samples; {TRAINING['max_epochs']} epochs each.",
    )
    add_result(report, rows, "test samples")
    add_samples(report, system, groups["test"], rows)
    report.section(
        "A whole sample",
        f"`medkernels zoo predict mrd_flow` on one FCS file of {LARGE} events, all in one pass: a table and "
        "an FCS file of labelled events are written beside it. Training and its curves: `run/report.html`.",
    )
    report.metrics({"events judged": int(answer["judged"][0]), "MRD": float(answer["mrd"][0]), "s": seconds})
    return report.save(out_dir / "report.html")
