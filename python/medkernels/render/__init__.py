"""Differentiable soft primitives over a background."""

from medkernels.render.ellipses import ellipses
from medkernels.render.ellipsoids import ellipsoids

__all__ = ["ellipses", "ellipsoids"]
