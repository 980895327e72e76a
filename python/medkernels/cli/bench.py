"""`medkernels bench`."""

from __future__ import annotations

import importlib.util
import os
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from medkernels import benchmarks
from medkernels.cli.output import error_line, print_json

NEEDED = ("torch", "jinja2", "matplotlib")


class Sizes(str, Enum):
    """How much to run."""

    small = "small"
    full = "full"


class Device(str, Enum):
    """Where to run."""

    cpu = "cpu"
    cuda = "cuda"


def _known(names: list[str] | None) -> list[str] | None:
    for name in names or []:
        if name not in benchmarks.list_ops():
            raise typer.BadParameter(f"no benchmark {name!r}; there are: {', '.join(benchmarks.list_ops())}")
    return names


def bench(
    ops: Annotated[
        list[str] | None,
        typer.Argument(help="Ops to measure; all if none is named.", metavar="[OP]...", callback=_known),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also run the other libraries; takes minutes.")
    ] = False,
    sizes: Annotated[Sizes, typer.Option(help="small takes seconds, full minutes.")] = Sizes.full,
    threads: Annotated[int | None, typer.Option(help="CPU threads; those in use if left out.", min=1)] = None,
    device: Annotated[Device, typer.Option(help="Where to run.")] = Device.cpu,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the JSON file and the page.", file_okay=False)
    ] = Path("runs/bench"),
    profile: Annotated[
        bool, typer.Option("--profile", help="Leave a trace of one run of each op instead of timing it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON, not as tables.")
    ] = False,
) -> None:
    """Ours beside the best existing library, same inputs, outputs compared.

    Writes results.json and index.html; ends with status 1 if outputs differ. Best on an idle machine.

    Examples:
      medkernels bench
      medkernels bench ellipses --peers --threads 2
      medkernels bench ellipses --device cuda --profile
    """
    # Idle OpenMP threads of torch would else spin and take cores from the provider whose turn is next.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"bench needs {', '.join(missing)}: pip install 'medkernels[bench,torch]'")
    # Imported here: they load torch and matplotlib, which `medkernels --help` must not wait for.
    from medkernels.benchmarks.runner import files, page, profiling, run

    if profile:
        for line in profiling.trace(ops or benchmarks.list_ops(), sizes.value, device.value, out):
            print(line)
        return
    result = run.run_benchmarks(
        ops or [], peers=peers, sizes=sizes.value, threads=threads, device=device.value, say=error_line
    )
    written = [files.write_json(result, out / "results.json"), page.write_page(result, out / "index.html")]
    if as_json:
        print_json(result)
    else:
        _show(result)
        print("\n".join(str(path) for path in written))


def _show(result: dict[str, Any]) -> None:
    from medkernels.benchmarks.runner import tables

    if result["machine"]["busy"]:
        error_line(result["machine"]["busy"])
    for name, op in result["ops"].items():
        top = op["ceilings"]
        copy = tables.amount(top["copy_bytes_per_s"], "B/s")
        fma = tables.amount(top["fma_flop_per_s"], "flop/s")
        rows = [{column: row[column] for column in tables.ON_SCREEN} for row in tables.table_rows(op)]
        _table(f"{name}: copy ceiling {copy}, multiply-add ceiling {fma}", rows)
        for line in tables.left_out_lines(op):
            print(line)
        if op["targets"]:
            _table(f"{name}: targets", tables.target_rows(op))


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    if not console.is_terminal:  # in a file or a pipe a line is as long as it needs to be
        console = Console(width=Measurement.get(console, console.options.update(width=1000), table).maximum)
    console.print(table)
