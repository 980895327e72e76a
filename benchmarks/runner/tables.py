"""Rows as people read them."""

from __future__ import annotations

from typing import Any

from medkernels.benchmarks.runner.cases import OURS

Row = dict[str, Any]

ON_SCREEN = ("case", "provider", "median", "spread", "faster", "memory", "share of ceiling", "note")


def seconds(value: float) -> str:
    """A time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def amount(value: float | None, unit: str) -> str:
    """A count with a decimal prefix."""
    if value is None:
        return "-"
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def table_rows(op: dict[str, Any]) -> list[Row]:
    """All measurements of an op in the order they were made; `faster` is ours against the row's provider."""
    ours = {(row["case"], row["direction"]): row for row in op["rows"] if row["provider"] == OURS}
    return [_told(row, ours[row["case"], row["direction"]]) for row in op["rows"]]


def target_rows(op: dict[str, Any]) -> list[Row]:
    """The op's targets with what was measured."""
    return [
        {
            "case": f"{target['case']}, {target['direction']}" + _per(target["per"]),
            "against": _against(target),
            "faster, wanted": f"{target['faster']:g}x",
            "measured": f"{target['measured_faster']:.1f}x",
            "memory, at most": _part(target["memory_share"]),
            "memory, measured": _part(target["measured_share"]),
            "met": "yes" if target["met"] else "no",
        }
        for target in op["targets"]
    ]


def left_out_lines(op: dict[str, Any]) -> list[str]:
    """Peers that did not run, and why; a reason is told once for all cases that share it."""
    cases: dict[tuple[str, str], list[str]] = {}
    for row in op["left_out"]:
        cases.setdefault((row["provider"], row["reason"]), []).append(row["case"])
    return [f"{provider} left out of {'; '.join(names)}: {why}" for (provider, why), names in cases.items()]


def _against(target: Row) -> str:
    chosen, named = target["against"], target["provider"]
    return str(named) if chosen == named else f"{named}: {chosen}"


def _per(amount_name: str) -> str:
    return f", time / {amount_name}" if amount_name else ""


def _told(row: Row, ours: Row) -> Row:
    peer = row["provider"] != OURS
    return {
        "case": f"{row['case']}, {row['direction']}",
        "provider": row["provider"],
        "median": seconds(row["seconds_median"]),
        "spread": f"{seconds(row['seconds_lower'])} - {seconds(row['seconds_upper'])}",
        "runs": row["seconds_runs"],
        "faster": f"{row['seconds_median'] / ours['seconds_median']:.1f}x" if peer else "",
        "memory": amount(row.get("memory_bytes"), "B"),
        "units": amount(row["units"], ""),
        "per unit": seconds(row["seconds_median"] / row["units"]) if row["units"] else "-",
        "share of ceiling": f"{row['share_of_ceiling']:.1%} {row['bound']}" if row["bound"] else "-",
        "difference": f"{row['differences']['largest']:.1g}" if peer else "",
        "note": _note(row),
    }


def _note(row: Row) -> str:
    notes = [] if row["seconds_warm"] else ["one run, no warm-up"]
    if row.get("amounts"):
        notes.append(", ".join(f"{count} {name}" for name, count in row["amounts"].items()))
    if row.get("items_at_once"):
        notes.append(f"memory: {row['items_at_once']} of the batch at a time")
    return "; ".join(notes)


def _part(share: float | None) -> str:
    return "-" if share is None else f"1/{1 / share:.3g}"
