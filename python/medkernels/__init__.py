"""Fast, differentiable structure kernels for medical imaging, and a zoo of published systems on top.

``medkernels.attention``
    Sparse attention: chosen queries, chosen keys, memories; differentiable.
``medkernels.features``
    Local features of images that deform with them, and matching of their descriptors.
``medkernels.points``
    Point sets: samples that cover them, and neighbours.
``medkernels.regions``
    Regions of pictures and volumes: connected components, component trees, stable regions, highlights.
``medkernels.render``
    Differentiable soft ellipses and ellipsoids.
``medkernels.segmentation``
    From the logits of a segmentation network to labels and losses, without the upsampled logits.
``medkernels.topology``
    Persistent homology: diagrams of clouds and time series, their distances and summaries, differentiable.
``medkernels.distributed``
    Cohorts of subjects on Dask, with results in Zarr.
``medkernels.zoo``
    Published systems, ready to fit, predict, evaluate, save and report.

Arrays of NumPy, PyTorch, CuPy and JAX go in, the same kind comes out.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from medkernels._backends import (
    BackendError,
    MedkernelsWarning,
    __version__,
    get_num_threads,
    info,
    set_num_threads,
)

if TYPE_CHECKING:
    from medkernels import (
        attention,
        distributed,
        features,
        points,
        regions,
        render,
        segmentation,
        topology,
        zoo,
    )

__all__ = [
    "BackendError",
    "MedkernelsWarning",
    "__version__",
    "attention",
    "distributed",
    "features",
    "get_num_threads",
    "info",
    "points",
    "regions",
    "render",
    "segmentation",
    "set_num_threads",
    "topology",
    "zoo",
]

_SUBMODULES = (
    "attention",
    "distributed",
    "features",
    "points",
    "regions",
    "render",
    "segmentation",
    "topology",
    "zoo",
)


def __getattr__(name: str) -> ModuleType:
    """Load a domain when it is first used, so that ``import medkernels`` stays quick."""
    if name in _SUBMODULES:
        return importlib.import_module(f"medkernels.{name}")
    raise AttributeError(f"module 'medkernels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
