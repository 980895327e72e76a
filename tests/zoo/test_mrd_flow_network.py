"""mrd_flow: the networks against their definitions, graph and samples, metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from medkernels.zoo.mrd_flow import acceptance, blocks
from medkernels.zoo.mrd_flow.apply import infer
from medkernels.zoo.mrd_flow.attention import MAB
from medkernels.zoo.mrd_flow.graph import (
    gathered,
    induce,
    induced_count,
    neighbour_softmax,
    neighbour_sum,
    neighbour_table,
)
from medkernels.zoo.mrd_flow.metrics import f1_scores, sample_metrics
from medkernels.zoo.mrd_flow.model import MODELS, GATConv, GINConv, build
from medkernels.zoo.mrd_flow.sample import Sample
from medkernels.zoo.mrd_flow.standin import stand_in
from medkernels.zoo.mrd_flow.training import Draws, Structure, draw

COUNTS = {"st": 34_881, "st-fps": 32_161, "gat-st-fps": 28_001, "gin-st-fps": 30_049}


@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_parameters_are_the_published_ones(name):
    assert sum(weight.numel() for weight in build(name, 11).parameters()) == COUNTS[name]


def test_150_inducing_points():
    assert sum(weight.numel() for weight in build("st", 11, points=150).parameters()) == 52_033


def test_weights_come_from_the_seed_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (build("gat-st-fps", 5, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 12), st.integers(0, 3))
def test_graph_and_samples_equal_their_references(count, channels, k, levels):
    rng = np.random.default_rng(count * 97 + k)
    points = rng.normal(size=(count, channels)).astype(np.float32)
    if levels:
        points = np.round(points * levels)
    table = neighbour_table(points, k)
    assert table.shape == (count, k)
    near = min(k, count - 1)
    if near:
        assert np.array_equal(table[:, :near], acceptance.nearest(points, near))
    assert (table[:, near:] == -1).all()
    start = int(rng.integers(count))
    expected = acceptance.farthest(points, count, start)
    assert np.array_equal(induce(points, count, start), expected)


def test_many_events_in_eleven_dimensions():
    assert acceptance.structure_check(2500) == {"knn_equal": True, "fps_equal": True}


def test_how_many_events_induce():
    assert [induced_count(n, 0.0005, None) for n in (1, 2000, 2001, 50_000, 10**6)] == [1, 1, 2, 25, 500]
    assert [induced_count(n, 0.0005, 48) for n in (10, 1000)] == [10, 48]


@pytest.fixture
def cloud():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 30, 5, generator=generator)
    table = np.stack([neighbour_table(part.numpy(), 4) for part in x])
    return x, torch.from_numpy(table)


def test_gin_layer_by_its_definition(cloud):
    x, table = cloud
    layer = GINConv(5)
    out = layer(x, table)
    for b, i in ((0, 0), (1, 17)):
        assert torch.allclose(out[b, i], layer.mlp(x[b, i] + x[b, table[b, i]].sum(0)), atol=1e-5)


def test_gat_layer_by_its_definition(cloud):
    x, table = cloud
    layer = GATConv(5, dropout=0.0)
    out = layer(x, table)
    for b, i in ((0, 3), (1, 29)):
        around = torch.cat([torch.tensor([i]), table[b, i]])
        values = layer.lin(x[b]).view(30, 4, 8)
        for head in range(4):
            pull = values[around, head] @ layer.att_src[head] + values[i, head] @ layer.att_dst[head]
            alpha = F.leaky_relu(pull, 0.2).softmax(0)
            expected = alpha @ values[around, head] + layer.bias[8 * head : 8 * head + 8]
            assert torch.allclose(out[b, i, 8 * head : 8 * head + 8], expected, atol=1e-5)


def test_attention_block_by_its_definition():
    block = MAB(7, 5, 32, 4)
    queries, keys = torch.randn(2, 6, 7), torch.randn(2, 9, 5)
    q, k, v = block.fc_q(queries), block.fc_k(keys), block.fc_v(keys)
    heads = []
    for h in range(4):
        part = slice(8 * h, 8 * h + 8)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(32)
        heads.append(scores.softmax(-1) @ v[..., part])
    o = block.ln0(q + torch.cat(heads, -1))
    assert torch.allclose(block(queries, keys), block.ln1(o + F.gelu(block.fc_o(o))), atol=1e-5)


def test_absent_neighbours_add_nothing():
    x = torch.arange(6.0).view(1, 3, 2)
    table = torch.tensor([[[1, -1], [-1, -1], [0, 2]]])
    assert neighbour_sum(x, table).tolist() == [[[2, 3], [0, 0], [4, 6]]]
    assert torch.isfinite(GATConv(2, 0.0)(x, table)).all()


def test_sums_on_other_devices_are_the_same(cloud):
    x, table = cloud
    table[:, ::3, 2:] = -1
    values, scores = x[..., :4].reshape(2, 30, 2, 2), torch.randn(2, 30, 4, 2)
    on_cpu = neighbour_softmax(scores, table)
    around = gathered(values, table)
    assert torch.allclose(neighbour_sum(values, table), around.sum(2), atol=1e-5)
    weighted = (on_cpu[..., None] * around).sum(2)
    assert torch.allclose(neighbour_sum(values, table, on_cpu), weighted, atol=1e-5)
    expected = scores.masked_fill((table < 0)[..., None], -torch.inf).softmax(2)
    assert torch.allclose(on_cpu, expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_answers_follow_a_permutation(name):
    network = build(name, 10).eval()
    assert acceptance.permutation_gap(network, stand_in(1, 3, events=700)[0]) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_blocks_of_events_change_nothing(name, monkeypatch):
    network, sample = build(name, 10), stand_in(1, 4, events=500)[0]
    whole = infer(network, Structure(), sample)
    monkeypatch.setattr(blocks, "BLOCK", 64)
    assert np.allclose(infer(network, Structure(), sample).probabilities, whole.probabilities, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_samples_of_hardly_any_events(name, count):
    values = np.ones((count, 3), np.float32)
    answer = infer(build(name, 3), Structure(), Sample("tiny", values))
    assert np.isfinite(answer.probabilities).all()
    assert answer.probabilities.shape == (count,)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision(name):
    network, sample = build(name, 10), stand_in(1, 6, events=300)[0]
    whole = infer(network, Structure(), sample).probabilities
    with torch.autocast("cpu", torch.bfloat16):
        half = infer(network, Structure(), sample).probabilities
    assert np.abs(half - whole).max() < 0.05


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_weight(name):
    network = build(name, 10).train()
    drawn = Draws(stand_in(2), 200, network, Structure(picks=4), jitter=0.01, training=True)
    batch = torch.utils.data.default_collate([drawn[0], drawn[1]])
    network(batch["features"], batch.get("neighbours"), batch.get("picks")).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_draws_hang_on_the_seed_alone():
    network, samples = build("gin-st-fps", 10), stand_in(2)
    drawn = Draws(samples, 300, network, Structure(), jitter=0.01, training=True)
    one, again, other = (torch.manual_seed(seed) and drawn[0] for seed in (1, 1, 2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["features"], other["features"])
    assert set(one) == {"features", "labels", "neighbours", "picks"}
    fixed = Draws(samples, 300, network, Structure(), jitter=0.01, training=False)
    assert torch.equal(fixed[1]["picks"], fixed[1]["picks"])
    rows = (torch.from_numpy(samples[1].features)[None] == fixed[1]["features"][:, None]).all(2)
    assert rows.any(1).all()


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_draw_holds_all_events_before_it_repeats_one(available, events):
    chosen = draw(available, events, np.random.default_rng(events))
    assert len(chosen) == events
    assert len(set(chosen.tolist())) == min(available, events)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_metrics_are_those_of_scikit_learn(pairs):
    found, truth = (np.array(column) for column in zip(*pairs, strict=True))
    scores = sample_metrics(found, truth)
    drawn = float(f1_scores(torch.from_numpy(found)[None], torch.from_numpy(truth)[None]))
    if not found.any() and not truth.any():
        assert scores == {"precision": 1, "recall": 1, "f1": 1}
        assert drawn == 1
        return
    for name, peer in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert scores[name] == pytest.approx(peer(truth, found, zero_division=0), abs=2e-5)
    assert drawn == pytest.approx(f1_score(truth, found))
