"""totalct_sam: the network against its definitions, its prompts, its memory and its loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from medkernels.attention import MemoryBank
from medkernels.zoo.totalct_sam import acceptance
from medkernels.zoo.totalct_sam.classes import TOTALSEGMENTATOR, check_classes, mirrored
from medkernels.zoo.totalct_sam.image_encoder import Attention
from medkernels.zoo.totalct_sam.memory import SHARPNESS, MemorizingBlock
from medkernels.zoo.totalct_sam.model import TotalCTSAM, build
from medkernels.zoo.totalct_sam.prompt_encoder import NEGATIVE, PADDING, POSITIVE, Prompts
from medkernels.zoo.totalct_sam.sizes import SIZES
from medkernels.zoo.totalct_sam.standin import Bodies
from medkernels.zoo.totalct_sam.training import silent_rounds, window_loss

CROPS = SIZES["crops"]


@pytest.fixture(autouse=True, scope="module")
def _quiet_threads():
    with acceptance.one_thread():
        yield


@pytest.fixture
def network():
    return build(CROPS, 4).eval()


def count(size, *, memory):
    with torch.device("meta"):
        network = TotalCTSAM(SIZES[size], 105, memory=memory)
    return sum(weight.numel() for weight in network.parameters())


def test_numbers_of_weights_are_the_reported_ones():
    with_memory, without = (count("small", memory=memory) for memory in (True, False))
    assert (with_memory, without) == (14_176_388, 13_880_508)  # reported: 14.18 and 13.88 million
    assert with_memory - without == 295_880
    assert count("base", memory=True) == 99_717_988


@pytest.mark.parametrize("size", ["tiny", "crops"])
def test_shapes(size):
    sizes = SIZES[size]
    network = build(sizes, 5).eval()
    with torch.inference_mode():
        maps = network.encode(torch.randn(2, 1, *[sizes.window] * 3))
        assert maps.shape == (2, sizes.dim, *[sizes.grid] * 3)
        assert network.decode(maps).shape == (2, 5, *[sizes.low] * 3)
    assert sizes.low * sizes.step == sizes.window


def test_weights_come_from_the_seed_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (build(CROPS, 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_relative_position_by_its_definition():
    grid, heads = 3, 2
    layer = Attention(8, heads, grid).double()
    for table in layer.rel_pos:
        torch.nn.init.normal_(table)
    x = torch.randn(1, grid**3, 8, dtype=torch.float64)
    q, k, v = (part.view(grid**3, heads, 4) for part in layer.qkv(x)[0].split(8, dim=1))
    places = [(z, y, x) for z in range(grid) for y in range(grid) for x in range(grid)]
    out = torch.zeros(grid**3, heads, 4, dtype=torch.float64)
    for head in range(heads):
        scores = torch.zeros(grid**3, grid**3, dtype=torch.float64)
        for i, one in enumerate(places):
            for j, other in enumerate(places):
                moved = sum(
                    q[i, head] @ table[one[axis] - other[axis] + grid - 1]
                    for axis, table in enumerate(layer.rel_pos)
                )
                scores[i, j] = q[i, head] @ k[j, head] / math.sqrt(4) + moved
        out[:, head] = scores.softmax(1) @ v[:, head]
    assert torch.allclose(layer(x)[0], layer.proj(out.flatten(1)), atol=1e-12)


def remembered(block, tokens, image, keys, values):
    """The memorizing block of one window, head by head and token by token."""
    heads, width = block.heads, block.q_proj.out_features // block.heads

    def cut(x, head):
        return x[:, head * width : (head + 1) * width]

    q, k, v = (
        proj(x[0]) for proj, x in ((block.q_proj, tokens), (block.k_proj, image), (block.v_proj, image))
    )
    parts = []
    for head in range(heads):
        gate = torch.sigmoid(block.gate[head])
        rows = []
        for query in F.normalize(cut(q, head), dim=1):
            here = (SHARPNESS * F.normalize(cut(k, head), dim=1) @ query).softmax(0) @ cut(v, head)
            scores = keys[0, head] @ query
            listed = scores.tolist()
            near = sorted(range(len(listed)), key=lambda j: (-listed[j], j))[: block.nearest]
            there = (SHARPNESS * scores[near]).softmax(0) @ values[0, head, near]
            rows.append(gate * there + (1 - gate) * here)
        parts.append(torch.stack(rows))
    return tokens + block.out_proj(torch.cat(parts, dim=1))


def test_memorizing_block_by_its_definition():
    torch.manual_seed(0)
    block = MemorizingBlock(CROPS).double()
    torch.nn.init.normal_(block.gate)
    past, image, classes = (torch.randn(1, n, CROPS.dim, dtype=torch.float64) for n in (64, 64, 3))
    memory = MemoryBank(100)
    first = block(past, past, memory)
    assert torch.allclose(first, block(past, past, None), atol=1e-12)  # nothing is remembered yet
    keys, values = memory.keys.clone(), memory.values.clone()
    assert torch.allclose(keys.norm(dim=3), torch.ones(1, CROPS.memory_heads, 64, dtype=torch.float64))
    tokens = torch.cat([image, classes], dim=1)
    expected = remembered(block, tokens, image, keys, values)
    assert torch.allclose(block(tokens, image, memory), expected, atol=1e-10)
    assert len(memory) == 100  # of 128, the last hundred


def test_the_memory_holds_no_gradient_and_survives_a_backward_pass():
    block = MemorizingBlock(CROPS)
    memory = MemoryBank(256)
    image = torch.randn(1, 64, CROPS.dim, requires_grad=True)
    total = sum(block(image, image, memory).square().mean() for _ in range(3))  # appends in between
    assert not memory.keys.requires_grad
    total.backward()
    assert block.gate.grad.abs().sum() > 0


def test_the_memory_changes_answers_and_is_the_callers(network):
    first, second = torch.randn(2, 1, 1, 16, 16, 16)
    with torch.inference_mode():
        memory = network.new_memory()
        network(first, memory=memory)
        read = network(second, memory=memory)
        alone = network(second, memory=network.new_memory())
        assert torch.equal(alone, network(second))
    assert not torch.allclose(read, alone)
    assert len(memory) == 128
    assert build(CROPS, 4, memory=False).new_memory() is None


def points(*places, kinds, classes):
    return Prompts(
        points=torch.tensor([places], dtype=torch.float32),
        kinds=torch.tensor([kinds]),
        classes=torch.tensor([classes]),
    )


def test_every_part_of_a_prompt_counts(network):
    window = torch.randn(1, 1, 16, 16, 16)
    mask = torch.randn(1, 1, 16, 16, 16)
    said = [
        Prompts(),
        points((3, 4, 5), kinds=[POSITIVE], classes=[1]),
        points((3, 4, 6), kinds=[POSITIVE], classes=[1]),
        points((3, 4, 5), kinds=[NEGATIVE], classes=[1]),
        points((3, 4, 5), kinds=[POSITIVE], classes=[2]),
        points((3, 4, 5), kinds=[POSITIVE], classes=[-1]),
        points((3, 4, 5), (9, 9, 9), kinds=[2, 3], classes=[1, 1]),
        Prompts(mask=mask),
        Prompts(mask=mask, mask_class=torch.tensor([1])),
        Prompts(mask=-mask, mask_class=torch.tensor([1])),
    ]
    with torch.inference_mode():
        maps = network.encode(window)
        answers = [network.decode(maps, prompts) for prompts in said]
    for i, one in enumerate(answers):
        assert all(not torch.allclose(one, other, atol=1e-5) for other in answers[:i]), i


def test_the_order_of_points_does_not_count(network):
    maps = network.encode(torch.randn(1, 1, 16, 16, 16))
    one = points((1, 2, 3), (9, 8, 7), kinds=[POSITIVE, NEGATIVE], classes=[1, 2])
    other = points((9, 8, 7), (1, 2, 3), kinds=[NEGATIVE, POSITIVE], classes=[2, 1])
    assert torch.allclose(network.decode(maps, one), network.decode(maps, other), atol=1e-4)


def test_padding_says_nothing_of_place_and_class(network):
    maps = network.encode(torch.randn(1, 1, 16, 16, 16))
    one = points((1, 2, 3), kinds=[PADDING], classes=[1])
    other = points((7, 7, 7), kinds=[PADDING], classes=[3])
    assert torch.equal(network.decode(maps, one), network.decode(maps, other))


def test_no_class_head_is_private(network):
    """The filter of a class comes from its token alone: exchanged tokens exchange the maps."""
    window = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        before = network(window)
        tokens = network.mask_decoder.class_tokens.weight
        tokens.copy_(tokens[[0, 2, 1, 3]])
        assert torch.allclose(network(window), before[:, [0, 2, 1, 3]], atol=1e-4)


@pytest.mark.parametrize("clicks", [0, 1, 4])
def test_gradients_reach_every_weight(clicks):
    torch.manual_seed(1)
    network = build(replace(CROPS, window=8), 3).train()
    items = [Bodies(1, 0)[0], Bodies(1, 1)[0]]
    batch = {name: torch.stack([item[name][..., 4:12, 4:12, 4:12] for item in items]) for name in items[0]}
    assert batch["labels"][:, -1].any()
    terms = window_loss(network, batch, clicks=clicks)
    terms["loss"].backward()
    assert set(terms) == ({"loss", "plain", "clicked"} if clicks else {"loss", "plain"})
    missing = {name for name, weight in network.named_parameters() if weight.grad is None}
    prompted = {name for name, _ in network.named_parameters() if "prompt_encoder" in name}
    # Without clicks no prompt is encoded, with them the padding of solved windows may be.
    assert missing == (prompted - {"prompt_encoder.no_mask.weight"} if not clicks else set())


def test_loss_without_clicks_is_cross_entropy_and_dice():
    network = build(CROPS, 3).double()
    item = Bodies(1, 0)[0]
    batch = {"windows": item["windows"][None].double(), "labels": item["labels"][None]}
    memory = network.new_memory()
    network(batch["windows"][:, 0], memory=memory)
    logits = network(batch["windows"][:, 1], memory=memory)
    truth = batch["labels"][:, 1].long()
    shares = logits.softmax(1)
    dice = []
    for number in range(3):
        p, y = shares[:, number], (truth == number).double()
        dice.append((2 * (p * y).sum() + 1e-5) / (p.square().sum() + y.square().sum() + 1e-5))
    expected = F.cross_entropy(logits, truth) + 1 - torch.stack(dice).mean()
    assert torch.allclose(window_loss(network, batch, clicks=0)["loss"], expected, atol=1e-10)


def test_half_precision():
    network = build(CROPS, 3)
    batch = {name: value[None] for name, value in Bodies(1, 0)[0].items()}
    whole = window_loss(network, batch, clicks=0)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        half = window_loss(network, batch, clicks=0)["loss"]
    half.backward()
    assert abs(half.item() - whole.item()) < 0.05


def test_silent_rounds():
    assert [silent_rounds(clicks) for clicks in (1, 2, 3)] == [set(), {1}, {2}]
    drawn = [silent_rounds(11) for _ in range(200)]
    assert all(10 in rounds and len(rounds) == 2 for rounds in drawn)
    assert set().union(*drawn) == {2, 3, 4, 5, 6, 7, 8, 10}


def test_classes():
    assert len(TOTALSEGMENTATOR) == len(set(TOTALSEGMENTATOR)) == 104
    # Numbers of the published table, from different parts of it.
    known = {"spleen": 1, "vertebrae_L5": 18, "esophagus": 42, "small_bowel": 55, "rib_right_1": 70}
    known |= {"humerus_left": 82, "face": 93, "urinary_bladder": 104}
    assert {name: TOTALSEGMENTATOR.index(name) + 1 for name in known} == known
    assert mirrored(("kidney_left", "liver", "kidney_right", "rib_left_1")) == [0, 3, 2, 1, 4]
    swapped = mirrored(TOTALSEGMENTATOR)
    assert [swapped[number] for number in swapped] == list(range(105))
    for bad in ([], ["a", "a"], ["background"], [""], ["a/b"], [f"s{n}" for n in range(256)]):
        with pytest.raises(ValueError, match="classes: "):
            check_classes(bad)


def test_the_kernels_equal_their_references():
    found = acceptance.memory_check()
    assert found["topk_equal"]
    assert found["memory_gap"] < 1e-5
    assert acceptance.gradient_check()
    assert acceptance.argmax_check(low=6, size=24)


def test_the_time_of_a_scan_is_told():
    found = acceptance.time_scan(130)
    assert found["windows"] == 8
    assert set(found) == {"windows", "judge", "labels", "click", "megabytes"}
    assert min(found["judge"], found["labels"], found["click"]) > 0


@pytest.mark.slow
def test_acceptance_on_the_stand_in():
    scores = {memory: acceptance.mean_dice(memory, 0, progress=False) for memory in (True, False)}
    assert scores[True] >= 0.85
    assert scores[True] >= scores[False] + 0.25
