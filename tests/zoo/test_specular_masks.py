"""The detector, its baselines, metrics and the choice of settings, on frames with known highlights."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

import medkernels as mk
from medkernels.zoo.specular import acceptance, standin
from medkernels.zoo.specular.baselines import (
    PALE,
    THRESHOLD,
    best_level,
    counts_by_level,
    intensity,
    stable_mask,
    threshold_mask,
)
from medkernels.zoo.specular.data import open_frames
from medkernels.zoo.specular.judge import OURS, judge
from medkernels.zoo.specular.metrics import NAMES, count, flat, from_totals, scores, summarise
from medkernels.zoo.specular.model import Detector
from medkernels.zoo.specular.search import GRID, best, candidates, count_all, search, split
from medkernels.zoo.specular.threads import in_order
from tests.reference.specular_mask import specular_mask as slow_mask

SIDES = st.integers(1, 12)
MASKS = st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(bool, (2, *shape)))
PEERS = MappingProxyType(
    {
        "accuracy": accuracy_score,
        "precision": precision_score,
        "recall": recall_score,
        "f1": f1_score,
        "jaccard": jaccard_score,
    }
)


@pytest.fixture(scope="module")
def frames():
    return standin.stand_in(10)


@given(MASKS)
def test_scores_are_scikit_learns(pair):
    mask, truth = pair
    counts = count(mask, truth)
    assert counts.sum() == mask.size
    found = scores(counts)
    nothing = not (mask.any() or truth.any())
    for name, peer in PEERS.items():
        options = {} if name == "accuracy" else {"zero_division": float(nothing)}
        assert found[name] == pytest.approx(peer(truth.ravel(), mask.ravel(), **options)), name


def test_means_over_frames_and_over_pixels():
    counts = np.array([[10, 0, 0, 90], [1, 1, 8, 90]])
    found = summarise(counts)
    assert found["macro"]["recall"] == pytest.approx((1 + 1 / 9) / 2)
    assert found["micro"]["recall"] == pytest.approx(11 / 19)
    assert found["macro"]["f1"] == pytest.approx((1 + 2 / 11) / 2)
    assert found["micro"]["f1"] == pytest.approx(22 / 31)
    assert set(flat(found)) == {f"{kind}_{name}" for kind in ("macro", "micro") for name in NAMES}
    with pytest.raises(ValueError, match="want at least one frame"):
        summarise(counts[:0])
    with pytest.raises(ValueError, match=r"mask has shape \[2, 3\], truth \[3, 2\]"):
        count(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_counts_from_totals():
    mask, truth = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 1], bool)
    assert from_totals(2, 3, 3, 5).tolist() == count(mask, truth).tolist() == [2, 1, 1, 1]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_every_threshold_is_counted(seed):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (7, 9, 3), np.uint8)
    truth = rng.random((7, 9)) < 0.3
    found = counts_by_level(rgb, truth)
    for level in (0, 1, 40, 128, 254, 255):
        assert found[level].tolist() == count(threshold_mask(rgb, level), truth).tolist()
    assert scores(found[best_level([found])])["f1"] == scores(found)["f1"].max()


def test_the_detector_is_the_published_rule(frames):
    """The slow mask from the definition, with areas in proportion to the picture."""
    detector = Detector(delta=20, min_area=4, max_share=0.05, patch_share=0.01)
    rgb = frames[0].rgb[28:52, 85:115]  # white tissue with highlights
    pixels = 24 * 30
    assert detector(rgb).any()
    expected = slow_mask(
        rgb, delta=20, min_area=4, max_area=round(0.05 * pixels), max_patch=round(0.01 * pixels)
    )
    assert np.array_equal(detector(rgb), expected)
    assert (Detector().max_area(100), Detector().max_patch(100)) == (4, 1)
    assert (Detector(patch_share=0).max_patch(10**6), Detector(max_share=1).max_area(500)) == (0, 500)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delta": 0}, "delta must be a whole number from 1 to 255, got 0"),
        ({"delta": 256}, "delta must"),
        ({"delta": 20.0}, "delta must"),
        ({"delta": True}, "delta must"),
        ({"min_area": 0}, "min_area must be a whole number of at least 1, got 0"),
        ({"max_share": 0.0}, "max_share must be a number above 0 and at most 1, got 0.0"),
        ({"max_share": 1.5}, "max_share must"),
        ({"max_share": "much"}, "max_share must"),
        ({"patch_share": -0.1}, "patch_share must be a number at least 0 and at most 1"),
        ({"patch_share": float("nan")}, "patch_share must"),
    ],
)
def test_bad_settings_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        Detector(**options)


def test_settings_can_be_written_as_json():
    detector = Detector(np.int64(20), np.int32(5), np.float32(0.25), 0)
    told = json.loads(json.dumps(asdict(detector)))
    assert told == {"delta": 20, "min_area": 5, "max_share": 0.25, "patch_share": 0.0}


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_a_frame_of_another_shape_is_refused(wrong):
    with pytest.raises(ValueError, match=r"rgb must have shape \[H, W, 3\]"):
        Detector()(wrong)
    with pytest.raises(TypeError, match="rgb must be uint8, not float64"):
        Detector()(np.zeros((4, 4, 3)))


@pytest.mark.parametrize("frame", ["black", "white", "flat", "row", "pixel"])
def test_frames_without_highlights(frame):
    rgb = {
        "black": np.zeros((30, 40, 3), np.uint8),
        "white": np.full((30, 40, 3), 255, np.uint8),
        "flat": np.full((30, 40, 3), (150, 70, 60), np.uint8),
        "row": np.full((1, 40, 3), (150, 70, 60), np.uint8),
        "pixel": np.full((1, 1, 3), (150, 70, 60), np.uint8),
    }[frame]
    assert not Detector()(rgb).any()
    assert not stable_mask(rgb, Detector()).any()


def test_settings_tried_at_once_are_those_of_the_detector(frames):
    detectors = candidates(Detector(), GRID | {"delta": (12, 25)})
    assert len(detectors) == 2 * 2 * 3 * 4
    assert Detector() in detectors
    rgb, truth = frames[1]
    counts = count_all(rgb, truth, detectors)
    for detector, found in zip(detectors, counts, strict=True):
        assert found.tolist() == count(detector(rgb), truth).tolist(), detector


def test_the_best_settings_win(frames):
    pairs = open_frames(frames[:3])
    detectors = candidates(Detector(max_share=0.01), {"delta": [200, 25, 20]})
    assert [(one.delta, one.max_share) for one in detectors] == [(200, 0.01), (25, 0.01), (20, 0.01)]
    counts = search(pairs, detectors)
    means = [judge(pairs, detector).f1() for detector in detectors]
    assert means[best(counts)] == max(means) > means[0]


def test_threads_do_not_change_what_is_counted(frames):
    detectors, before = candidates(Detector(), {"delta": [25, 15]}), mk.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            found.append(search(open_frames(frames), detectors))
    finally:
        mk.set_num_threads(before)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_an_error_in_a_thread_comes_up():
    def step(number):
        if number == 3:
            raise RuntimeError("three")
        return number

    results = in_order(step, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="three"):
        next(results)


@pytest.mark.parametrize(
    ("grid", "error"),
    [
        ({"dt": [1]}, "grid: want settings out of delta, min_area, max_share, patch_share, got 'dt'"),
        ({"delta": []}, r"grid: want a list of values for delta, got \[\]"),
        ({"delta": 5}, "grid: want a list of values for delta, got 5"),
        ({"delta": [0]}, "delta must be a whole number"),
    ],
)
def test_bad_grids_are_named(grid, error):
    with pytest.raises(ValueError, match=error):
        candidates(Detector(), grid)


@given(
    st.lists(st.sampled_from(["a/1", "a/2", "b/1", "c/1", "c/2", "c/3"]), min_size=1, unique=True), st.data()
)
def test_frames_of_a_folder_stay_together(names, data):
    held_out = data.draw(st.floats(0.01, 0.99))
    chosen, judged = split(names, held_out, data.draw(st.integers(0, 9)))
    folders = [{names[i].split("/")[0] for i in part} for part in (chosen, judged)]
    assert len(chosen) > 0
    assert len(judged) > 0
    if len({name.split("/")[0] for name in names}) > 1:
        assert folders[0].isdisjoint(folders[1])
    if len(names) > 1:
        assert sorted([*chosen, *judged]) == list(range(len(names)))


def test_without_held_out_frames_all_are_judged():
    chosen, judged = split(["1", "2", "3"], 0, 0)
    assert chosen.tolist() == judged.tolist() == [0, 1, 2]
    assert len(split([str(i) for i in range(10)], 0.3, 0)[1]) == 3


def test_the_stand_in_is_what_it_says():
    first, again = standin.stand_in(3, 5), standin.stand_in(5, 5)
    for one, other in zip(first, again, strict=False):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.truth, other.truth)
    assert not np.array_equal(first[0].rgb, standin.stand_in(1, 6)[0].rgb)
    rng = np.random.default_rng(0)
    tissue, white = standin.draw_tissue(rng, (90, 120))
    before = tissue.copy()
    rgb, alpha = standin.draw_speculars(rng, tissue, white, 30)
    assert np.array_equal(tissue, before)
    assert rgb.shape == (90, 120, 3)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert (rgb >= tissue).all()
    assert np.array_equal(rgb[alpha == 0], tissue[alpha == 0])
    labels, number = ndimage.label(alpha > 0.5, np.ones((3, 3)))
    assert 10 <= number <= 30
    assert np.bincount(labels.ravel())[1:].max() < 5 * np.pi * standin.HIGHLIGHT_AXES[1] ** 2
    share = (alpha[white] > 0.5).mean() / (alpha > 0.5).mean()
    assert share > 2  # a third of them on the small part that is white
    assert standin.draw_frame(rng, (30, 700)).rgb.shape == (30, 700, 3)


def test_no_threshold_separates_the_stand_in(frames):
    """Not even one that is chosen for each frame alone: white tissue is as bright as highlights elsewhere."""
    best_of_frames = [scores(counts_by_level(rgb, truth))["f1"].max() for rgb, truth in frames]
    assert np.mean(best_of_frames) < 0.75
    assert np.mean([scores(count(Detector()(rgb), truth))["f1"] for rgb, truth in frames]) > 0.88


def test_acceptance_on_the_stand_in():
    for seed in range(2):
        found = acceptance.compare(standin.stand_in(acceptance.FRAMES, seed))
        assert found["f1"] >= 0.88
        assert found["f1"] >= max(found["pale_f1"], found["threshold_f1"]) + 0.15


def test_acceptance_of_matches():
    found = acceptance.match_pairs(0, pairs=3, features=("affine", "circles", "sift"))
    assert found["affine"]["precision"] >= 0.9
    assert found["affine"]["correct"] > found["circles"]["correct"]
    assert found["affine"]["correct"] > found["sift"]["correct"]


def test_trees_equal_scikit_images(frames):
    for frame in frames[:3]:
        assert acceptance.tree_differences(intensity(frame.rgb)) == 0
    assert acceptance.tree_differences(np.zeros((5, 7), np.uint8)) == 0


def test_judging(frames):
    judged = judge(open_frames(frames[:3]), Detector())
    assert judged.names == ("frame 0", "frame 1", "frame 2")
    assert next(iter(judged.counts)) == OURS
    for method, counts in judged.counts.items():
        assert counts.sum(axis=1).tolist() == [144 * 192] * 3, method
    assert judged.counts[OURS][1].tolist() == count(Detector()(frames[1].rgb), frames[1].truth).tolist()
    expected = [count(threshold_mask(rgb, judged.level), truth).tolist() for rgb, truth in frames[:3]]
    assert judged.counts[THRESHOLD].tolist() == expected
    assert judged.f1() > judged.f1(PALE)
    with pytest.raises(ValueError, match="want frames with masks, found none"):
        judge(open_frames([frame.rgb for frame in frames[:2]]), Detector())
