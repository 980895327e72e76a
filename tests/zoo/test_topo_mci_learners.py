"""The chain from series to distances, rank sums, the network, its baselines, and splits."""

from __future__ import annotations

import doctest
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medkernels.zoo.engine import FitOptions
from medkernels.zoo.topo_mci import persistence
from medkernels.zoo.topo_mci import rank_sum as topo_rank_sum
from medkernels.zoo.topo_mci.learners import (
    DenseNet,
    forest_probabilities,
    new_network,
    one_thread,
    probabilities,
    split_subjects,
)
from medkernels.zoo.topo_mci.model import DistanceCNN
from medkernels.zoo.topo_mci.persistence import Chain, pearson_matrices, pr_matrices, ps_matrix, standardise
from medkernels.zoo.topo_mci.rank_sum import p_map, rank_sum
from medkernels.zoo.topo_mci.splits import accuracies, run_splits
from medkernels.zoo.topo_mci.standin import HUBS, ROIS, SAMPLES, stand_in, surrogate


@pytest.fixture(autouse=True)
def _quiet_threads():
    with one_thread():
        yield


def persim_distance(first, second):
    import persim

    with warnings.catch_warnings():  # persim warns of the infinite bars that it leaves out
        warnings.simplefilter("ignore")
        return persim.wasserstein(first, second)


def test_diagrams_and_distances_equal_those_of_the_peers():
    from ripser import ripser

    chain = Chain(max_dim=2, zscore=True)
    series = stand_in(2).series[1][[0, 1, 5], :60]
    clouds = np.lib.stride_tricks.sliding_window_view(
        (series - series.mean(axis=1, keepdims=True)) / series.std(axis=1, keepdims=True), 3, axis=1
    )
    assert np.allclose(chain.embed(series), clouds, atol=1e-6)
    peers = [ripser(cloud, maxdim=2)["dgms"] for cloud in clouds]
    ours, matrices = chain.diagrams(series), chain.matrices(series)
    assert matrices.shape == (3, 3, 3)
    for k in range(3):
        for mine, theirs in zip(ours, peers, strict=True):
            theirs = theirs[k][np.lexsort(theirs[k].T[::-1])]
            assert np.allclose(mine[k], theirs, atol=1e-5)
        expected = [[persim_distance(a[k], b[k]) for b in peers] for a in peers]
        assert np.allclose(matrices[k], expected, atol=1e-5)
        assert np.array_equal(matrices[k], matrices[k].T)
        assert not matrices[k].diagonal().any()


def test_distances_between_subjects_equal_those_within_one():
    """A ROI of three subjects gives the matrix that three ROIs of one subject would."""
    cohort, chain = stand_in(3), Chain(max_dim=1)
    series = [one[:2] for one in cohort.series]
    joined = np.stack([one[1] for one in series])
    for k in range(2):
        assert np.allclose(ps_matrix(series, 1, k, chain), chain.matrices(joined)[k], atol=1e-12)


def test_the_first_points_of_a_window_with_delay():
    series = np.arange(20.0).reshape(2, 10)
    points = Chain(dimension=3, delay=2).embed(series)
    assert points.shape == (2, 6, 3)
    assert points[1, 0].tolist() == [10, 12, 14]
    assert points[0, -1].tolist() == [5, 7, 9]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_dim": 3}, "max_dim must be 0 to 2"),
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"delay": 0}, "delay must be at least 1"),
        ({"order": 0.5}, "order"),
        ({"order": float("nan")}, "order"),
        ({"ground": 1}, "ground"),
    ],
)
def test_bad_chains_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        Chain(**options)


def test_types_and_lengths_are_checked():
    with pytest.raises(TypeError, match=r"delay must be an integer, got 1\.5"):
        Chain(delay=1.5)
    with pytest.raises(ValueError, match="from 3 samples, windows of dimension=3 and delay=1 give 1 points"):
        Chain().diagrams(np.ones((2, 3)))


def test_matrices_are_kept_and_not_computed_again(tmp_path, monkeypatch):
    cohort, chain = stand_in(4), Chain()
    expected = pr_matrices(cohort.series, chain)
    calls = []
    compute = Chain.matrices
    monkeypatch.setattr(persistence.Chain, "matrices", lambda *a: calls.append(1) or compute(*a))
    assert np.array_equal(pr_matrices(cohort.series[:3], chain, keep=tmp_path), expected[:3])
    assert np.array_equal(pr_matrices(cohort.series, chain, keep=tmp_path), expected)
    assert len(calls) == 4
    pr_matrices(cohort.series, Chain(order=2.0), keep=tmp_path)
    pr_matrices([cohort.series[0] + 1e-9], chain, keep=tmp_path)
    assert len(calls) == 9
    assert len(list(tmp_path.iterdir())) == 9


def test_standardised_matrices():
    values = np.random.default_rng(0).normal(3, 5, (4, 6, 6))
    values[2] = 7
    found = standardise(values)
    assert np.allclose(found[[0, 1, 3]].mean(axis=(1, 2)), 0)
    assert np.allclose(found[[0, 1, 3]].std(axis=(1, 2)), 1)
    assert not found[2].any()
    assert pearson_matrices(values[:1])[0, 0, 1] == pytest.approx(scipy.stats.pearsonr(*values[0, :2])[0])


@given(
    arrays(np.int64, st.tuples(st.integers(1, 9), st.just(3)), elements=st.integers(0, 4)),
    arrays(np.int64, st.tuples(st.integers(1, 9), st.just(3)), elements=st.integers(0, 4)),
)
def test_rank_sums_with_ties_equal_scipy(first, second):
    found = rank_sum(first, second)
    for column in range(3):
        x, y = first[:, column], second[:, column]
        if len(set(x) | set(y)) == 1:
            assert (found.z[column], found.p[column]) == (0, 1)
            continue
        peer = scipy.stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=False)
        assert found.p[column] == pytest.approx(peer.pvalue, rel=1e-10)
        above = peer.statistic - len(x) * len(y) / 2
        assert np.sign(found.z[column]) == np.sign(above)


def test_the_example_of_the_documentation_runs():
    result = doctest.testmod(topo_rank_sum)
    assert result.attempted
    assert not result.failed


def test_extreme_p_values_do_not_vanish():
    p = rank_sum(np.arange(400.0), np.arange(400.0, 800.0)).p
    assert 0 < p < 1e-100


def test_rank_sum_checks_its_groups():
    with pytest.raises(ValueError, match="first: want at least one subject"):
        rank_sum(np.zeros((0, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="second: want finite"):
        rank_sum(np.ones(3), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="differ beyond the subjects"):
        rank_sum(np.ones((3, 2)), np.ones((3, 4)))


def test_p_maps_are_symmetric_and_can_be_adjusted():
    rng = np.random.default_rng(0)
    matrices = rng.random((20, 5, 5))
    matrices += matrices.transpose(0, 2, 1)
    group = np.arange(20) < 8
    matrices[group, 0, 1] += 2
    matrices[group, 1, 0] += 2
    found, adjusted = p_map(matrices, group), p_map(matrices, group, fdr=True)
    for values in (found.p, found.z, adjusted.p):
        assert np.array_equal(values, values.T)
    assert np.array_equal(found.p.diagonal(), np.ones(5))
    assert found.z[0, 1] > 3
    pairs = np.triu_indices(5, 1)
    p = found.p[pairs]
    # Benjamini and Hochberg by their definition: of sorted p, the least m p / rank from there on.
    expected = [min(10 * q / (p <= q).sum() for q in p if q >= value) for value in p]
    assert np.allclose(adjusted.p[pairs], np.minimum(expected, 1))
    x, y = matrices[group, 2, 4], matrices[~group, 2, 4]
    assert found.p[2, 4] == pytest.approx(rank_sum(x, y).p)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_network_has_the_published_size():
    network = DistanceCNN(34)
    assert count(network) == 764_578
    assert count(network.branch_2d) == 392_320
    assert count(network.branch_1d) == 256 * 34**2 + 256
    assert count(network.head) == 76_066
    shapes = []
    x = torch.randn(2, 1, 34, 34)
    for layer in network.branch_2d:
        x = layer(x)
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 34, 34), (32, 34, 34), (64, 34, 34), (64, 17, 17), (128, 17, 17), (256, 17, 17)]
    assert network(torch.randn(2, 34, 34)).shape == (2, 2)


@pytest.mark.parametrize("rois", [2, 5, 18])
def test_networks_of_other_sizes(rois):
    for network in (DistanceCNN(rois, 3), DenseNet(3)):
        network.train()
        assert network(torch.randn(1, rois, rois)).shape == (1, 3)


def test_networks_start_from_their_seed_alone():
    state = torch.get_rng_state()
    first, same, other = (new_network("cnn", 4, 2, 0.2, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.head[0].weight, same.head[0].weight)
    assert not torch.equal(first.head[0].weight, other.head[0].weight)
    matrices = np.random.default_rng(0).random((300, 4, 4))
    found = probabilities(first, matrices)
    assert np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found, probabilities(first, 10 * matrices + 3), atol=1e-5)  # each is standardised


def test_a_forest_finds_what_is_easy():
    labels = np.arange(40) % 2
    matrices = np.random.default_rng(0).normal(size=(40, 4, 4))
    matrices += matrices.transpose(0, 2, 1)
    matrices[labels == 1, :2, 2:] += 9  # 4 of the 6 entries above the diagonal
    train, test = split_subjects(labels, 0.25, 0)
    found = forest_probabilities(matrices, labels, train, test, 0)
    assert (found.argmax(axis=1) == labels[test]).all()


def test_splits_keep_the_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    train, test = split_subjects(labels, 0.2, 3)
    assert np.bincount(labels[test]).tolist() == [10, 6, 4]
    assert sorted([*train, *test]) == list(range(100))
    assert not np.array_equal(test, split_subjects(labels, 0.2, 4)[1])
    assert len(split_subjects(np.array([0, 0, 1, 1]), 0.01, 0)[1]) == 2
    for few, share in (([0, 1, 1, 1], 0.2), ([0, 0, 1, 1], 0.9)):
        with pytest.raises(ValueError, match="too few subjects"):
            split_subjects(np.array(few), share, 0)


def test_more_splits_go_on_from_those_there(tmp_path):
    cohort = stand_in(12)
    matrices = pearson_matrices(cohort.series)
    options = FitOptions(max_epochs=2, batch_size=4, progress=False, tensorboard=False)
    given = (matrices, cohort.labels, ["cnn", "forest"])
    first = run_splits(*given, 1, 0.4, tmp_path, options)
    both = run_splits(*given, 2, 0.4, tmp_path, options)
    for learner in ("cnn", "forest"):
        assert np.array_equal(first[0].probabilities[learner], both[0].probabilities[learner])
    assert both[0].histories["cnn"] == first[0].histories["cnn"]
    values = [split.accuracy("cnn", cohort.labels) for split in both]
    assert accuracies(both, cohort.labels)["cnn"] == {
        "mean": pytest.approx(np.mean(values)),
        "min": min(values),
        "max": max(values),
    }


def test_the_groups_of_the_stand_in_differ_in_nothing_simple():
    cohort = stand_in(20)
    assert np.array_equal(cohort.series[3], stand_in(4).series[3])  # a subject depends on its number alone
    assert not np.array_equal(cohort.series[3], stand_in(4, seed=1).series[3])
    assert cohort.series[0].shape == (ROIS, SAMPLES)
    assert np.bincount(cohort.labels).tolist() == [10, 10]
    rng = np.random.default_rng(0)
    for length in (120, 121):
        series = rng.normal(size=(HUBS, length)).cumsum(axis=1)
        other = surrogate(series, rng)
        assert np.allclose(np.abs(np.fft.rfft(series)), np.abs(np.fft.rfft(other)))
        assert np.allclose(series.mean(axis=1), other.mean(axis=1))
        assert not np.allclose(series, other)
