"""Frames of `specular` matched: features, geometry from pairs of points, warps that are known, pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medkernels.features import match
from medkernels.zoo.specular.estimation import LEAST, MODELS, distances, estimate, project
from medkernels.zoo.specular.inpainting import inpaint
from medkernels.zoo.specular.match_pictures import draw_matches
from medkernels.zoo.specular.matching import FEATURES, MatchSettings, PairMatches, describe, match_frames
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.pairs import (
    NEAR,
    between,
    camera_motion,
    draw_warp,
    pair_metrics,
    synthetic_pair,
)

SIZE = (144, 192)


def clean(rgb):
    return inpaint(rgb, Detector()(rgb))


def two_views(rng, count, noise=0.0):
    """Points in space seen by two cameras: [M,2] each, and the true fundamental matrix."""
    points = rng.uniform([-1, -1, 4], [1, 1, 7], (count, 3))
    angle = 0.2
    R = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    t = np.array([-1.0, 0.1, 0.05])
    K = np.array([[300, 0, 160], [0, 300, 120], [0, 0, 1.0]])
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    F = np.linalg.inv(K).T @ cross @ R @ np.linalg.inv(K)
    views = [points @ K.T, (points @ R.T + t) @ K.T]
    seen = [view[:, :2] / view[:, 2:] + noise * rng.standard_normal((count, 2)) for view in views]
    return *seen, F


def sampson(F, x1, x2):
    """The distance from its definition, one pair at a time."""
    found = []
    for p, q in zip(x1, x2, strict=True):
        p, q = np.append(p, 1), np.append(q, 1)
        a, b = F @ p, F.T @ q
        found.append(abs(q @ F @ p) / np.sqrt(a[0] ** 2 + a[1] ** 2 + b[0] ** 2 + b[1] ** 2))
    return np.array(found)


@pytest.mark.parametrize("wrong", [0.2, 0.5])
def test_a_fundamental_matrix_from_pairs_of_which_many_are_wrong(wrong):
    rng = np.random.default_rng(1)
    x1, x2, F = two_views(rng, 300, noise=0.2)
    false = rng.random(300) < wrong
    x2[false] = rng.uniform(0, 250, (false.sum(), 2))
    found = estimate(x1, x2, threshold=1.0)
    assert found.message == ""
    assert found.inliers[~false].mean() > 0.97
    # A wrong point is near its line by chance: in a band 2 px wide of about 250.
    assert found.inliers[false].mean() < 0.06
    fresh1, fresh2, _ = two_views(np.random.default_rng(2), 100)
    assert np.median(sampson(found.matrix, fresh1, fresh2)) < 0.3
    assert np.allclose(distances(F, x1, x2, "fundamental"), sampson(F, x1, x2))


def test_a_homography_from_pairs_of_which_many_are_wrong():
    rng = np.random.default_rng(0)
    H = draw_warp(rng, (200, 300), 1.5)
    x1 = rng.uniform(0, 200, (200, 2))
    x2 = project(H, x1)
    x2[:120] = rng.uniform(0, 200, (120, 2))
    found = estimate(x1, x2, model="homography")
    assert found.inliers[120:].all()
    assert found.inliers[:120].sum() <= 2
    assert np.allclose(found.matrix, H / H[2, 2], atol=1e-3)


@given(st.integers(0, 2**31 - 1), st.sampled_from(MODELS), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_inliers_agree_with_the_model_and_seeds_repeat(seed, model, count):
    rng = np.random.default_rng(seed)
    x1, x2 = rng.uniform(0, 200, (2, count, 2))
    x2[::2] = x1[::2] + np.array([4, 1])
    found = estimate(x1, x2, model=model, threshold=2.0, seed=seed)
    again = estimate(x1, x2, model=model, threshold=2.0, seed=seed)
    assert np.array_equal(found.inliers, again.inliers)
    assert found.message == again.message
    assert found.inliers.shape == (count,)
    if found.matrix is None:
        assert found.message
        assert not found.inliers.any()
    else:
        assert np.array_equal(found.matrix, again.matrix)
        assert found.inliers.sum() >= LEAST[model]
        # OpenCV counts in single precision.
        assert distances(found.matrix, x1, x2, model)[found.inliers].max() < 2.0 * 1.01 + 1e-3


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 2)),
        np.full((30, 2), 5.0),
        np.arange(60.0).reshape(30, 2),
        np.arange(60.0).reshape(30, 2) + 1e6,
        np.array([[0.0, 0], [9, 0], [0, 9]]),
    ],
    ids=["none", "one place", "a line", "a line far away", "three"],
)
def test_pairs_that_determine_no_model_give_none(model, points):
    found = estimate(points, points + 1.0, model=model)
    assert found.matrix is None
    assert not found.inliers.any()
    assert len(found.inliers) == len(points)
    assert "line" in found.message or "fewer than" in found.message


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"first": np.zeros((9, 3))}, ValueError, r"first must have shape \[M, 2\]"),
        ({"second": np.zeros((8, 2))}, ValueError, "a row for each pair"),
        ({"first": np.full((9, 2), np.nan)}, ValueError, "first must be finite"),
        ({"first": np.full((9, 2), "a")}, TypeError, "first must hold real numbers"),
        ({"model": "affine"}, ValueError, "model must be one of 'fundamental', 'homography'"),
        ({"threshold": 0}, ValueError, "threshold must be greater than 0"),
        ({"threshold": np.inf}, ValueError, "threshold must be finite"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"seed": 2**31}, ValueError, "seed must be"),
    ],
)
def test_bad_pairs_are_refused(options, error, text):
    given_ = {"first": np.zeros((9, 2)), "second": np.zeros((9, 2))} | options
    with pytest.raises(error, match=text):
        estimate(given_.pop("first"), given_.pop("second"), **given_)


def test_matching_passes_acceptance():
    """9 in 10 inliers are right, and affine adaptation gives more right pairs than the same blobs without."""
    for seed in range(3):
        correct = {"affine": 0, "circles": 0, "sift": 0, "orb": 0}
        right = inliers = 0
        for number in range(2):
            views = synthetic_pair(np.random.default_rng([seed, number]))
            for features in FEATURES:
                chosen = MatchSettings(features=features)
                found = match_frames(views.first, views.second, settings=chosen, clean=clean)
                metrics = pair_metrics(found, views.homography)
                correct[features] += metrics["correct"]
                if features == "affine":
                    right, inliers = right + metrics["correct_inliers"], inliers + metrics["inliers"]
        assert right >= 0.9 * inliers > 90
        assert correct["affine"] > 1.05 * max(correct["circles"], correct["sift"], correct["orb"])


def test_synthetic_pairs_are_related_by_their_warp():
    views = synthetic_pair(np.random.default_rng(5), size=SIZE)
    assert views.first.shape == views.second.shape == (*SIZE, 3)
    middle = np.array([SIZE[1] - 1, SIZE[0] - 1]) / 2
    step = 1e-3
    corners = project(views.homography, middle + step * np.array([[0, 0], [1, 0], [0, 1]]))
    jacobian = (corners[1:] - corners[0]).T / step
    axes = np.linalg.svd(jacobian, compute_uv=False)
    assert axes[0] / axes[1] == pytest.approx(1.5, rel=0.02)
    assert axes.prod() == pytest.approx(1, rel=0.02)
    # Warped by OpenCV, the first frame is the second one but for highlights, noise and gain.
    a, b = (clean(rgb).mean(axis=2) for rgb in (views.first, views.second))
    warped = cv2.warpPerspective(a, views.homography, SIZE[::-1])
    inside = cv2.warpPerspective(np.ones(SIZE), views.homography, SIZE[::-1]) == 1
    assert np.corrcoef(warped[inside], b[inside])[0, 1] > 0.8
    again = synthetic_pair(np.random.default_rng(5), size=SIZE)
    assert np.array_equal(views.first, again.first)
    with pytest.raises(ValueError, match="anisotropy"):
        synthetic_pair(np.random.default_rng(0), anisotropy=0.5)


def known(frames_first, frames_second, pairs, inliers):
    count = len(pairs)
    return PairMatches(
        np.asarray(frames_first, np.float32),
        np.asarray(frames_second, np.float32),
        np.asarray(pairs, np.int64).reshape(count, 2),
        np.asarray(inliers, bool),
        "homography",
        np.eye(3),
        "",
        {},
    )


def at(places):
    frames = np.zeros((len(places), 2, 3))
    frames[:, 0, 0] = frames[:, 1, 1] = 3
    frames[:, :, 2] = places
    return frames


def test_metrics_count_what_agrees_with_the_warp():
    first = at([[10, 10], [20, 10], [30, 30]])
    second = at([[15, 10], [25, 10 + NEAR - 0.1], [35, 30 + NEAR + 0.1]])
    H = np.array([[1, 0, 5], [0, 1, 0], [0, 0, 1.0]])
    found = known(first, second, [[0, 0], [1, 1], [2, 2]], [True, False, True])
    assert pair_metrics(found, H) == {
        "features": 3,
        "pairs": 3,
        "correct": 2,
        "inliers": 2,
        "correct_inliers": 1,
        "precision": 0.5,
    }
    nothing = known(first, second, [], [])
    assert pair_metrics(nothing, H)["precision"] == 0
    assert nothing.counts == {"features_first": 3, "features_second": 3, "pairs": 0, "inliers": 0}


def test_frames_of_a_motion_map_to_each_other():
    motion = camera_motion(30, SIZE)
    points = np.random.default_rng(0).uniform(0, 140, (5, 2))
    assert np.allclose(
        project(between(motion, 3, 20), project(motion[3], points)), project(motion[20], points)
    )
    assert np.allclose(between(motion, 4, 4), np.eye(3))
    height, width = SIZE
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    for view in camera_motion(300, SIZE):
        seen = project(np.linalg.inv(view), corners)
        assert (seen >= -0.5).all()
        assert (seen <= [width - 0.5, height - 0.5]).all()
    with pytest.raises(ValueError, match="frames"):
        camera_motion(0, SIZE)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("size", [(1, 1), (11, 200), (40, 40)])
@pytest.mark.parametrize("model", MODELS)
def test_frames_without_features_match_nothing(features, size, model):
    flat = np.full((*size, 3), 120, np.uint8)
    found = match_frames(flat, flat, settings=MatchSettings(features=features, model=model))
    assert found.counts == {"features_first": 0, "features_second": 0, "pairs": 0, "inliers": 0}
    assert found.matrix is None
    assert "fewer than" in found.message
    assert draw_matches(flat, flat, found).dtype == np.uint8


def test_a_frame_with_features_against_one_without():
    rgb = synthetic_pair(np.random.default_rng(0)).first
    found = match_frames(rgb, np.zeros((30, 50, 3), np.uint8))
    assert found.counts["features_first"] > 100
    assert found.counts["pairs"] == 0
    assert found.matrix is None


@pytest.mark.parametrize("features", ["sift", "orb"])
def test_opencv_features_as_frames(features):
    rgb = synthetic_pair(np.random.default_rng(1)).first
    frames, rows = describe(rgb, MatchSettings(features=features, max_features=100))
    assert frames.shape == (len(rows), 2, 3)
    assert 0 < len(rows) <= 100
    # Circles that are turned: L^T L is a multiple of the unit matrix.
    L = frames[:, :, :2].astype(float)
    assert np.allclose(L.transpose(0, 2, 1) @ L, np.linalg.det(L)[:, None, None] * np.eye(2), atol=1e-3)
    assert (np.linalg.det(L) > 0).all()
    if features == "orb":
        assert set(np.unique(rows)) <= {0, 1}
        packed = np.packbits(rows, axis=1)
        nearest = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(packed, np.ascontiguousarray(packed[::-1]), 2)
        wanted = sum(
            one.distance <= 0.91 * two.distance and one.distance < two.distance for one, two in nearest
        )
        pairs, _ = match(rows, rows[::-1].copy(), ratio=float(np.sqrt(0.91)))
        assert len(pairs) == wanted


def test_results_repeat_and_options_act():
    views = synthetic_pair(np.random.default_rng(3))
    first, again = (match_frames(views.first, views.second) for _ in range(2))
    assert np.array_equal(first.pairs, again.pairs)
    assert np.array_equal(first.inliers, again.inliers)
    few = match_frames(views.first, views.second, settings=MatchSettings(max_features=50, mutual=True))
    assert few.counts["features_first"] == 50
    assert len(np.unique(few.pairs[:, 1])) == len(few.pairs)
    upright = match_frames(views.first, views.second, settings=MatchSettings(orient=False))
    assert (upright.frames_first[:, 0, 1] == 0).all()
    assert set(first.seconds) == {"cleaning", "features", "matching", "estimation"}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"features": "surf"}, ValueError, "features must be one of"),
        ({"model": "rigid"}, ValueError, "model must be one of"),
        ({"ratio": 0}, ValueError, "ratio must be greater than 0"),
        ({"ratio": 1.5}, ValueError, "ratio must be at most 1"),
        ({"peak_threshold": -1}, ValueError, "peak_threshold must be at least 0"),
        ({"peak_threshold": float("inf")}, ValueError, "peak_threshold must be finite"),
        ({"max_features": 0}, ValueError, "max_features must be"),
        ({"max_features": 2.5}, TypeError, "max_features must be"),
        ({"orient": 1}, TypeError, "orient must be True or False"),
        ({"threshold": -1.0}, ValueError, "threshold must be"),
        ({"seed": "a"}, TypeError, "seed must be"),
    ],
)
def test_bad_settings_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        MatchSettings(**options)


def test_bad_frames_are_refused():
    rgb = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match=r"second must have shape \[H, W, 3\]"):
        match_frames(rgb, rgb[..., 0])
    with pytest.raises(TypeError, match="first must be uint8"):
        match_frames(rgb.astype(float), rgb)
    with pytest.raises(ValueError, match="what clean returns must have shape"):
        match_frames(rgb, rgb, clean=lambda picture: picture[..., 0])


def test_a_picture_of_matches(tmp_path):
    first, second = np.zeros((40, 60, 3), np.uint8), np.zeros((50, 30, 3), np.uint8)
    found = known(at([[10, 10], [30, 30]]), at([[5, 12], [20, 40]]), [[0, 0], [1, 1]], [True, False])
    path = tmp_path / "new" / "matches.png"
    picture = draw_matches(first, second, found, path)
    scale = round(640 / 60)
    assert picture.shape == (50 * scale, 90 * scale + 8, 3)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], picture)
    assert (picture[40 * scale :, : 60 * scale] == 255).all()
    # The ellipse of the inlier is drawn in both frames, that of the other pair in none.
    color = picture.astype(int)
    for x, y, drawn in ((13, 10, True), (60 + 8 / scale + 2, 12, True), (33, 30, False)):
        column, row = round((x + 0.5) * scale), round((y + 0.5) * scale)
        around = color[row - 2 : row + 3, column - 2 : column + 3]
        assert ((around.max() > 100) and (around.max() - around.min() > 100)) == drawn
    assert np.array_equal(first, np.zeros_like(first))
    assert len(list(path.parent.iterdir())) == 1


def test_a_picture_shows_some_of_many_matches():
    rng = np.random.default_rng(0)
    places = rng.uniform(5, 50, (500, 2))
    found = known(at(places), at(places), np.stack([np.arange(500)] * 2, 1), np.ones(500))
    blank = np.zeros((60, 60, 3), np.uint8)
    few, all_ = (draw_matches(blank, blank, found, lines=lines) for lines in (5, 500))
    assert 0 < (few > 0).sum() < (all_ > 0).sum() / 5
    assert (draw_matches(blank, blank, found, lines=0)[:, :60] == 0).all()
