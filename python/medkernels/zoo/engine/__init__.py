"""What every zoo system is given: training, checkpoints, logs, reports, saving and loading.

`fit` trains, with exact resume; `Report` writes an HTML page; `System` is what a system must offer,
`Fitted` what its ``fit`` returns and `HubSystem` the mix-in that saves and loads it. Each name is
imported when first used, so a report needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medkernels.zoo.engine.options import FitOptions
    from medkernels.zoo.engine.report import Report
    from medkernels.zoo.engine.system import Fitted, HubSystem, System
    from medkernels.zoo.engine.training import FitResult, NonFiniteError, fit

__all__ = ["FitOptions", "FitResult", "Fitted", "HubSystem", "NonFiniteError", "Report", "System", "fit"]

_HOME = {
    "FitOptions": "options",
    "FitResult": "training",
    "Fitted": "system",
    "HubSystem": "system",
    "NonFiniteError": "training",
    "Report": "report",
    "System": "system",
    "fit": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
