"""The commands and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medkernels.cli import USAGE
from medkernels.cli.bench import bench
from medkernels.cli.info import show_info, version_line
from medkernels.cli.output import error_line
from medkernels.cli.zoo import make_demo, zoo

# Typer carries its own copy of click from some version on; its usage errors are reached through the one
# that Typer exports.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="Fast structure kernels for medical imaging, and published systems that run on them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(zoo, name="zoo")
app.command()(bench)


def run(words: list[str]) -> int:
    """Run the command in `words` and return the exit status; a usage error is one line."""
    try:
        status = app(words, prog_name="medkernels", standalone_mode=False)
    except UsageError as error:
        context = error.ctx
        command = context.command_path if context is not None else "medkernels"
        message = " ".join(error.format_message().split()).rstrip(".")
        if message:  # there is none where no command was given: the help is on the screen then
            error_line(f"{message}; see `{command} --help`")
        return USAGE
    return status if isinstance(status, int) else 0


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version_line())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    """Options before the command: the version is shown by its callback, --debug is read by `main`."""


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """What this build can do here: version, compiler, SIMD level, threads, GPU, frameworks.

    Examples:
      medkernels info
      medkernels info --json | jq .threads
    """
    show_info(as_json=as_json)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report and the model.", file_okay=False)
    ] = Path("demo/asr"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The main job on real tissue: explain a histology image as ellipses, in demo/asr/report.html.

    The same as `medkernels zoo demo asr`; takes a few minutes on two cores.

    Examples:
      medkernels demo
      medkernels demo --out /tmp/asr
    """
    make_demo("asr", out, as_json=as_json)
