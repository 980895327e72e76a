"""The acceptance check on the stand-in: distances between diagrams against correlations, same network.

Run it with ``python -m medkernels.zoo.topo_mci.acceptance``; it prints the agreement with the peer libraries
(ripser.py and persim, of the extra ``bench``), the rank-sum check, and one row a seed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels.zoo.engine import FitOptions
from medkernels.zoo.topo_mci.cohort import Cohort
from medkernels.zoo.topo_mci.learners import one_thread
from medkernels.zoo.topo_mci.persistence import Chain, Floats, pearson_matrices, pr_matrices
from medkernels.zoo.topo_mci.rank_sum import p_map
from medkernels.zoo.topo_mci.splits import accuracies, run_splits
from medkernels.zoo.topo_mci.standin import HUBS, stand_in
from medkernels.zoo.topo_mci.system import TRAINING

SUBJECTS = 60
HELD_OUT = 0.4
SEEDS = 3
CHECKED = 4  # subjects whose diagrams and distances the peers compute too
CHAIN = Chain(max_dim=1, zscore=True)


def compare(cohort: Cohort, matrices: Floats, seed: int, work: Path, **options: Any) -> dict[str, float]:
    """Held-out accuracy of the CNN on PR matrices in H0 and H1 and on Pearson matrices.

    Parameters
    ----------
    cohort, matrices : the stand-in and its PR matrices [N,2,n,n].
    seed : of split and weights.
    work : folder for checkpoints.
    **options : of `FitOptions`; the published training where nothing else is given.
    """
    settings = FitOptions(**(TRAINING | {"seed": seed, "tensorboard": False} | options))
    sources = {"h0": matrices[:, 0], "h1": matrices[:, 1], "pearson": pearson_matrices(cohort.series)}
    found = {}
    for name, table in sources.items():
        with one_thread():
            splits = run_splits(
                table, cohort.labels, ["cnn"], 1, HELD_OUT, work / name, settings, init_seed=seed
            )
        found[name] = accuracies(splits, cohort.labels)["cnn"]["mean"]
    return found


def rank_sum_check(cohort: Cohort, matrices: Floats) -> dict[str, float]:
    """Median p of pairs of a hub and another ROI, and the share of p < 0.01 among the other ROIs."""
    found = {}
    others = np.triu_indices(len(cohort.rois) - HUBS, 1)
    for k in range(matrices.shape[1]):
        p = p_map(matrices[:, k], cohort.labels == 0).p
        found[f"h{k}_hubs_median_p"] = float(np.median(p[:HUBS, HUBS:]))
        found[f"h{k}_others_below_0.01"] = float((p[HUBS:, HUBS:][others] < 0.01).mean())
    return found


def peer_check(series: Sequence[npt.NDArray[np.float64]], chain: Chain = CHAIN) -> dict[str, float]:
    """Greatest differences from ripser.py's diagrams and persim's distances.

    Raises
    ------
    ImportError
        If ripser or persim is not installed.
    """
    import persim
    import ripser

    bars = distances = 0.0
    for one in series:
        ours, matrices = chain.diagrams(one), chain.matrices(one)
        peers = [ripser.ripser(cloud, maxdim=chain.max_dim)["dgms"] for cloud in chain.embed(one)]
        for k in range(chain.max_dim + 1):
            for mine, theirs in zip(ours, peers, strict=True):
                bars = max(bars, _gap(mine[k], theirs[k]))
            finite = [dgms[k][np.isfinite(dgms[k][:, 1])] for dgms in peers]
            for i, first in enumerate(finite):
                for j in range(i):
                    gap = abs(persim.wasserstein(first, finite[j]) - matrices[k, i, j])
                    distances = max(distances, gap)
    return {"diagrams_gap": bars, "distances_gap": distances}


def _gap(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """Greatest difference of two diagrams, both sorted; infinite if they differ in their number of bars."""
    if len(first) != len(second):
        return np.inf
    a, b = (np.where(np.isinf(bars), -1.0, bars) for bars in (first, second))
    a, b = (bars[np.lexsort(bars.T[::-1])] for bars in (a, b))
    return float(np.abs(a - b).max(initial=0.0))


def main() -> None:
    """Run all checks and print what they give."""
    started = time.perf_counter()
    for seed in range(SEEDS):
        begun = time.perf_counter()
        cohort = stand_in(SUBJECTS, seed)
        matrices = pr_matrices(cohort.series, CHAIN)
        found: dict[str, float] = {"seed": seed}
        if seed == 0:
            found |= peer_check(cohort.series[:CHECKED])
        with tempfile.TemporaryDirectory() as work:
            found |= compare(cohort, matrices, seed, Path(work))
        found |= rank_sum_check(cohort, matrices)
        found["seconds"] = time.perf_counter() - begun
        print("  ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)
    print(f"total seconds {time.perf_counter() - started:.4g}")


if __name__ == "__main__":
    main()
