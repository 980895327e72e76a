"""`medkernels zoo`: the published systems."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from medkernels import zoo as systems
from medkernels.cli.output import error_line, print_json, print_table, save_result, scalars, summary
from medkernels.cli.settings import split_settings

zoo = typer.Typer(
    help="Published systems: list them, train them on your data, apply and judge them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def _known(name: str) -> str:
    if name not in systems.list_systems():
        try:
            systems.card(name)
        except ValueError as error:  # it names the nearest system
            raise typer.BadParameter(str(error).removeprefix("name: ")) from error
    return name


Name = Annotated[
    str,
    typer.Argument(
        help="One of `medkernels zoo list`.",
        metavar="NAME",
        callback=_known,
        autocompletion=systems.list_systems,
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        help="Folder (or file) with the data; the layout stands on the system's card.",
        exists=True,
        show_default=False,
    ),
]


def _folder_or_hub(model: str | None) -> str | None:
    if model is None:
        return None
    named_as_path = model.startswith((".", "/", "~")) or model.count("/") != 1
    if named_as_path and not Path(model).is_dir():
        raise typer.BadParameter(f"{model!r} is neither a folder here nor a hub name such as 'owner/name'")
    return model


Model = Annotated[
    str | None,
    typer.Option(
        help="Folder of a saved system, or its name on the Hugging Face hub; may be left out for a system "
        "that learns nothing.",
        callback=_folder_or_hub,
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="An option of a system used without --model; repeatable."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@zoo.command("list")
def list_systems(as_json: AsJson = False) -> None:
    """All systems, with the job each does.

    Examples:
      medkernels zoo list
      medkernels zoo list --json
    """
    rows = [{"name": name, "job": _title(systems.card(name))} for name in systems.list_systems()]
    if as_json:
        print_json(rows)
    else:
        print_table("Systems", rows)


@zoo.command()
def card(name: Name, as_json: AsJson = False) -> None:
    """A system's card: its job, the paper's numbers and ours, and how to run it on your data.

    Examples:
      medkernels zoo card asr
      medkernels zoo card asr > asr.md
    """
    text = systems.card(name)
    if as_json:
        print_json({"name": name, "card": text})
    elif sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        print(text)


@zoo.command()
def fit(
    name: Name,
    data: Data,
    run_dir: Annotated[
        Path,
        typer.Option(
            help="Folder for checkpoints, logs, model and report.", file_okay=False, show_default=False
        ),
    ],
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Items a step, over all processes.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a gain.", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.", min=0)] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed, 16-mixed, ...")] = None,
    accelerator: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    devices: Annotated[int | None, typer.Option(help="Processes a node.", min=1)] = None,
    num_nodes: Annotated[int | None, typer.Option(help="Nodes.", min=1)] = None,
    num_workers: Annotated[int | None, typer.Option(help="Processes that load data.", min=0)] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over; the default goes on with the run.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="An option of the system or the training; repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a system on your data; the same command again goes on with a run that was stopped.

    What is not given is the system's own choice. The trained system is saved in RUN_DIR/model.

    Examples:
      medkernels zoo fit asr --data slides/ --run-dir runs/a --epochs 40
      medkernels zoo fit asr --data slides/ --run-dir runs/b --set lr=0.002
    """
    given = {
        "max_epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "patience": patience,
        "seed": seed,
        "precision": precision,
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": num_nodes,
        "num_workers": num_workers,
        "resume": False if restart else None,
        "progress": False if quiet else None,
    }
    flags = {key: value for key, value in given.items() if value is not None}
    config, options = split_settings(systems.system_class(name), flags, settings or [])
    system = systems.create(name, **config)
    result = system.fit(data, run_dir, **options)
    if getattr(result, "rank", 0) != 0:
        return
    _name_skipped(result)
    model = getattr(result, "model", None)
    if model is None:  # a system that does not save itself
        model = run_dir / "model"
        system.save_pretrained(model)
    told = {"system": name, "run_dir": str(run_dir), "model": str(model), "result": summary(result)}
    _show(f"{name}: trained", told, as_json=as_json)


@zoo.command()
def evaluate(
    name: Name, data: Data, model: Model = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Metrics of a trained system on your data.

    Examples:
      medkernels zoo evaluate asr --model runs/a/model --data test/
      medkernels zoo evaluate asr --model runs/a/model --data test/ --json
      medkernels zoo evaluate specular --data frames/ --set delta=20
    """
    metrics = _load(name, model, settings).evaluate(data)
    _show(f"{name}: metrics", summary(metrics), as_json=as_json)


@zoo.command()
def predict(
    name: Name,
    data: Data,
    model: Model = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", file_okay=False)] = Path(
        "predictions"
    ),
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Apply a trained system to your data: predictions.json, with its arrays in predictions.npz.

    Examples:
      medkernels zoo predict asr --model runs/a/model --data new/ --out out/
      medkernels zoo predict asr --model you/asr-thyroid --data new/
      medkernels zoo predict specular --data video.mp4 --out out/
    """
    system = _load(name, model, settings)
    # Some systems also write tables and pictures of their own.
    own = {"out_dir": out} if "out_dir" in inspect.signature(system.predict).parameters else {}
    result = system.predict(data, **own)
    _name_skipped(result)
    written = [str(path) for path in save_result(result, out)]
    written += [str(out / file) for file in _part(result, "files")] if own else []
    if as_json:
        print_json({"system": name, "files": written})
    else:
        print("\n".join(written))


@zoo.command()
def demo(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for report and model; demo/NAME if left out.", file_okay=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a system at work on real or generated data, and write an HTML report.

    Examples:
      medkernels zoo demo asr
    """
    make_demo(name, out or Path("demo") / name, as_json=as_json)


def make_demo(name: str, out: Path, *, as_json: bool) -> None:
    """Run a system's demonstration and print where its report is."""
    report = systems.create(name).demo(out)
    if as_json:
        print_json({"system": name, "report": str(report)})
    else:
        print(report)


def _load(name: str, model: str | None, settings: list[str] | None) -> Any:
    """The saved system, or without one a system that needs no training, with these settings."""
    from safetensors import SafetensorError  # comes with the extra `zoo`, as the systems do

    system = systems.system_class(name)
    if model is None:
        if getattr(system, "learned", True):
            raise typer.BadParameter(
                f"{name} must be trained first: give --model, the folder of a trained one"
            )
        config, others = split_settings(system, {}, settings or [])
        if others:
            raise typer.BadParameter(f"{', '.join(others)}: of the training, not of the system")
        return systems.create(name, **config)
    if settings:
        raise typer.BadParameter("--set goes without --model: a saved system keeps its own options")
    try:
        return system.from_pretrained(model)
    except SafetensorError as error:
        raise ValueError(f"{model} holds no readable weights: {error}") from error


def _part(result: Any, name: str) -> Sequence[Any]:
    found: Sequence[Any] = result.get(name, ()) if isinstance(result, Mapping) else getattr(result, name, ())
    return found


def _name_skipped(result: Any) -> None:
    """Name the files that could not be used, each with its reason, and say how many there were."""
    skipped = _part(result, "skipped")
    for path, reason in skipped:
        error_line(f"skipped {path}: {reason}")
    if skipped:
        error_line(f"files skipped: {len(skipped)}")


def _title(card: str) -> str:
    """The job a card names: its heading without the system's own name."""
    heading = next((line.lstrip("# ") for line in card.splitlines() if line.startswith("#")), "")
    return heading.partition(": ")[2] or heading


def _show(title: str, values: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        print_table(title, [{"name": key, "value": value} for key, value in scalars(values).items()])
