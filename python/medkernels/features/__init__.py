"""Local features of images: matching of their descriptors."""

from medkernels.features.match import match

__all__ = ["match"]
