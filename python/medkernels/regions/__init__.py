"""Regions of pictures and volumes: connected components of masks, component trees of images."""

from medkernels.regions.area_open import area_open
from medkernels.regions.fill_holes import fill_holes
from medkernels.regions.label import Measures as Measures
from medkernels.regions.label import label
from medkernels.regions.max_tree import MaxTree as MaxTree
from medkernels.regions.max_tree import max_tree

__all__ = ["area_open", "fill_holes", "label", "max_tree"]
