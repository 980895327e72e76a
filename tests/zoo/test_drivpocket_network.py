"""drivpocket: the network against its definitions, its size, and what turning a protein does to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medkernels.zoo.drivpocket import acceptance
from medkernels.zoo.drivpocket.dria import DRIA, Attention, DRIABlock
from medkernels.zoo.drivpocket.geometry import geometry
from medkernels.zoo.drivpocket.model import DRIVPocket, build
from medkernels.zoo.drivpocket.point_stream import RID, RIU, invariant_grids
from medkernels.zoo.drivpocket.sites import random_rotation
from medkernels.zoo.drivpocket.standin import stand_in
from medkernels.zoo.drivpocket.training import Sites, dice_loss, losses
from medkernels.zoo.drivpocket.voxel_stream import grid_sizes

EDGE = 17


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with acceptance.one_thread():
        yield


def millions(**options):
    with torch.device("meta"):
        return sum(weight.numel() for weight in DRIVPocket(32, **options).parameters()) / 1e6


def test_numbers_of_parameters_are_the_published_ones():
    alone = Attention(branches="none")
    assert millions(streams="voxel", attention=alone) == pytest.approx(26.37, abs=0.005)
    assert millions(streams="points") == pytest.approx(27.30 - 26.37, abs=0.005)
    assert millions(attention=alone) == pytest.approx(27.30, abs=0.005)
    # Shared dual attention, and all of it: the text leaves open in which levels; ours has it in all seven.
    assert millions(streams="voxel") == pytest.approx(28.96, abs=0.02)
    assert millions() == pytest.approx(30.21, rel=0.005)
    assert millions(second_kernel=3) > 41


def test_weights_come_from_the_seed_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (build(4, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_the_first_probability_of_a_voxel():
    bias = build(4, prior=0.02).voxels.out.bias
    assert torch.sigmoid(bias).item() == pytest.approx(0.02)


@pytest.mark.parametrize(("edge", "sizes"), [(17, (8, 4, 2, 1)), (33, (16, 8, 4, 2)), (65, (32, 16, 8, 4))])
def test_grids_halve(edge, sizes):
    assert grid_sizes(edge) == sizes


@pytest.mark.parametrize("edge", [1, 16, 18, 32, 64, 66, 17.0, True])
def test_grids_that_do_not_halve(edge):
    with pytest.raises(ValueError, match="the grid must have"):
        grid_sizes(edge)


@pytest.mark.parametrize("branches", ["both", "spatial", "channel"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("gates", [0, 6])
def test_attention_by_its_definition(branches, normalise, gates):
    """With as many queries as voxels ProbSparse attention is attention."""
    torch.manual_seed(0)
    attention = Attention(heads=2, factor=100, branches=branches, normalise=normalise)
    layer = DRIA(8, attention, gates).double()
    x, gate = torch.randn(2, 27, 8).double(), torch.randn(2, 27, 6).double()
    parts = list((x @ layer.w.weight.T).chunk(4 if branches == "both" else 3, dim=2))
    q, k = parts[0], parts[1]
    if gates:
        q = q * (gate @ layer.w_r.weight.T)
    if normalise:
        q, k = (value / value.square().sum(1, keepdim=True).sqrt() for value in (q, k))
    spatial, channel = torch.zeros_like(x), torch.zeros_like(x)
    for b in range(2):
        for h in (slice(0, 4), slice(4, 8)):
            rows = (q[b, :, h] @ k[b, :, h].T / 2).softmax(1)
            spatial[b, :, h] = rows @ parts[2][b, :, h]
            mixing = (q[b, :, h].T @ k[b, :, h] / 2).softmax(1)
            channel[b, :, h] = parts[-1][b, :, h] @ mixing.T
    expected = torch.zeros_like(x)
    if branches != "channel":
        expected = expected + layer.w_o1(spatial)
    if branches != "spatial":
        expected = expected + layer.w_o2(channel)
    assert torch.allclose(layer(x, gate if gates else None), expected, atol=1e-10)


def test_few_voxels_attend_and_the_others_take_the_mean():
    torch.manual_seed(0)
    layer = DRIA(4, Attention(heads=1, factor=1, branches="spatial"), 0).eval()
    x = torch.randn(1, 64, 4)
    out = layer(x, None)
    mean = layer.w_o1((x @ layer.w.weight[8:].T).mean(1))
    assert int(((out[0] - mean).abs().amax(1) > 1e-6).sum()) == math.ceil(math.log(64))


def test_block_by_its_definition():
    torch.manual_seed(0)
    block = DRIABlock(4, Attention(heads=2, factor=50), 3).eval()
    torch.nn.init.normal_(block.gamma)
    x, gate = torch.randn(1, 4, 3, 3, 3), torch.randn(1, 3, 3, 3, 3)
    found = block.dria(x.flatten(2).transpose(1, 2), gate.flatten(2).transpose(1, 2))
    y = x + block.gamma.view(1, 4, 1, 1, 1) * found.transpose(1, 2).view_as(x)
    z = y + torch.nn.functional.group_norm(
        torch.nn.functional.conv3d(y, block.conv[1].weight, padding=1), 1, block.conv[2].weight
    )
    assert torch.allclose(block(x, gate), torch.where(z > 0, z, 0.01 * z), atol=1e-5)


def test_keys_change_in_training_and_only_there():
    torch.manual_seed(0)
    layer = DRIA(8, Attention(heads=1, factor=1, branches="spatial"), 0)
    x = torch.randn(1, 400, 8)
    layer.eval()
    assert torch.equal(layer(x, None), layer(x, None))
    layer.train()
    torch.manual_seed(1)
    one, other = layer(x, None), layer(x, None)
    torch.manual_seed(1)
    assert torch.equal(layer(x, None), one)
    assert not torch.equal(one, other)


def cloud(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.4, (1, count, 3)).astype(np.float32))


def nearest(points, queries, k):
    """Sets of the k nearest points of each query, by all distances."""
    gaps = np.linalg.norm(queries[:, None].astype(np.float64) - points[None], axis=2)
    return [set(row) for row in np.argsort(gaps, axis=1, kind="stable")[:, :k].tolist()]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 200))
def test_neighbourhoods_are_those_of_the_levels(count):
    points = cloud(count, seed=count)
    around = geometry(points)
    levels = [level[0].numpy() for level in around.levels]
    assert [len(level) for level in levels] == [count, *(min(count, n) for n in (128, 64, 32, 16))]
    for number, pick in enumerate(around.picks):
        assert np.array_equal(levels[number + 1], levels[number][pick[0].numpy()])
    for number, (near, k) in enumerate(zip(around.down, (4, 8, 16, 32), strict=True)):
        expected = nearest(levels[number], levels[number + 1], k)
        assert [set(row) for row in near.indices[0].tolist()] == expected
    for near, fine, k in zip(around.up, (3, 2, 1, 0), (4, 8, 16, 32), strict=True):
        found = [set(row) for row in near.indices[0].tolist()]
        assert found == nearest(levels[fine + 1], levels[fine], k)
    for near in (*around.down, *around.up):
        assert torch.isfinite(near.features).all()


def test_distances_are_the_first_feature_on_the_way_up():
    around = geometry(cloud(150))
    for near, fine, coarse in zip(around.up, around.levels[-2::-1], around.levels[:0:-1], strict=True):
        gaps = (coarse[0][near.indices[0]] - fine[0][:, None]).norm(dim=2)
        assert torch.allclose(near.features[0, ..., 0], gaps, atol=1e-6)


def test_coinciding_atoms():
    points = torch.cat([cloud(40), cloud(40), cloud(1).expand(1, 30, 3)], dim=1)
    around = geometry(points)
    for near, size in zip(around.up, [level.shape[1] for level in around.levels[:0:-1]], strict=True):
        assert int(near.indices.min()) >= 0
        assert int(near.indices.max()) < size


def test_layers_of_the_point_stream_by_their_definition():
    torch.manual_seed(0)
    around, types = geometry(cloud(150)), torch.rand(1, 150, 14)
    down, up = RID(22, 5, 7, (6, 12)).eval(), RIU(8, 5, 3, 4, (6, 12)).eval()
    previous, coarse, skip = torch.randn(1, 150, 5), torch.randn(1, 128, 5), torch.randn(1, 150, 3)
    near = around.down[0]
    out = down(near, types, previous)
    for i in (0, 31):
        each = []
        for j, place in enumerate(near.indices[0, i]):
            lifted = down.lift(torch.cat([near.features[0, i, j], types[0, place]])[None])
            each.append(down.conv(torch.cat([lifted[0], previous[0, place]])[None]))
        assert torch.allclose(out[0, i], torch.cat(each).amax(0), atol=1e-5)
    near = around.up[-1]
    out = up(near, coarse, skip)
    for i in (2, 149):
        each = []
        for j, place in enumerate(near.indices[0, i]):
            lifted = up.lift(near.features[0, i, j][None])
            each.append(up.conv(torch.cat([lifted[0], coarse[0, place]])[None]))
        joined = torch.cat([torch.cat(each).amax(0), skip[0, i]])
        assert torch.allclose(out[0, i], up.join(joined[None])[0], atol=1e-5)


def test_features_reach_the_voxels_of_their_level():
    points = cloud(150)
    around = geometry(points)
    clouds = [*around.levels[1:], *around.levels[-2:0:-1]]
    found = [torch.randn(1, level.shape[1], 3) for level in clouds]
    grids = invariant_grids(around, found, (8, 4, 2, 1))
    assert [grid.shape[-1] for grid in grids] == [8, 4, 2, 1, 2, 4, 8]
    for grid, level, values in zip(grids, clouds, found, strict=True):
        edge = grid.shape[-1]
        placed = level[0].double() - level[0].double().mean(0)
        cells = ((placed + 1) / 2 * edge).clamp(0, edge - 1).round().long()
        expected = torch.zeros(3, edge, edge, edge)
        for cell in {tuple(row) for row in cells.tolist()}:
            inside = (cells == torch.tensor(cell)).all(1)
            expected[(slice(None), *cell)] = values[0, inside].mean(0)
        assert torch.allclose(grid[0], expected, atol=1e-5)


@pytest.mark.parametrize("features", ["invariant", "xyz"])
def test_only_invariant_features_bear_turning(features):
    protein = stand_in(1, 3)[0]
    site = acceptance.CUBE.site(protein, acceptance.MIDDLE)
    network = build(8, streams="points", features=features).eval()
    points, types = site.points[site.present], torch.from_numpy(site.types[site.present])[None]
    turned = points @ random_rotation(np.random.default_rng(0)).T
    with torch.no_grad():
        one, other = (network(None, torch.from_numpy(each)[None], types)[1] for each in (points, turned))
    gap = (one - other).abs().max().item()
    assert (gap < 1e-4) == (features == "invariant"), gap


def test_the_acceptance_checks_of_kernels():
    assert acceptance.rotation_gap(proteins=3) <= 1e-4
    found = acceptance.gridding_gap()
    assert found["gridding_gap"] <= 1e-5
    assert found["gradcheck"]


def batch(edge=EDGE, count=60):
    generator = torch.Generator().manual_seed(0)
    return {
        "voxels": torch.rand(2, 14, edge, edge, edge, generator=generator),
        "points": torch.cat([cloud(count, 1), cloud(count, 2)]),
        "types": torch.randint(14, (2, count), generator=generator),
        "present": torch.ones(2, count, dtype=torch.bool),
        "voxel_labels": torch.randint(2, (2, edge, edge, edge), generator=generator).float(),
        "atom_labels": torch.randint(2, (2, count), generator=generator).float(),
    }


@pytest.mark.parametrize(
    ("streams", "branches"),
    [
        ("both", "both"),
        ("both", "spatial"),
        ("both", "channel"),
        ("voxel", "both"),
        ("voxel", "none"),
        ("points", "both"),
    ],
)
def test_gradients_reach_every_weight(streams, branches):
    network = build(4, point_width=6, streams=streams, attention=Attention(branches=branches)).train()
    losses(network, batch(33))["loss"].backward()
    missed = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert not missed


def test_answers_have_the_shapes_of_their_questions():
    given = batch()
    for streams, wanted in (("both", (True, True)), ("voxel", (True, False)), ("points", (False, True))):
        network = build(4, streams=streams).eval()
        with torch.no_grad():
            voxels, points = network(given["voxels"], given["points"], given["types"])
        assert (voxels is not None, points is not None) == wanted
        assert voxels is None or voxels.shape == (2, EDGE, EDGE, EDGE)
        assert points is None or points.shape == (2, 60)


def test_types_may_be_one_hot():
    given, network = batch(), build(4).eval()
    hot = torch.nn.functional.one_hot(given["types"], 14).float()
    with torch.no_grad():
        one = network(given["voxels"], given["points"], given["types"])
        other = network(given["voxels"], given["points"], hot)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_half_precision():
    given, network = batch(), build(4).eval()
    with torch.no_grad():
        whole = network(given["voxels"], given["points"], given["types"])
        with torch.autocast("cpu", torch.bfloat16):
            half = network(given["voxels"], given["points"], given["types"])
    for one, other in zip(whole, half, strict=True):
        assert (one.sigmoid() - other.float().sigmoid()).abs().max() < 0.05


@pytest.mark.parametrize("count", [1, 2, 5])
def test_clouds_of_hardly_any_atoms(count):
    network = build(4).eval()
    with torch.no_grad():
        voxels, points = network(
            torch.rand(1, 14, EDGE, EDGE, EDGE), cloud(count), torch.zeros(1, count, dtype=torch.int64)
        )
    assert torch.isfinite(voxels).all()
    assert torch.isfinite(points).all()


def test_losses_by_their_definition():
    given, network = batch(), build(4).eval()
    given["present"][0, 20:] = False
    with torch.no_grad():
        terms = losses(network, given)
        voxels, points = network(given["voxels"], given["points"], given["types"])
    p, y = voxels.sigmoid().double(), given["voxel_labels"].double()
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    dice = [1 - (2 * (a * b).sum() + 0.01) / (a.sum() + b.sum() + 0.01) for a, b in zip(p, y, strict=True)]
    p, y = points.sigmoid().double(), given["atom_labels"].double()
    each = -(y * p.log() + (1 - y) * (1 - p).log())
    atoms = (each[0, :20].mean() + each[1].mean()) / 2
    expected = 2 * entropy + 0.5 * sum(dice) / 2 + atoms
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert dice_loss(given["voxel_labels"], given["voxel_labels"]).item() == pytest.approx(0, abs=1e-6)


def test_draws_hang_on_the_seed_alone():
    sites = Sites([(protein, acceptance.MIDDLE) for protein in stand_in(1)], acceptance.CUBE, turn=True)
    one, again, other = (torch.manual_seed(seed) and sites[0] for seed in (1, 1, 2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["voxels"], other["voxels"])
    fixed = Sites(sites.entries, acceptance.CUBE, turn=False)
    assert torch.equal(fixed[0]["points"], fixed[0]["points"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"width": 0}, "width must be"),
        ({"point_width": 2.5}, "point_width must be"),
        ({"streams": "all"}, "streams must be one of"),
        ({"features": "polar"}, "features must be one of"),
        ({"second_kernel": 5}, "second_kernel must be 1 or 3"),
        ({"prior": 1.0}, "prior must lie in"),
        ({"width": 3, "attention": Attention(heads=4)}, "heads must divide 6 channels"),
    ],
)
def test_bad_options_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        build(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"heads": 0}, "heads must be"),
        ({"factor": 1.5}, "factor must be"),
        ({"branches": "first"}, "branches must be one of"),
        ({"mean": "median"}, "mean must be one of"),
    ],
)
def test_bad_options_of_attention_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        Attention(**options)
