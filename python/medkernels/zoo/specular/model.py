"""The detector and its settings: nothing in it is learned by gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medkernels.regions import specular_mask
from medkernels.regions.mmser import LARGEST_SHARE
from medkernels.regions.specular_mask import PATCH_SHARE
from medkernels.zoo.specular.inpainting import Bools, Pixels, check_picture

WHITE = 255


@dataclass(frozen=True)
class Detector:
    """Marks specular highlights: small bright regions that stand out, and small pale patches.

    Areas are shares of the picture, so settings that were chosen on frames of one size suit another.

    Attributes
    ----------
    delta : int
        Grey levels, 1 to 255, over which the growth of a bright region is measured: its sensitivity. The
        less, the fainter the highlights that count.
    min_area : int
        Least number of pixels of a bright region.
    max_share : float
        A bright region takes less than this share of the picture, in (0, 1]; larger ones are tissue.
    patch_share : float
        Largest share of the picture that a pale patch may take, in [0, 1]; 0 leaves pale patches out.
    """

    delta: int = 25
    min_area: int = 3
    max_share: float = LARGEST_SHARE
    patch_share: float = PATCH_SHARE

    def __post_init__(self) -> None:
        for name, value, most in (("delta", self.delta, WHITE), ("min_area", self.min_area, math.inf)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
                end = f"from 1 to {most}" if math.isfinite(most) else "of at least 1"
                raise ValueError(f"{name} must be a whole number {end}, got {value!r}")
        for name, share, least in (
            ("max_share", self.max_share, "above 0"),
            ("patch_share", self.patch_share, "at least 0"),
        ):
            number = isinstance(share, (int, float, np.number)) and not isinstance(share, bool)
            if not number or not 0 <= share <= 1 or (share == 0 and name == "max_share"):
                raise ValueError(f"{name} must be a number {least} and at most 1, got {share!r}")
        for name, kind in (("delta", int), ("min_area", int), ("max_share", float), ("patch_share", float)):
            object.__setattr__(self, name, kind(getattr(self, name)))  # NumPy's numbers are no JSON

    def max_area(self, pixels: int) -> int:
        """Bright regions of a picture with so many pixels have fewer than this."""
        return max(round(self.max_share * pixels), self.min_area + 1)

    def max_patch(self, pixels: int) -> int:
        """Most pixels of a pale patch in a picture with so many."""
        return max(round(self.patch_share * pixels), 1) if self.patch_share else 0

    def __call__(self, rgb: Pixels) -> Bools:
        """The mask [H,W] of a picture's highlights; `rgb` is [H,W,3] uint8."""
        rgb = check_picture(rgb)
        pixels = rgb.shape[0] * rgb.shape[1]
        found: npt.NDArray[np.bool_] = specular_mask(
            rgb,
            delta=self.delta,
            min_area=self.min_area,
            max_area=self.max_area(pixels),
            max_patch=self.max_patch(pixels),
        )
        return found
