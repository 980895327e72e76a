"""totalct_sam: orientations, spacings and values of scans."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkernels.zoo.totalct_sam.volume import Volume, prepare
from tests.zoo.totalct_sam_scans import ORIENTATIONS, random_volume, turned_affine


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_every_orientation_there_and_back(axes, signs):
    volume = random_volume(affine=turned_affine(axes, signs))
    scan = prepare(volume, None)
    assert np.allclose(scan.affine[:3, :3], np.diag([1, 2, 3]))  # right, anterior, superior
    assert np.array_equal(scan.restored(scan.labels), volume.labels)
    assert np.array_equal(scan.carried(volume.labels), scan.labels)
    for voxel in np.ndindex(volume.values.shape):
        place = volume.affine @ [*voxel, 1]
        at = tuple(np.rint(scan.voxels(place[:3])).astype(int))
        assert scan.values[at] == volume.values[voxel]


def test_a_turned_and_sheared_scan_keeps_its_places():
    affine = np.array([[0.9, 0.1, 0, 5], [-0.1, 0.9, 0.3, 1], [0, 0, 2.5, -4], [0, 0, 0, 1.0]])
    volume = random_volume(affine=affine)
    scan = prepare(volume, None)
    place = affine[:3] @ [2, 3, 4, 1]
    assert np.allclose(scan.voxels(place), [2, 3, 4])


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.floats(0.7, 3),
    st.sampled_from(ORIENTATIONS),
)
@settings(max_examples=40)
def test_spacings_there_and_back(shape, sizes, spacing, orientation):
    volume = random_volume(shape, turned_affine(*orientation, sizes))
    scan = prepare(volume, spacing)
    extent = np.sort(np.array(sizes)[list(orientation[0])] * shape)
    assert np.allclose(np.sort(np.array(scan.spacing) * scan.values.shape), extent)
    # The same box of space: its middle stays where it is.
    middles = [
        affine[:3] @ [*(np.array(grid) - 1) / 2, 1]
        for affine, grid in ((volume.affine, shape), (scan.affine, scan.values.shape))
    ]
    assert np.allclose(*middles)
    restored = scan.restored(scan.labels)
    assert restored.shape == shape
    # A voxel that gets the label of the nearest one, twice: it is off by no more than half of either voxel.
    inverse = np.linalg.inv(scan.affine)
    for voxel in itertools.islice(np.ndindex(shape), 0, None, 7):
        at = inverse[:3] @ volume.affine @ [*voxel, 1]
        near = np.clip(np.floor(at + 0.5 + 1e-9), 0, np.array(scan.values.shape) - 1).astype(int)
        other = np.clip(np.floor(at + 0.5 - 1e-9), 0, np.array(scan.values.shape) - 1).astype(int)
        choices = {scan.labels[tuple(np.where(pick, near, other))] for pick in np.ndindex(2, 2, 2)}
        assert restored[voxel] in choices


def test_values_are_clamped_smoothed_and_normalised():
    values = np.zeros((40, 4, 4), np.float32)
    values[::2] = 800
    values[:, 0] = 3000
    scan = prepare(Volume("stripes", values, np.diag([1, 1, 1, 1.0])), None)
    assert scan.values.max() == 1000
    coarse = prepare(Volume("stripes", values[:, 1:], np.eye(4)), 4.0)
    assert coarse.values.shape[0] == 10
    assert np.abs(coarse.values[2:-2].astype(float) - 400).max() < 60  # a slice alone would give 0 or 800
    hu = np.array([-1000, -200, 0, 100, 300], np.int16).reshape(5, 1, 1)
    scan = prepare(Volume("five", hu, np.eye(4)), None)
    assert (scan.mean, scan.std) == (pytest.approx(400 / 3), pytest.approx(np.std([0, 100, 300])))
    cube = scan.normalised((slice(0, 5), slice(0, 5), slice(0, 5)), 5)
    assert cube[3, 0, 0] == pytest.approx((100 - scan.mean) / scan.std)
    assert cube[0, 4, 4] == pytest.approx((-1000 - scan.mean) / scan.std)  # air beyond the scan
    air = prepare(Volume("air", np.full((3, 3, 3), -1000), np.eye(4)), None)
    assert (air.mean, air.std) == (-1000, 1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"values": np.zeros((3, 4))}, r"want a volume \[X,Y,Z\] with nothing empty, got shape \[3, 4\]"),
        ({"values": np.zeros((3, 0, 2))}, "nothing empty"),
        ({"values": np.zeros((2, 2, 2), complex)}, "want real numbers, got complex128"),
        ({"values": np.full((2, 2, 2), np.nan)}, "not finite"),
        ({"affine": np.zeros((4, 4))}, "affine cannot be inverted"),
        ({"labels": np.zeros((2, 2, 1), np.uint8)}, r"its labels have shape \[2, 2, 1\]"),
    ],
)
def test_bad_volumes_are_refused(change, error):
    good = Volume("x", np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(ValueError, match=error):
        prepare(replace(good, **change), None)
