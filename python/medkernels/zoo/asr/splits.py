"""Which cases are trained on, which watch the training, and which judge it; a case is never torn apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medkernels.zoo.asr.data import PatchSet

HELD_OUT, VALIDATION = 0.2, 0.15  # shares of the cases


def split_cases(
    labels: npt.NDArray[np.int64], share: float, seed: int, among: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split cases into two groups, each class in the same proportion; a case is never torn apart.

    Parameters
    ----------
    labels : [cases]
    share : of the second group, rounded in each class.
    seed : of the random choice.
    among : the cases to split; all if None.

    Returns
    -------
    tuple of arrays
        Sorted case indices of the first and the second group; the second may be empty.
    """
    rng = np.random.default_rng([seed, len(labels)])
    pool = np.arange(len(labels)) if among is None else among
    second: list[int] = []
    for label in np.unique(labels[pool]):
        members = rng.permutation(pool[labels[pool] == label])
        second.extend(members[: round(share * len(members))].tolist())
    chosen = np.array(sorted(second), np.int64)
    return np.setdiff1d(pool, chosen), chosen


def split_patches(patches: PatchSet, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Patch indices: "held_out" cases (only where there are classes to judge), "valid" and "train" cases.

    "learn" is "train" and "valid" together. A single case is split by patches; a single patch serves as both.
    """
    everything = np.arange(len(patches.cases))
    rest, held_out = (
        split_cases(patches.labels, HELD_OUT, seed) if patches.labelled else (everything, everything[:0])
    )
    train, valid = split_cases(patches.labels, VALIDATION, seed + 1, among=rest)
    parts = {
        name: patches.of_cases(cases)
        for name, cases in (("train", train), ("valid", valid), ("held_out", held_out))
    }
    learn = patches.of_cases(rest)
    if not len(parts["valid"]):
        mixed = np.random.default_rng(seed).permutation(learn)
        count = max(1, round(VALIDATION * len(mixed)))
        parts["valid"] = np.sort(mixed[:count])
        parts["train"] = np.sort(mixed[count:]) if len(mixed) > 1 else learn
    return parts | {"learn": learn}
