"""What features of images are worth: places that differ, and matches that are right."""

from __future__ import annotations

import numpy as np

NEAR = 2.0  # pixels between two features of one place
ALIKE = np.sqrt(2.0)  # and the ratio of their scales, at most
RIGHT = 3.0  # pixels between where a feature is matched to and where it is

SLANT, ALONG = 2.0, np.deg2rad(30)  # foreshortening, and its direction


def distinct(places: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Whether each feature is the first of its place: [n] bool.

    Features [n,2] with scales [n] come strongest first; one is left out if an earlier one that is kept lies
    within `NEAR` and has a scale within a factor of `ALIKE`.
    """
    from scipy.spatial import cKDTree

    kept = np.ones(len(places), dtype=bool)
    pairs = cKDTree(places).query_pairs(NEAR, output_type="ndarray")
    ratios = scales[pairs[:, 0]] / scales[pairs[:, 1]]
    pairs = np.sort(pairs[(ratios <= ALIKE) & (ratios >= 1 / ALIKE)], axis=1)
    pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
    later, starts = np.unique(pairs[:, 1], return_index=True)
    for feature, begin, end in zip(later, starts, np.append(starts, len(pairs))[1:], strict=True):
        kept[feature] = not kept[pairs[begin:end, 0]].any()
    return kept


def slant() -> np.ndarray:
    """The map [2,2] of points (x, y) around the centre of a picture to where one from the side shows them."""
    turn = np.array([[np.cos(ALONG), -np.sin(ALONG)], [np.sin(ALONG), np.cos(ALONG)]])
    return turn @ np.diag([1 / SLANT, 1.0]) @ turn.T


def slanted(image: np.ndarray) -> np.ndarray:
    """The picture [H,W], uint8, from that side, blurred along the slant as the pixels of a camera would."""
    from scipy.ndimage import map_coordinates

    height, width = image.shape
    # What a blur of 0.5 pixels in the slanted picture takes away from one of 0.5 in the picture itself.
    sigma = 0.5 * np.sqrt(SLANT**2 - 1)
    frequency = np.cos(ALONG) * np.fft.rfftfreq(width) + np.sin(ALONG) * np.fft.fftfreq(height)[:, None]
    spectrum = np.fft.rfft2(image) * np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    blurred = np.fft.irfft2(spectrum, image.shape)
    rows, columns = np.mgrid[:height, :width]
    middle = centre(image)
    x, y = np.einsum("ij,jkl->ikl", np.linalg.inv(slant()), np.stack([columns - middle[0], rows - middle[1]]))
    seen = map_coordinates(blurred, [y + middle[1], x + middle[0]], order=3, mode="nearest")
    return np.rint(seen.clip(0, 255)).astype(np.uint8)


def centre(image: np.ndarray) -> np.ndarray:
    """The point (x, y) of a picture [H,W] that `slant` leaves where it is."""
    return (np.array(image.shape[::-1]) - 1) / 2


def right_matches(
    image: np.ndarray,
    places: np.ndarray,
    scales: np.ndarray,
    descriptors: np.ndarray,
    slanted_places: np.ndarray,
    slanted_descriptors: np.ndarray,
) -> int:
    """Places of a picture whose feature is matched to where `slant` moves it.

    Matches are each other's nearest. A ratio test would reject features that a list holds more than once.
    """
    import medkernels

    pairs, _ = medkernels.features.match(descriptors, slanted_descriptors, ratio=1.0, mutual=True)
    middle = centre(image)
    wanted = (places[pairs[:, 0]] - middle) @ slant().T + middle
    right = np.hypot(*(slanted_places[pairs[:, 1]] - wanted).T) < RIGHT
    found = np.sort(pairs[right, 0])
    return int(distinct(places[found], scales[found]).sum())
