"""The zoo: published systems that run on the kernels, found and created by name.

A system is a folder of this package that holds ``system.py`` (a class under `register`) and
``card.md``. Importing ``medkernels.zoo`` reads folder names only; a system's code, and with it torch,
is loaded when the system is asked for.

>>> from medkernels import zoo
>>> "asr" in zoo.list_systems()
True
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from medkernels.zoo.engine import System

__all__ = ["SystemInfo", "card", "create", "list_systems", "register", "system_class", "system_info"]

_FOLDER = Path(__file__).parent
_C = TypeVar("_C", bound=type)


@dataclass(frozen=True)
class SystemInfo:
    """What a system says of itself when it registers.

    Attributes
    ----------
    name : str
        The name it is created by; for systems of this package also the folder's name.
    title : str
        One line: the job it does.
    paper : str
        The publication it follows, as a citation with its arXiv id or DOI.
    number : int or None
        Its place in the zoo's list of papers.
    system : type
        The registered class.
    """

    name: str
    title: str
    paper: str
    number: int | None
    system: type[System]


_REGISTERED: dict[str, SystemInfo] = {}


def register(name: str, *, title: str, paper: str, number: int | None = None) -> Callable[[_C], _C]:
    """Class decorator that puts a system into the zoo under `name`.

    Parameters
    ----------
    name : str
        A Python identifier; for a system of this package, the name of its folder.
    title, paper : str
        One line each; see `SystemInfo`.
    number : int, optional
        Its place in the zoo's list of papers.

    Returns
    -------
    callable
        The decorator; it returns the class unchanged.

    Raises
    ------
    ValueError
        If `name` is not an identifier, or another class already holds it.
    """
    if not name.isidentifier():
        raise ValueError(f"name must be a Python identifier such as 'asr', got {name!r}")

    def add(cls: _C) -> _C:
        held = _REGISTERED.get(name)
        # The same class comes back when its module is reloaded; that is no conflict.
        if held is not None and (held.system.__module__, held.system.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(
                f"name {name!r} is already held by {held.system.__module__}.{held.system.__qualname__}"
            )
        _REGISTERED[name] = SystemInfo(name=name, title=title, paper=paper, number=number, system=cls)
        return cls

    return add


def list_systems() -> list[str]:
    """Names of all systems, sorted; nothing heavy is imported.

    Returns
    -------
    list of str
        Systems of this package, and those registered by the caller's own modules.
    """
    folders = {path.parent.name for path in _FOLDER.glob("*/card.md")}
    return sorted(folders | _REGISTERED.keys())


def card(name: str) -> str:
    """The system's card: its job, the paper's numbers and ours, what was left open, how to run it.

    Parameters
    ----------
    name : str
        One of `list_systems`.

    Returns
    -------
    str
        Markdown.

    Raises
    ------
    ValueError
        If there is no such system.
    FileNotFoundError
        If the system came without a ``card.md`` beside its module.
    """
    _check_name(name)
    folder = _FOLDER / name
    if not (folder / "card.md").is_file():
        folder = Path(inspect.getfile(_REGISTERED[name].system)).parent
    return (folder / "card.md").read_text(encoding="utf-8")


def system_info(name: str) -> SystemInfo:
    """What the system registered about itself; imports the system's code.

    Parameters
    ----------
    name : str
        One of `list_systems`.

    Returns
    -------
    SystemInfo

    Raises
    ------
    ValueError
        If there is no such system.
    ImportError
        If a library that the system needs is not installed; the message says how to get it.
    """
    _check_name(name)
    if name not in _REGISTERED:
        _load(name)
    return _REGISTERED[name]


def system_class(name: str) -> type[System]:
    """The class registered under `name`; imports the system's code.

    Parameters
    ----------
    name : str
        One of `list_systems`.

    Returns
    -------
    type
        A class that follows `medkernels.zoo.engine.System`.

    Raises
    ------
    ValueError, ImportError
        As `system_info`.
    """
    return system_info(name).system


def create(name: str, **config: Any) -> System:
    """Create a system by name.

    Parameters
    ----------
    name : str
        One of `list_systems`.
    **config
        Passed to the class; its docstring lists them.

    Returns
    -------
    System

    Raises
    ------
    ValueError, ImportError
        As `system_info`.
    TypeError
        If the system has no option of that name.
    """
    cls = system_class(name)
    # Of __init__, not of the class: mix-ins that define __new__ hide the arguments from some Pythons.
    options = inspect.signature(cls.__init__).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in options.values())
    for key in config:
        if key not in options and not takes_any:
            raise TypeError(f"system {name!r} has no option {key!r}{_hint(key, list(options))}")
    return cls(**config)


def _check_name(name: str) -> None:
    names = list_systems()
    if name not in names:
        raise ValueError(f"name: there is no system {name!r}{_hint(name, names)}")


def _hint(given: str, known: list[str]) -> str:
    """The end of an error line: the nearest known name, or all of them."""
    near = difflib.get_close_matches(str(given).lower(), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(known)}" if known else "; there are none"


def _load(name: str) -> None:
    try:
        importlib.import_module(f"{__name__}.{name}.system")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "medkernels"}:
            raise
        raise ImportError(
            f"system {name!r} needs {missing}; install the zoo's libraries: pip install 'medkernels[zoo]'"
        ) from error
    if name not in _REGISTERED:
        raise ImportError(f"{name}/system.py registers no class under the name {name!r}")
