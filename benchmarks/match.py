"""`medkernels.features.match` beside OpenCV's brute-force matcher and FAISS's flat index.

The peers work on the CPU, also where ours does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import (
    BEST,
    FORWARD,
    Case,
    Inputs,
    Outputs,
    Provider,
    Target,
    Work,
)
from medkernels.benchmarks.runner.compare import Differences, compare_arrays

import medkernels
from medkernels import get_num_threads

TITLE = "Nearest and second nearest descriptors with the ratio test, 128 numbers or bytes each"
UNITS = "pairs of descriptors"
DIRECTIONS = (FORWARD,)

NUMBERS, BYTES = "float32, 5000 x 5000", "uint8, 5000 x 5000"
LENGTH = 128  # of SIFT
RATIO = 0.91
NO_BYTES = "its flat index holds float32 only"


def cases(sizes: str) -> list[Case]:
    """The comparison in numbers and bytes, then a curve over the number of descriptors."""
    if sizes == "small":
        return [
            _case("float32, 60 x 60", 60, np.float32),
            _case("uint8, 60 x 60", 60, np.uint8),
            *(_case(f"descriptors {n}", n, np.float32, "descriptors") for n in (50, 100)),
        ]
    return [
        _case(NUMBERS, 5000, np.float32),
        _case(BYTES, 5000, np.uint8),
        *(_case(f"descriptors {n}", n, np.float32, "descriptors") for n in (500, 1000, 2000, 5000, 10000)),
        *(_case(f"bytes {n}", n, np.uint8, "bytes") for n in (500, 1000, 2000, 5000, 10000)),
    ]


def _case(name: str, count: int, dtype: type, curve: str = "") -> Case:
    excluded = {"FAISS": NO_BYTES} if dtype == np.uint8 else {}
    return Case(
        name,
        lambda device, seed: _inputs(count, dtype, device, seed),
        _work,
        curve,
        count if curve else 0,
        None,
        excluded,
    )


def _inputs(count: int, dtype: type, device: str, seed: int) -> Inputs:
    """Whole numbers of length 512, as OpenCV's SIFT gives; a third of both sets differ by noise only."""
    rng = np.random.default_rng(seed)
    sets = rng.exponential(size=(2, count, LENGTH))
    sets[1, : count // 3] = sets[0, : count // 3] + 0.3 * rng.normal(size=(count // 3, LENGTH))
    sets = np.abs(sets)
    sets *= 512 / np.linalg.norm(sets, axis=2, keepdims=True)
    d1, d2 = np.rint(sets).clip(0, 255).astype(dtype)
    ready = [sets if device == "cpu" else torch.from_numpy(sets).to(device) for sets in (d1, d2)]
    return {"d1": ready[0], "d2": ready[1], "host": (d1, d2)}


def _work(inputs: Inputs, backward: bool) -> Work:
    """A product of two matrices; whole numbers have no measured ceiling."""
    (k1, length), (k2, _) = (sets.shape for sets in inputs["host"])
    if inputs["host"][0].dtype == np.uint8:
        return Work(k1 * k2)
    return Work(k1 * k2, 2.0 * k1 * k2 * length, 4.0 * (k1 + k2) * length)


def _outputs(inputs: Inputs, matches: Any, distances: Any) -> Outputs:
    return {"result": (len(inputs["host"][0]), matches, distances)}


def _rows(found: Outputs) -> Outputs:
    """What `compare_arrays` reads: for each descriptor its match and distance, -1 where there is none."""
    count, *parts = found["result"]
    matches, distances = (torch.as_tensor(part).cpu().numpy() for part in parts)
    result = np.full((count, 2), -1.0)
    result[matches[:, 0]] = np.stack([matches[:, 1], distances], axis=1)
    return {"result": result}


def compare_matches(ours: Outputs, theirs: Outputs) -> Differences:
    """Differences of the numbers of matches and of distances."""
    return compare_arrays(_rows(ours), _rows(theirs))


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    return _outputs(inputs, *medkernels.features.match(inputs["d1"], inputs["d2"], ratio=RATIO))


def _opencv(inputs: Inputs, backward: bool) -> Outputs:
    import cv2

    if cv2.getNumThreads() != get_num_threads():
        cv2.setNumThreads(get_num_threads())
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(*inputs["host"], k=2)
    kept = [(m.queryIdx, m.trainIdx, m.distance) for m, n in pairs if m.distance <= RATIO * n.distance]
    found = np.array(kept).reshape(-1, 3)
    return _outputs(inputs, found[:, :2].astype(int), found[:, 2])


def _faiss(inputs: Inputs, backward: bool) -> Outputs:
    import faiss

    faiss.omp_set_num_threads(get_num_threads())
    queries, targets = inputs["host"]
    index = faiss.IndexFlatL2(targets.shape[1])
    index.add(targets)
    squared, nearest = index.search(queries, 2)
    distances = np.sqrt(np.maximum(squared, 0))
    kept = np.flatnonzero(distances[:, 0] <= np.float32(RATIO) * distances[:, 1])
    matches = np.stack([kept, nearest[kept, 0]], axis=1)
    return _outputs(inputs, matches, distances[kept, 0])


PROVIDERS = (
    Provider("medkernels", _ours),
    Provider("OpenCV", _opencv, 1e-2, 1e-5, compare=compare_matches, library="cv2"),
    Provider("FAISS", _faiss, 1e-2, 1e-5, compare=compare_matches, library="faiss"),
)
TARGETS = (Target(NUMBERS, FORWARD, BEST, 1.5), Target(BYTES, FORWARD, BEST, 1.5))
