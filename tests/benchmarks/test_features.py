"""The benchmark of affine-covariant features: what is counted of what each provider finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("scipy")

from medkernels.benchmarks import affine_covariant
from medkernels.benchmarks.runner import places


def test_providers_find_the_same_places() -> None:
    case = affine_covariant.cases("small")[0]
    inputs = case.inputs("cpu", 0)
    ours = affine_covariant.PROVIDERS[0].run(inputs, False)
    for peer in affine_covariant.PROVIDERS[1:]:
        pytest.importorskip(peer.library)
        theirs = peer.run(inputs, False)
        assert peer.compare(ours, theirs)["largest"] <= peer.allows("largest")
        assert peer.amounts is not None
        listed, distinct, right = peer.amounts(inputs, theirs).values()
        assert listed == len(theirs["result"]) >= distinct > right > 0


def test_targets_name_cases_and_providers() -> None:
    full = affine_covariant.cases("full")
    assert {target.case for target in affine_covariant.TARGETS} <= {case.name for case in full}
    assert {target.provider for target in affine_covariant.TARGETS} < {
        provider.name for provider in affine_covariant.PROVIDERS
    }


@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
@settings(max_examples=30)
def test_distinct_features(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    points, scales = random.random((count, 2)) * 12, np.exp(random.random(count) * 2)
    kept: list[int] = []
    for i in range(count):
        again = [
            j
            for j in kept
            if np.hypot(*(points[i] - points[j])) <= 2 and 0.5 <= (scales[i] / scales[j]) ** 2 <= 2
        ]
        if not again:
            kept.append(i)
    assert np.flatnonzero(places.distinct(points, scales)).tolist() == kept


def test_slanted_pictures() -> None:
    """A blob is seen where the map moves it, and shortened along the slant."""
    x0, y0 = 74.0, 52.0
    y, x = np.mgrid[:101, :121]
    seen = places.slanted(np.rint(255 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 72)).astype(np.uint8))
    weights = seen / seen.sum(dtype=float)
    mean = np.array([(weights * x).sum(), (weights * y).sum()])
    middle = places.centre(seen)
    assert np.allclose(mean, places.slant() @ (np.array([x0, y0]) - middle) + middle, atol=0.05)
    offsets = np.stack([x - mean[0], y - mean[1]])
    spread = np.sqrt(np.linalg.eigvalsh(np.einsum("hw,ihw,jhw->ij", weights, offsets, offsets)))
    assert np.allclose(spread, [3.0, 6.0], rtol=0.05)


def test_right_matches() -> None:
    random = np.random.default_rng(0)
    image = np.zeros((80, 100), np.uint8)
    points, descriptors = random.random((30, 2)) * [100, 80], random.random((30, 128)).astype(np.float32)
    middle = places.centre(image)
    moved = (points - middle) @ places.slant().T + middle
    moved[:10] += 5
    points[29], descriptors[29] = (
        points[28] + 0.1,
        descriptors[28],
    )  # only one is matched
    found = places.right_matches(image, points, np.ones(30), descriptors, moved, descriptors)
    assert found == places.distinct(points[10:29], np.ones(19)).sum()
