"""The comparison of labels sees what differs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from medkernels.benchmarks import label


def test_labels_that_differ_are_seen() -> None:
    one, two = np.array([0, 1, 1, 2]), np.array([0, 5, 6, 2])
    assert label.compare_labels({"result": one}, {"result": one * 3})["largest"] == 0
    assert label.compare_labels({"result": one}, {"result": two})["largest"] > 0
