"""Which options given on the command line go to a system, and which to its training."""

from __future__ import annotations

import difflib
import inspect
import json
from dataclasses import fields
from typing import Any

import typer

from medkernels.zoo.engine import FitOptions


def split_settings(
    cls: type, flags: dict[str, Any], settings: list[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options for a system's constructor, and for its ``fit``.

    Parameters
    ----------
    cls : type
        The system's class. Its constructor's parameters, and those of ``fit`` after the data and the
        run folder, are what may be set; a ``fit`` that takes ``**options`` takes those of `FitOptions`.
    flags : dict
        Values already read.
    settings : list of str
        Each ``key=value``; a value that is JSON (``0.1``, ``true``, ``null``, ``[8,16]``) is read as
        such, anything else is a string.

    Returns
    -------
    tuple of dict
        For the constructor, and for ``fit``.

    Raises
    ------
    typer.BadParameter
        If a setting is not of that form, or nothing takes an option of that name.
    """
    values = flags | dict(_pair(setting) for setting in settings)
    # Not inspect.signature(cls): the hub's mix-in defines a __new__ that hides the constructor's own.
    for_class = _names(cls.__init__, skip=1)  # type: ignore[misc]
    for_fit = _names(getattr(cls, "fit"), skip=3)  # noqa: B009
    if None in for_fit:
        for_fit |= {field.name for field in fields(FitOptions)}
    known = sorted(name for name in for_class | for_fit if name is not None)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise typer.BadParameter(f"this system has no option {key!r}; {hint}")
    config = {key: value for key, value in values.items() if key in for_class}
    return config, {key: value for key, value in values.items() if key not in for_class}


def _names(function: Any, *, skip: int) -> set[str | None]:
    """Parameter names after the first `skip`; None stands for ``**anything``."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named | ({None} if any(p.kind is p.VAR_KEYWORD for p in parameters) else set())


def _pair(setting: str) -> tuple[str, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not key.isidentifier():
        raise typer.BadParameter(f"--set wants key=value, got {setting!r}")
    try:
        return key, json.loads(text)
    except json.JSONDecodeError:
        return key, text
