"""Orientations of a scan, and small scans in them."""

from __future__ import annotations

import itertools

import numpy as np

from medkernels.zoo.totalct_sam.volume import Volume

ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def turned_affine(axes, signs, sizes=(1.0, 2.0, 3.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * sizes)[:, list(axes)] * np.array(signs)
    affine[:3, 3] = (7, -5, 3)
    return affine


def random_volume(shape=(5, 6, 7), affine=None, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes + 1, shape).astype(np.uint8)
    values = rng.integers(-1000, 1000, shape).astype(np.int16)
    return Volume("random", values, np.eye(4) if affine is None else affine, labels)
