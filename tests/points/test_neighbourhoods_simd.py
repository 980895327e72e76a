"""What is taken over neighbours is the same with every instruction set."""

from __future__ import annotations

from tests.instruction_sets import printed_with_each

CODE = """
import hashlib
import numpy as np
import medkernels as mk

found, rng = hashlib.sha256(), np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    points = rng.normal(size=(300, 3)).astype(dtype)
    table = mk.points.knn(points, k=27)[0]
    table[rng.random(table.shape) < 0.1] = -1
    axes = mk.points.local_reference_axis(points, table)
    features, ordered = mk.points.rotation_invariant_features(points, axes, np.arange(300), table)
    weights = mk.points.edge_softmax(rng.normal(size=(300, 27, 3)).astype(dtype), table)
    pulled = np.empty_like(weights)
    mk._core.points.edge_softmax_backward(weights * weights, weights, pulled)
    values = rng.normal(size=(1, 300, 3, 11)).astype(dtype)
    sums = mk.points.gather_sum(values[0], table, weights=weights)[None]
    back, products = np.empty_like(values), np.empty_like(weights)[None]
    mk._core.points.gather_sum_transposed(sums, table[None], weights[None], back)
    mk._core.points.gather_sum_products(values, sums, table[None], products)
    for array in (axes, features, ordered, weights, pulled, sums, back, products):
        found.update(np.ascontiguousarray(array).tobytes())
print(found.hexdigest())
"""


def test_instruction_sets_agree() -> None:
    assert len(printed_with_each(CODE)) == 1
