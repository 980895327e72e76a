"""totalct_sam: windows, the lattice they are averaged on, sessions of prompts, and simulated clicks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from medkernels.zoo.totalct_sam.clicks import largest_error, next_click, random_points
from medkernels.zoo.totalct_sam.metrics import (
    accuracy,
    confusion,
    mean_over_scans,
    structure_accuracy,
    structure_scores,
    summarised,
)
from medkernels.zoo.totalct_sam.model import build
from medkernels.zoo.totalct_sam.session import ANY, CERTAIN, CoarseMask, Prompt, Session, log_odds
from medkernels.zoo.totalct_sam.sizes import SIZES, Sizes
from medkernels.zoo.totalct_sam.training import is_structure, worst_structures
from medkernels.zoo.totalct_sam.volume import Volume, prepare
from medkernels.zoo.totalct_sam.windows import Lattice, around, cut, gaussian, lattice_shape, origins

TINY = Sizes(16, 8, 32, 1, 2, 32, 2, 32, 2, 4, 64)  # step 2, low 8
LENGTHS = st.tuples(st.integers(1, 70), st.integers(1, 40), st.integers(1, 20))


def scan_of(shape, seed=0):
    values = np.random.default_rng(seed).normal(0, 300, shape)
    return prepare(Volume("noise", values, np.eye(4)), None)


@given(LENGTHS, st.sampled_from([0.0, 0.25, 0.5, 0.9]))
@settings(max_examples=40)
def test_windows_cover_the_volume_on_one_lattice(shape, overlap):
    cells = lattice_shape(shape, TINY)
    covered = np.zeros(cells, int)
    places = origins(shape, TINY, overlap)
    assert len(set(places)) == len(places)
    for place in places:
        assert all(0 <= start <= count - TINY.low for start, count in zip(place, cells, strict=True))
        covered[cut(place, TINY.low)] += 1
    assert covered.min() >= 1
    assert all(TINY.step * count >= length for count, length in zip(cells, shape, strict=True))


@given(LENGTHS, st.data())
def test_the_window_around_a_voxel_holds_it_in_its_middle(shape, data):
    voxel = [data.draw(st.integers(0, length - 1)) for length in shape]
    place = around(voxel, shape, TINY)
    for at, start, count in zip(voxel, place, lattice_shape(shape, TINY), strict=True):
        first = TINY.step * start
        assert first <= at < first + TINY.window
        middle = first + (TINY.window - 1) / 2
        at_an_end = start in (0, count - TINY.low)
        assert abs(at - middle) <= TINY.step / 2 + 0.5 or at_an_end


def test_weights():
    for width, low in ((1 / 8, 8), (1 / 4, 10)):
        weight = gaussian(low, width)
        for cell in np.ndindex(low, low, low):
            away = sum(((at - (low - 1) / 2) / (width * low)) ** 2 for at in cell)
            assert weight[cell] == pytest.approx(np.exp(-away / 2), rel=1e-5)


def test_the_lattice_equals_a_dense_average():
    rng = np.random.default_rng(0)
    shape = (37, 16, 21)
    cells = lattice_shape(shape, TINY)
    lattice = Lattice(3, shape, TINY, torch.device("cpu"))
    weight = gaussian(TINY.low).double().numpy()
    sums, weights = np.zeros((3, *cells)), np.zeros(cells)
    for place in origins(shape, TINY, 0.6):
        logits = rng.normal(size=(3, 8, 8, 8))
        lattice.add(place, torch.from_numpy(logits).float())
        for cell in np.ndindex(8, 8, 8):
            at = tuple(start + offset for start, offset in zip(place, cell, strict=True))
            sums[(slice(None), *at)] += weight[cell] * logits[(slice(None), *cell)]
            weights[at] += weight[cell]
    assert np.allclose(lattice.mean().numpy(), sums / weights, atol=1e-5)


@pytest.mark.parametrize("memory", [False, True])
def test_a_session_equals_the_dense_path(memory):
    scan = scan_of((29, 16, 11))
    network = build(TINY, 4, memory=memory).eval()
    session = Session(network, scan)
    bank = network.new_memory()
    values = (scan.values - scan.mean) / scan.std
    edge = (-1000 - scan.mean) / scan.std
    padded = np.full([2 * n for n in lattice_shape(scan.values.shape, TINY)], edge)
    padded[:29, :16, :11] = values
    sums = torch.zeros(4, *lattice_shape(scan.values.shape, TINY))
    ones, weight = torch.zeros(sums.shape[1:]), gaussian(8)
    for x, y, z in origins(scan.values.shape, TINY, 0.5):
        window = padded[2 * x : 2 * x + 16, 2 * y : 2 * y + 16, 2 * z : 2 * z + 16]
        with torch.no_grad():
            logits = network(torch.from_numpy(window).float()[None, None], memory=bank)[0]
        sums[:, x : x + 8, y : y + 8, z : z + 8] += weight * logits
        ones[x : x + 8, y : y + 8, z : z + 8] += weight
    mean = sums / ones
    assert torch.allclose(session.logits, mean, atol=1e-4)
    dense = F.interpolate(mean[None], size=padded.shape, mode="trilinear")[0, :, :29, :16, :11]
    top = dense.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-4).numpy()
    assert clear.mean() > 0.5
    assert np.array_equal(session.labels()[clear], dense.argmax(0).numpy()[clear])
    assert session.windows == len(origins(scan.values.shape, TINY, 0.5))
    assert (session.memory is None) == (not memory)


def test_a_new_session_remembers_nothing():
    network = build(TINY, 3)
    one, other = scan_of((16, 16, 16), 1), scan_of((20, 16, 16), 2)
    first = Session(network, one).logits
    Session(network, other)
    assert torch.equal(Session(network, one).logits, first)


def test_a_prompt_changes_its_window_alone():
    scan, network = scan_of((60, 16, 16)), build(TINY, 3)
    session = Session(network, scan)
    before = session.logits.clone()
    kept = len(session.memory)
    session.add(Prompt(1, np.array([[30.0, 8.0, 8.0]])))
    start = around((30, 8, 8), scan.values.shape, TINY)[0]
    changed = (session.logits != before).any(0).flatten(1).any(1).nonzero()[:, 0]
    assert changed.tolist() == list(range(start, start + 8))
    assert len(session.memory) == min(kept + TINY.grid**3, TINY.capacity)
    again = session.logits.clone()
    session.add(Prompt(ANY, np.array([[24.0, 2.0, 2.0], [36.0, 12.0, 12.0]])))  # a box
    assert not torch.equal(session.logits, again)
    assert session.prompts[0].middle.tolist() == [30, 8, 8]
    assert session.prompts[1].middle.tolist() == [30, 7, 7]


def test_a_session_tells_the_network_what_lies_in_the_window():
    scan, network = scan_of((60, 16, 16)), build(TINY, 3)
    session = Session(network, scan)
    session.prompts += [
        Prompt(2, np.array([[30.0, 8.0, 8.0]]), positive=False),
        Prompt(1, np.array([[59.0, 8.0, 8.0]])),  # elsewhere
        Prompt(1, np.array([[0.0, 0.0, 0.0], [28.0, 9.0, 40.0]])),
    ]
    told = session._told((12, 0, 0), 2, session.logits[:, 12:20])
    assert told.points.tolist() == [[[6, 8, 8], [0, 0, 0], [4, 9, 15]]]
    assert told.kinds.tolist() == [[0, 2, 3]]
    assert told.classes.tolist() == [[2, 1, 1]]
    assert told.mask.shape == (1, 1, 8, 8, 8)
    assert told.mask_class.tolist() == [2]


def test_a_coarse_mask_is_told_to_all_windows_that_it_reaches():
    scan, network = scan_of((60, 16, 16)), build(TINY, 3)
    session = Session(network, scan)
    before, told = session.logits.clone(), []
    judge = session._judge
    session._judge = lambda place, prompts: told.append((place, prompts)) or judge(place, prompts)
    mask = np.zeros(scan.values.shape, bool)
    mask[30:41, 2:5, 3] = True
    session.add(CoarseMask(2, mask))
    reached = [place for place in origins(scan.values.shape, TINY, 0.5) if 15 - 8 < place[0] <= 20]
    assert [place for place, _ in told] == reached
    for place, prompts in told:
        assert prompts.points is None
        assert prompts.mask_class.tolist() == [2]
        for cell in np.ndindex(8, 8, 8):
            voxels = tuple(slice(2 * (a + b), 2 * (a + b) + 2) for a, b in zip(place, cell, strict=True))
            share = mask[voxels].sum() / 8  # air beyond the scan is outside
            assert prompts.mask[(0, 0, *cell)] == pytest.approx(CERTAIN * (2 * share - 1))
    changed = (session.logits != before).any(0).flatten(1).any(1).nonzero()[:, 0]
    assert (changed[0], changed[-1]) == (reached[0][0], reached[-1][0] + 7)
    with pytest.raises(ValueError, match=r"want a mask .* that is not empty"):
        session.add(CoarseMask(1, np.zeros(scan.values.shape, bool)))
    with pytest.raises(ValueError, match="want a mask"):
        session.add(CoarseMask(1, np.ones((2, 2, 2), bool)))


def test_prompts_outside_are_refused():
    session = Session(build(TINY, 3), scan_of((16, 16, 16)))
    with pytest.raises(ValueError, match="lies outside of noise"):
        session.add(Prompt(1, np.array([[3.0, 3.0, 16.0]])))
    with pytest.raises(ValueError, match="structure must be 1 to 2, got 3"):
        session.add(Prompt(3, np.zeros((1, 3))))
    assert session.prompts == []


def test_log_odds_by_their_definition():
    logits = torch.randn(3, 5, 2, 2, 2, dtype=torch.float64)
    share = logits.softmax(1)
    for item, structure in enumerate((2, 4, ANY)):
        p = share[item, structure] if structure != ANY else 1 - share[item, 0]
        found = log_odds(logits, torch.tensor([2, 4, ANY]))[item, 0]
        assert torch.allclose(found, torch.log(p / (1 - p)), atol=1e-10)


MASKS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed))


@given(MASKS, st.sampled_from([0.02, 0.3, 0.8]))
@settings(max_examples=15)
def test_clicks_fall_where_something_is_wrong(rng, share):
    found, truth = (rng.random((6, 5, 4)) < share for _ in range(2))
    if (found == truth).all():
        assert next_click(found, truth, 0, rng) is None
        return
    for number in (0, 1, 2, 9):
        click = next_click(found, truth, number, rng)
        assert found[click.voxel] != truth[click.voxel]
        assert click.positive == truth[click.voxel]
        if number < 2:
            assert click.voxel in middle_of_largest(found, truth, (1, 1, 1))


def middle_of_largest(found, truth, spacing):
    """Voxels of the largest error that lie deeper than half of its depth, by brute force."""
    best = []
    for wrong in (truth & ~found, found & ~truth):
        left = {tuple(voxel) for voxel in np.argwhere(wrong).tolist()}
        while left:
            group, edge = set(), [min(left)]
            while edge:
                voxel = edge.pop()
                if voxel in left:
                    left.remove(voxel)
                    group.add(voxel)
                    edge += [tuple((np.add(voxel, step) - 1).tolist()) for step in np.ndindex(3, 3, 3)]
            best = sorted(group) if len(group) > len(best) else best
    shape = np.array(found.shape)
    outside = [at for at in np.ndindex(*(shape + 2)) if tuple(np.subtract(at, 1)) not in set(best)]
    away = {
        voxel: min(np.linalg.norm((np.subtract(at, 1) - voxel) * spacing) for at in outside) for voxel in best
    }
    return {voxel for voxel in best if away[voxel] > max(away.values()) / 2}


def test_first_clicks_fall_into_the_middle_of_the_largest_error():
    truth = np.zeros((8, 7, 6), bool)
    truth[1:6, 2:7, 1:5] = True
    truth[7, 6, 5] = True
    found = np.zeros_like(truth)
    found[0, 0] = True
    rng = np.random.default_rng(0)
    assert largest_error(found, truth).sum() == 5 * 5 * 4
    spacing = (1.0, 2.0, 0.5)
    wanted = middle_of_largest(found, truth, spacing)
    hits = {next_click(found, truth, 0, rng, spacing).voxel for _ in range(300)}
    assert hits == wanted
    later = [next_click(found, truth, 2, rng) for _ in range(1500)]
    assert {click.voxel for click in later} == {tuple(at) for at in np.argwhere(found ^ truth).tolist()}
    with pytest.raises(ValueError, match="there is no error"):
        largest_error(truth, truth)


def test_points_of_training_are_drawn_evenly_from_the_errors():
    torch.manual_seed(0)
    found, truth = torch.zeros(3, 2, 2, 2, dtype=torch.bool), torch.zeros(3, 2, 2, 2, dtype=torch.bool)
    truth[0, 1, 0, 1] = found[0, 0, 1, 1] = True  # one voxel missed, one too many
    truth[1] = found[1] = True
    truth[2, 0, 0, 0] = True
    drawn = [random_points(found, truth) for _ in range(400)]
    seen = [(tuple(points[0].tolist()), int(kinds[0])) for points, kinds in drawn]
    assert set(seen) == {((1, 0, 1), 1), ((0, 1, 1), 0)}
    assert 140 < sum(kind for _, kind in seen) < 260
    assert all(kinds[1] == -1 and kinds[2] == 1 for _, kinds in drawn)


def test_training_corrects_the_worst_structure():
    truth = torch.zeros(4, 2, 2, 4, dtype=torch.uint8)
    found = truth.clone()
    truth[0, 0] = torch.tensor([1, 1, 2, 2])
    found[0, 0] = torch.tensor([1, 1, 2, 0])  # the second is worse
    truth[1, 0] = torch.tensor([1, 2, 3, 0])  # none is found: any of them
    found[2, 0] = 3  # there is no structure
    truth[3, 1] = torch.tensor([1, 1, 1, 2])
    found[3, 1] = torch.tensor([2, 1, 1, 2])  # 2/3 against 4/5 of the first
    torch.manual_seed(0)
    drawn = torch.stack([worst_structures(found, truth, 4) for _ in range(60)])
    assert (drawn[:, 0] == 2).all()
    assert set(drawn[:, 1].tolist()) == {1, 2, 3}
    assert (drawn[:, 2] == ANY).all()
    assert (drawn[:, 3] == 2).all()
    wanted = is_structure(truth, torch.tensor([2, 1, ANY, ANY]))
    assert [int(mask.sum()) for mask in wanted] == [4, 2, 0, 8]


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_metrics_by_their_definitions(seed, classes):
    rng = np.random.default_rng(seed)
    found, truth = rng.integers(0, classes, (2, 4, 3, 5)).astype(np.uint8)
    names = [f"s{number}" for number in range(1, classes)]
    counts = confusion(found, truth, classes)
    assert accuracy(counts) == np.mean(found == truth)
    scores = structure_scores(counts, names)
    for number, name in enumerate(names, start=1):
        one, other = found == number, truth == number
        if not (one | other).any():
            assert name not in scores
            continue
        both = (one & other).sum()
        assert scores[name]["dice"] == pytest.approx(2 * both / (one.sum() + other.sum()))
        assert scores[name]["iou"] == pytest.approx(both / (one | other).sum())
    if (truth > 0).any():
        assert structure_accuracy(counts) == pytest.approx((found == truth)[truth > 0].mean())


def test_means_are_over_scans_first():
    scans = [
        {"a": {"dice": 1.0, "iou": 1.0}, "b": {"dice": 0.5, "iou": 0.4}},
        {"a": {"dice": 0.0, "iou": 0.0}},
    ]
    assert mean_over_scans(scans)["a"]["dice"] == 0.5
    found = summarised(scans, [np.diag([3, 1]), np.array([[2, 0], [2, 0]])])
    assert found["mean_dice"] == 0.5
    assert found["mean_iou"] == pytest.approx(0.45)
    assert found["pixel_accuracy"] == 0.75
    assert found["structure_accuracy"] == 0.5
    assert structure_accuracy(np.diag([5, 0])) == 1.0


def test_the_small_network_judges_a_scan_smaller_than_its_window():
    scan = scan_of((20, 20, 20))
    labels = Session(build(SIZES["crops"], 3), scan).labels()
    assert labels.shape == (20, 20, 20)
    assert labels.dtype == np.uint8
