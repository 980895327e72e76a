"""Stand-in data: groups that differ in the loops that their series draw, and in nothing simpler."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medkernels.zoo.topo_mci.cohort import Cohort, from_arrays

CLASSES = ("clock", "surrogate")
ROIS, SAMPLES = 12, 120
HUBS = 4  # the first ROIs, which differ between the groups
PERIOD = (5.0, 9.0)  # samples a turn of the clock
DIFFUSION = 0.25  # standard deviation of a phase step beyond the regular one, rad
NOISE = 0.15

Floats = npt.NDArray[np.float64]


def clocks(rng: np.random.Generator) -> Floats:
    """Series [12,120]: each the cosine of a phase that turns with its own period and diffuses, and noise."""
    steps = 2 * np.pi / rng.uniform(*PERIOD, (ROIS, 1)) + DIFFUSION * rng.standard_normal((ROIS, SAMPLES))
    phases = rng.uniform(0, 2 * np.pi, (ROIS, 1)) + steps.cumsum(axis=1)
    return np.asarray(np.cos(phases) + NOISE * rng.standard_normal(phases.shape))


def surrogate(series: Floats, rng: np.random.Generator) -> Floats:
    """Series [...,T] with the same power spectrum and random phases."""
    length = series.shape[-1]
    spectrum = np.fft.rfft(series)
    turned = spectrum * np.exp(1j * rng.uniform(0, 2 * np.pi, spectrum.shape))
    turned[..., 0] = spectrum[..., 0]
    if length % 2 == 0:  # the last component of an even length is real
        turned[..., -1] = spectrum[..., -1]
    return np.asarray(np.fft.irfft(turned, length))


def stand_in(subjects: int = 60, seed: int = 0) -> Cohort:
    """A cohort of two groups in turn, with 12 ROIs of 120 samples.

    All series are noisy clocks. In the second group the first four ROIs are replaced by surrogates with
    random phases: power spectra and correlations stay, but the loop that the window draws is filled.

    Parameters
    ----------
    subjects : int
    seed : int
        Of all that is random; a subject depends on it and on its own number alone.
    """
    labels = np.arange(subjects) % 2
    people = []
    for number, label in enumerate(labels):
        rng = np.random.default_rng([seed, number])
        series = clocks(rng)
        if label == 1:
            series[:HUBS] = surrogate(series[:HUBS], rng)
        people.append(series)
    return from_arrays(people, labels, CLASSES)
