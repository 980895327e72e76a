"""Stand-in data: blasts that only their place beside a healthy population of the same sample betrays."""

from __future__ import annotations

import numpy as np

from medkernels.zoo.mrd_flow.sample import Sample

EVENTS = 1500
CHANNELS = 10
HEALTHY = 7  # populations
SHIFT, GAIN = 0.35, 0.05  # standard deviations of the instrument's offset and gain, by sample and channel
DRIFT = 0.1  # of a population's mean, by sample
MOVED = (0, 3, 6)  # channels in which blasts lie apart from the population that they resemble
APART = (0.8, -0.6, 0.5)
RESEMBLED = 2  # the population beside which blasts lie
BLAST_SPREAD = 0.2
SHARES = (0.01, 0.3)  # of blasts, log-uniform
POPULATIONS_SEED = 20  # of what all samples share


def stand_in(count: int, seed: int = 0, *, events: int = EVENTS, hidden: bool = False) -> list[Sample]:
    """Samples of seven healthy Gaussian populations and one of blasts, in ten channels.

    Each sample has an instrument of its own, which shifts and stretches every channel by more than blasts
    lie apart: where an event lies says little, where it lies among the others decides.

    Parameters
    ----------
    count : int
        Samples.
    seed : int
        Of all that is random; a sample depends on it and on its own number alone.
    events : int
        In each sample.
    hidden : bool
        Take the three channels in which blasts differ out of the features, and leave them to the graph.
    """
    shared = np.random.default_rng(POPULATIONS_SEED)
    means = shared.uniform(0.7, 3.7, (HEALTHY, CHANNELS))
    spreads = shared.uniform(0.15, 0.35, (HEALTHY, CHANNELS))
    seen = [c for c in range(CHANNELS) if not (hidden and c in MOVED)]
    samples = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        blasts = round(events * float(np.exp(rng.uniform(*np.log(SHARES)))))
        drifted = means + DRIFT * rng.standard_normal(means.shape)
        owner = rng.choice(HEALTHY, events - blasts, p=rng.dirichlet(np.full(HEALTHY, 2.0)))
        healthy = drifted[owner] + spreads[owner] * rng.standard_normal((events - blasts, CHANNELS))
        center = drifted[RESEMBLED].copy()
        center[list(MOVED)] += APART
        leukaemic = center + BLAST_SPREAD * rng.standard_normal((blasts, CHANNELS))
        values = np.concatenate([healthy, leukaemic])
        values = values * (1 + GAIN * rng.standard_normal(CHANNELS)) + SHIFT * rng.standard_normal(CHANNELS)
        order = rng.permutation(events)
        values = values[order].astype(np.float32)
        labels = (order >= events - blasts).astype(np.int8)
        space = values if hidden else None
        samples.append(Sample(f"sample {number:03d}", values[:, seen], labels, space))
    return samples
