"""One HTML page of all results, with plots; it needs no network and reads well on light and dark screens."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from medkernels.benchmarks.runner.cases import BOTH, FORWARD, OURS
from medkernels.benchmarks.runner.files import write_whole
from medkernels.benchmarks.runner.run import BUDGETS
from medkernels.benchmarks.runner.tables import amount, left_out_lines, table_rows, target_rows
from medkernels.benchmarks.runner.timing import FEWEST, MOST

# Text and lines are drawn in a colour that occurs nowhere else, and then take that of the page.
INK = "#010203"
PALETTE = ("#3b7dd8", "#d9822b", "#8f5bc4", "#2f9e77", "#c8507d", "#8a8f2e")  # on white and on near-black
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.frameon": False,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "medkernels",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def write_page(result: dict[str, Any], path: Path) -> Path:
    """Write the page of what `run_benchmarks` returned."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    machine = {"gpu": "", "busy": "", **result["machine"]}
    ops = [_op(name, op) for name, op in result["ops"].items()]
    details = list(_flat({**result["machine"], **result["settings"]}))
    page = template.render(
        machine=machine,
        settings=result["settings"],
        ops=ops,
        details=details,
        budget=f"{BUDGETS[result['settings']['sizes']]:g}",
        fewest=FEWEST,
        most=MOST,
    )
    return write_whole(path, page)


def _op(name: str, op: dict[str, Any]) -> dict[str, Any]:
    rows = table_rows(op)
    return {
        "name": name,
        "title": op["title"],
        "copy_rate": amount(op["ceilings"]["copy_bytes_per_s"], "B/s"),
        "fma_rate": amount(op["ceilings"]["fma_flop_per_s"], "flop/s"),
        "units": op["units"],
        "targets": target_rows(op),
        "left_out": left_out_lines(op),
        "figures": list(_figures(op)),
        "columns": list(rows[0]),
        "rows": rows,
    }


def _figures(op: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with mpl.rc_context(STYLE):
        compared = [row for row in op["rows"] if not row["curve"]]
        providers = list(dict.fromkeys(row["provider"] for row in compared))
        if len(providers) > 1:
            yield {
                "svg": _bars(compared, providers, "seconds_median", "median time, s"),
                "caption": "Time (log scale).",
            }
            if all(row["memory_bytes"] is not None for row in compared):
                svg = _bars(compared, providers, "memory_bytes", "peak memory, bytes")
                yield {"svg": svg, "caption": "Peak memory beyond the inputs (log scale)."}
        curves = list(dict.fromkeys(row["curve"] for row in op["rows"] if row["curve"]))
        ours = [row for row in op["rows"] if row["provider"] == OURS]
        for curve in curves:
            points = [row for row in ours if row["curve"] == curve]
            caption = f"Growth with {curve}. " + " ".join(_slopes(points, "at", curve))
            yield {"svg": _growth(points, "at", curve), "caption": caption}
        # Only where the least work is known are the units what time must grow with.
        if curves and all(row["bound"] for row in ours):
            caption = f"Time over {op['units']}, all cases. " + " ".join(_slopes(ours, "units", op["units"]))
            yield {"svg": _growth(ours, "units", op["units"], joined=False), "caption": caption}


def _bars(rows: list[dict[str, Any]], providers: list[str], key: str, label: str) -> Markup:
    groups = list(dict.fromkeys((row["case"], row["direction"]) for row in rows))
    figure = Figure(figsize=(7, 0.9 + 0.32 * len(groups) * len(providers)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(providers)
    for i, provider in enumerate(providers):
        values = {(row["case"], row["direction"]): row[key] for row in rows if row["provider"] == provider}
        shift = (i - (len(providers) - 1) / 2) * height
        bars = [(g + shift, values[group]) for g, group in enumerate(groups) if group in values]
        at, lengths = [bar[0] for bar in bars], [bar[1] for bar in bars]
        axes.barh(at, lengths, height, label=provider, color=PALETTE[i % len(PALETTE)])
    axes.set(
        xscale="log", xlabel=label, yticks=range(len(groups)), yticklabels=["\n".join(g) for g in groups]
    )
    axes.invert_yaxis()
    figure.legend(loc="outside upper left", ncols=len(providers))
    return _svg(figure)


def _growth(rows: list[dict[str, Any]], key: str, label: str, *, joined: bool = True) -> Markup:
    figure = Figure(figsize=(4.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for i, direction in enumerate((FORWARD, BOTH)):
        points = sorted(
            (row[key], row["seconds_median"]) for row in rows if row["direction"] == direction and row[key]
        )
        x, y = [p[0] for p in points], [p[1] for p in points]
        if points:
            axes.plot(x, y, "o-" if joined else "o", ms=4, label=direction, color=PALETTE[i])
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="median time, s")
    for axis in (axes.xaxis, axes.yaxis):  # between the decades there is no room for numbers
        axis.set_minor_formatter(NullFormatter())
    axes.legend()
    return _svg(figure)


def _slopes(rows: list[dict[str, Any]], key: str, label: str) -> Iterator[str]:
    """How the time grows at the upper end, where fixed costs no longer count: 1 is linear."""
    for direction in (FORWARD, BOTH):
        points = sorted(
            (row[key], row["seconds_median"]) for row in rows if row["direction"] == direction and row[key]
        )
        top = [(math.log(x), math.log(y)) for x, y in points if x >= points[-1][0] / 100]
        mean_x, mean_y = (sum(p[i] for p in top) / max(1, len(top)) for i in (0, 1))
        spread = sum((x - mean_x) ** 2 for x, _ in top)
        if spread > 0:
            slope = sum((x - mean_x) * (y - mean_y) for x, y in top) / spread
            yield f"{direction}: time goes as {label} to the power {slope:.2f} over the upper two decades."


def _svg(figure: Figure) -> Markup:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    # Matplotlib's own text: no part of it comes from outside but case names, which it escapes.
    return Markup(text.getvalue()[text.getvalue().index("<svg") :].replace(INK, "currentColor"))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
