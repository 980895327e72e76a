"""Stand-in frames: reddish tissue, patches of white tissue, and highlights that no threshold separates.

A highlight is brighter than what it lies on, and a third of them lie on white tissue, which itself is as
bright as highlights elsewhere. So only structure tells them apart: highlights are small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import expit

SIZE = (144, 192)
BASE = (0.66, 0.34, 0.28)  # red, green and blue of tissue at the centre of the picture
TEXTURE = 0.06  # standard deviation, as a share of the tissue's brightness
TEXTURE_SIGMA = 2.0  # px
VIGNETTE = 0.35  # share of the light that is lost in the corners
WHITE_AXES = ((12.0, 24.0), (9.0, 16.0))  # semi-axes of patches of white tissue, px
WHITE_LEVEL = (0.6, 0.8)
WHITE_COLOR = (1.04, 1.0, 0.95)  # pale: what a patch's level is multiplied with
WHITE_RIM = 1.0  # px in which the cover of a patch falls from 1/2 to 27 %
HIGHLIGHTS = (25, 45)  # least and most in a frame
HIGHLIGHT_AXES = (0.8, 4.5)  # semi-axes, px
HIGHLIGHT_GAIN = (0.25, 0.5)  # above the local intensity
HIGHLIGHT_RIM = 0.2
FADED = 5.0  # rims away, an ellipse covers less than 1 %
GAIN = (0.75, 1.05)  # of the whole frame
NOISE = 0.008

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Pixels = npt.NDArray[np.uint8]


class Frame(NamedTuple):
    """A frame [H,W,3], and the mask [H,W] of its highlights."""

    rgb: Pixels
    truth: Bools


def stand_in(frames: int = 10, seed: int = 0, size: tuple[int, int] = SIZE) -> list[Frame]:
    """Frames with their masks.

    Parameters
    ----------
    frames : int
    seed : int
        Of all that is random; a frame depends on it and on its own number alone.
    size : (height, width)
        Sizes of structures are in pixels and do not follow it; their number does.
    """
    return [draw_frame(np.random.default_rng([seed, number]), size) for number in range(frames)]


def draw_frame(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> Frame:
    """One frame and the mask of its highlights, where these cover more than half of what lies below."""
    tissue, white = draw_tissue(rng, size)
    rgb, alpha = draw_speculars(rng, tissue, white, draw_count(rng, size))
    return Frame(expose(rng, rgb), alpha > 0.5)


def draw_count(rng: np.random.Generator, size: tuple[int, int]) -> int:
    """How many highlights a frame of this size gets."""
    share = size[0] * size[1] / (SIZE[0] * SIZE[1])
    return max(round(int(rng.integers(HIGHLIGHTS[0], HIGHLIGHTS[1] + 1)) * share), 1)


def draw_tissue(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> tuple[Floats, Bools]:
    """Tissue [H,W,3] in [0,1] without highlights, and the mask [H,W] of its white parts."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    off_center = ((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2
    texture = gaussian_filter(rng.standard_normal(size), TEXTURE_SIGMA, mode="reflect")
    light = (1 - 2 * VIGNETTE * off_center) * (1 + TEXTURE * texture / texture.std())
    rgb = np.array(BASE) * light[..., None]
    white = np.zeros(size, bool)
    for _ in range(int(rng.integers(1, 3))):
        axes = np.array([rng.uniform(*span) for span in WHITE_AXES])
        center = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height])
        cover = _ellipse(size, center, axes, rng.uniform(0, np.pi), WHITE_RIM)
        # Half of the tissue's texture shows through.
        pale = rng.uniform(*WHITE_LEVEL) * np.array(WHITE_COLOR) * (1 + (light - 1) / 2)[..., None]
        rgb += cover[..., None] * (pale - rgb)
        white |= cover > 0.5
    return rgb.clip(0, 1), white


def draw_speculars(rng: np.random.Generator, rgb: Floats, white: Bools, count: int) -> tuple[Floats, Floats]:
    """Draw `count` highlights on tissue, a third of them on its white parts if there are any.

    Parameters
    ----------
    rng : numpy.random.Generator
    rgb : [H,W,3]
        In [0,1]; not changed.
    white : [H,W]
    count : int

    Returns
    -------
    rgb : [H,W,3]
    alpha : [H,W]
        How much of each pixel is highlight, in [0,1].
    """
    size = (rgb.shape[0], rgb.shape[1])
    out, alpha = rgb.copy(), np.zeros(size)
    intensity = rgb.mean(axis=2)
    grounds = {True: np.argwhere(white), False: np.argwhere(~white)}
    for number in range(count):
        ground = grounds[number % 3 == 0]
        if len(ground) == 0:
            ground = grounds[number % 3 != 0]
        row, column = ground[rng.integers(len(ground))]
        center = np.array([column, row]) + rng.uniform(-0.5, 0.5, 2)
        axes = rng.uniform(*HIGHLIGHT_AXES, 2)
        cover = _ellipse(size, center, axes, rng.uniform(0, np.pi), HIGHLIGHT_RIM)
        peak = min(intensity[row, column] + rng.uniform(*HIGHLIGHT_GAIN), 1.0)
        out += cover[..., None] * np.maximum(peak - out, 0)
        alpha = np.maximum(alpha, cover)
    return out, alpha


def expose(rng: np.random.Generator, rgb: Floats) -> Pixels:
    """What a camera makes of it: a gain, noise, and 8 bits."""
    seen = rgb * rng.uniform(*GAIN) + NOISE * rng.standard_normal(rgb.shape)
    return np.asarray(np.round(seen.clip(0, 1) * 255), np.uint8)


def _ellipse(size: tuple[int, int], center: Floats, axes: Floats, angle: float, rim: float) -> Floats:
    """Cover [H,W] of an ellipse at (x, y): 1 inside, 1/2 on its line, 0 outside, fading in a few `rim` px."""
    height, width = size
    reach = float(axes.max() * (1 + FADED * rim / axes.min()))
    left, top = (int(max(place - reach, 0)) for place in center)
    right, bottom = (
        int(min(place + reach + 1, end)) for place, end in zip(center, (width, height), strict=True)
    )
    y, x = np.mgrid[top:bottom, left:right]
    dx, dy = x - center[0], y - center[1]
    along = (dx * np.cos(angle) + dy * np.sin(angle)) / axes[0]
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / axes[1]
    cover = np.zeros(size)
    inside = (1 - np.hypot(along, across)) * axes.min()  # px to the line, along the shorter axis
    cover[top:bottom, left:right] = expit(inside / rim)
    return cover
