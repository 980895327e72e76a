"""Persistent homology: clouds and series to diagrams, distances between diagrams, summaries of them."""

from medkernels.topology.betti_curve import betti_curve
from medkernels.topology.persistence_entropy import persistence_entropy
from medkernels.topology.persistence_image import persistence_image
from medkernels.topology.sliding_window import sliding_window
from medkernels.topology.vietoris_rips import vietoris_rips
from medkernels.topology.wasserstein import wasserstein
from medkernels.topology.wasserstein_matrix import wasserstein_matrix

__all__ = [
    "betti_curve",
    "persistence_entropy",
    "persistence_image",
    "sliding_window",
    "vietoris_rips",
    "wasserstein",
    "wasserstein_matrix",
]
