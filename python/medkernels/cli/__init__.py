"""The command line, `medkernels`.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C. An error is one line on the error
stream; ``--debug`` anywhere on the line shows the traceback instead.

``medkernels info`` needs NumPy only; the other commands need Typer and Rich, which come with the
extras ``zoo`` and ``bench``.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence

__all__ = ["main"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

# What bad data, bad settings or the machine can cause. Anything else is a mistake of ours and keeps its
# traceback, so that it can be reported.
EXPECTED = (
    ArithmeticError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name; those of the process if None.

    Returns
    -------
    int
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _run(words)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except EXPECTED as error:
        if debug:
            traceback.print_exc()
        else:
            _say(_one_line(error))
        status = FAILED
    if status == INTERRUPTED:
        _say("interrupted")
    return status


def _run(words: list[str]) -> int:
    if importlib.util.find_spec("typer") is None or importlib.util.find_spec("rich") is None:
        return _run_bare(words)
    from medkernels.cli.app import run

    return run(words)


def _run_bare(words: list[str]) -> int:
    """The commands that need no library; a hint for the others."""
    from medkernels.cli.info import show_info, version_line

    if words == ["--version"]:
        print(version_line())
    elif words[:1] == ["info"] and words[1:] in ([], ["--json"]):
        show_info(as_json=len(words) > 1)
    else:
        _say(
            "without Typer and Rich there are only `medkernels info [--json]` and `medkernels --version`; "
            "for the rest: pip install 'medkernels[zoo]'"
        )
        return USAGE
    return 0


def _one_line(error: BaseException) -> str:
    # str() of a KeyError is the bare key, which says nothing without the kind of error.
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError):
        text = f"{type(error).__name__} {text}".strip()
    return text


def _say(text: str) -> None:
    print(f"medkernels: {text}", file=sys.stderr)
