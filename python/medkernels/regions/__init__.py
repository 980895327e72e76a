"""Regions of pictures and volumes: components of masks, component trees, stable regions, highlights."""

from medkernels.regions._found import Regions as Regions
from medkernels.regions.area_open import area_open
from medkernels.regions.fill_holes import fill_holes
from medkernels.regions.label import Measures as Measures
from medkernels.regions.label import label
from medkernels.regions.max_tree import MaxTree as MaxTree
from medkernels.regions.max_tree import max_tree
from medkernels.regions.mmser import mmser
from medkernels.regions.mser import mser
from medkernels.regions.saturation_mask import saturation_mask
from medkernels.regions.specular_mask import specular_mask

__all__ = [
    "area_open",
    "fill_holes",
    "label",
    "max_tree",
    "mmser",
    "mser",
    "saturation_mask",
    "specular_mask",
]
