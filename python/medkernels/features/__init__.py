"""Local features of images: detection, description, matching."""

from medkernels.features.affine_covariant import affine_covariant
from medkernels.features.match import match

__all__ = ["affine_covariant", "match"]
