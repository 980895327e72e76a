"""Shannon entropy of the lengths of bars, summed one by one."""

from __future__ import annotations

from math import isinf, log

import numpy as np
import numpy.typing as npt


def persistence_entropy(diagram: npt.NDArray[np.float64], normalize: bool) -> float:
    """Entropy of a diagram [n, 2] in nats; between 0 and 1 when normalised."""
    lengths = [death - birth for birth, death in diagram if not isinf(death) and death > birth]
    total = sum(lengths)
    entropy = -sum(length / total * log(length / total) for length in lengths)
    return entropy / log(len(lengths)) if normalize and len(lengths) > 1 else entropy
