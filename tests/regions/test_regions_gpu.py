"""Labels, measures and max-trees of arrays in the memory of a GPU against the CPU: the same numbers."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk
from tests.regions.scenes import PICTURES, VOLUMES

# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]

ON_THE_CPU = ("mser", "mmser", "area_open", "fill_holes", "saturation_mask", "specular_mask")
DTYPES = ["uint8", "uint16", "int16", "float32", "float64"]


def random_masks(shape: tuple[int, ...]) -> list[np.ndarray]:
    """From empty to full; noise, lines, boards."""
    random = np.random.default_rng(0)
    place = np.indices(shape)
    masks = [random.random(shape) < density for density in (0, 0.1, 0.4, 0.5, 0.6, 0.9, 1)]
    masks += [place.sum(axis=0) % 2 == 0, (place[-1] + 3 * place[-2]) % 5 < 2, place[-1] % 40 != 7]
    return masks


def random_images(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Noise of few and of many values, ramps, flats, walks with long ways up."""
    random = np.random.default_rng(1)
    size = int(np.prod(shape))
    ramp = np.arange(size).reshape(shape) % 251
    walk = np.cumsum(random.integers(-1, 2, size)).reshape(shape) % 200
    images = [random.integers(0, levels, shape) for levels in (1, 2, 5, 250)]
    return [*images, ramp, ramp[..., ::-1], walk, np.indices(shape).sum(axis=0) % 200]


def sizes(connectivity: int) -> list[tuple[int, ...]]:
    if connectivity in PICTURES:
        return [(1, 1), (1, 3000), (700, 1), (61, 130), (500, 701)]
    return [(1, 1, 1), (5, 1, 70), (1, 40, 33), (9, 20, 65), (40, 50, 131)]


def check_labels(mask: np.ndarray, connectivity: int) -> None:
    options: Any = {"connectivity": connectivity, "return_measures": True}
    wanted, wanted_count, wanted_measures = mk.regions.label(mask, **options)
    labels, count, measures = mk.regions.label(torch.from_numpy(mask).cuda(), **options)
    assert labels.is_cuda
    assert labels.dtype == torch.int32
    np.testing.assert_array_equal(labels.cpu().numpy(), wanted)
    assert count == wanted_count
    if not isinstance(count, list):
        measures, wanted_measures = [measures], [wanted_measures]
    for ours, theirs in zip(measures, wanted_measures, strict=True):
        for name, array in theirs._asdict().items():
            found = getattr(ours, name).cpu().numpy()
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array, err_msg=name)


def check_tree(image: np.ndarray, connectivity: int) -> None:
    wanted = mk.regions.max_tree(image, connectivity=connectivity)
    found = mk.regions.max_tree(torch.from_numpy(image).cuda(), connectivity=connectivity)
    for name, array in wanted._asdict().items():
        ours = getattr(found, name)
        assert ours.is_cuda
        assert ours.dtype == torch.int32
        np.testing.assert_array_equal(ours.cpu().numpy(), array, err_msg=name)


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_labels(connectivity: int) -> None:
    for shape in sizes(connectivity):
        for mask in random_masks(shape):
            check_labels(mask, connectivity)


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_label_batches(connectivity: int) -> None:
    shape = (50, 130) if connectivity in PICTURES else (7, 9, 70)
    check_labels(np.stack(random_masks(shape)), connectivity)
    check_labels(np.random.default_rng(2).random((300, *(9,) * len(shape))) < 0.4, connectivity)
    check_labels(np.zeros((0, *shape), bool), connectivity)
    check_labels(np.zeros((3, *shape[:-1], 0), bool), connectivity)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_max_trees(connectivity: int, dtype: str) -> None:
    for shape in sizes(connectivity):
        for image in random_images(shape):
            check_tree((image if dtype == "uint8" else image * 90.0 - 60).astype(dtype), connectivity)


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_max_tree_batches(connectivity: int) -> None:
    shape = (50, 130) if connectivity in PICTURES else (7, 9, 70)
    images = np.stack(random_images(shape))
    for dtype in ("uint8", "float32", "float64"):
        check_tree(images.astype(dtype), connectivity)
    check_tree(
        np.random.default_rng(3).integers(0, 9, (300, *(9,) * len(shape))).astype(np.uint16), connectivity
    )
    check_tree(np.zeros((0, *shape), np.uint8), connectivity)
    check_tree(np.zeros((3, *shape[:-1], 0), np.uint8), connectivity)


def test_more_elements_than_one_pass_takes() -> None:
    check_tree(np.random.default_rng(4).integers(0, 255, (5, 4096, 4096)).astype(np.uint8), 8)


def test_extreme_values() -> None:
    values = [-np.inf, np.inf, 0.0, -0.0]
    for dtype in (np.float32, np.float64):
        finite = np.finfo(dtype)
        ends = [finite.smallest_subnormal, -finite.smallest_subnormal, finite.max, finite.min]
        image = np.array([[*values, *ends]], dtype)
        check_tree(image, 4)
        check_tree(image.T.copy(), 8)


def test_moments_of_a_long_row() -> None:
    """Sums of squares of offsets that 64 bits do not hold."""
    check_labels(np.ones((1, 1 << 23), bool), 8)


def test_any_number_and_layout() -> None:
    mask = np.random.default_rng(5).random((40, 70)) < 0.5
    wanted = mk.regions.label(mask)[0]
    device = torch.from_numpy(mask).cuda()
    shifted = (
        torch.zeros(41 * 70 + 1, dtype=torch.bool, device="cuda")[1 : 1 + 2800].view(40, 70).copy_(device)
    )
    variants = [
        device.to(torch.uint8) * 255,
        device.to(torch.int64) * -(2**40),
        device.to(torch.int8) * -128,
        device.to(torch.int16) * 256,
        device.to(torch.int32) * 2**20,
        device.T.contiguous().T,
        device.repeat_interleave(2, 1)[:, ::2],
        shifted,
    ]
    for variant in variants:
        assert np.array_equal(mk.regions.label(variant)[0].cpu().numpy(), wanted)


def test_is_the_same_each_time() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    image = torch.randint(0, 40, (3, 300, 400), device="cuda", generator=generator).to(torch.uint8)
    trees = [mk.regions.max_tree(image) for _ in range(4)]
    labels = [mk.regions.label(image > 20, return_measures=True) for _ in range(4)]
    for tree, (numbers, counts, measures) in zip(trees, labels, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tree, trees[0], strict=True))
        assert torch.equal(numbers, labels[0][0])
        assert counts == labels[0][1]
        for ours, first in zip(measures, labels[0][2], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, first, strict=True))


def test_another_stream() -> None:
    mask = np.random.default_rng(6).random((300, 500)) < 0.6
    wanted = mk.regions.label(mask)[0]
    tree = mk.regions.max_tree(mask.astype(np.uint8))
    device, stream = torch.from_numpy(mask).cuda(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late = device.logical_not().logical_not()
        labels = mk.regions.label(late)[0].cpu()
        parent = mk.regions.max_tree(late.to(torch.uint8)).parent.cpu()
    assert np.array_equal(labels.numpy(), wanted)
    assert np.array_equal(parent.numpy(), tree.parent)


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    mask = np.random.default_rng(7).random((2, 50, 70)) < 0.5
    wanted, wanted_counts, wanted_measures = mk.regions.label(mask, return_measures=True)
    labels, counts, measures = mk.regions.label(cupy.asarray(mask), return_measures=True)
    assert isinstance(labels, cupy.ndarray)
    assert counts == wanted_counts
    np.testing.assert_array_equal(cupy.asnumpy(labels), wanted)
    for ours, theirs in zip(measures, wanted_measures, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(cupy.asnumpy(a), b)
    image = np.random.default_rng(8).normal(size=(50, 70))
    for a, b in zip(mk.regions.max_tree(cupy.asarray(image)), mk.regions.max_tree(image), strict=True):
        assert isinstance(a, cupy.ndarray)
        np.testing.assert_array_equal(cupy.asnumpy(a), b)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="mask must be boolean or integer, not float32"):
        mk.regions.label(torch.ones(3, 3, device="cuda"))
    with pytest.raises(ValueError, match=r"mask must have shape \[D, H, W\] or \[B, D, H, W\]"):
        mk.regions.label(torch.ones(3, 3, dtype=torch.bool, device="cuda"), connectivity=6)
    with pytest.raises(TypeError, match=r"image must be uint8, .* not int64"):
        mk.regions.max_tree(torch.zeros(3, 3, dtype=torch.int64, device="cuda"))
    with pytest.raises(ValueError, match=r"image must not hold NaN, but element \(1, 0\) is"):
        mk.regions.max_tree(torch.tensor([[0.0, 1.0], [torch.nan, 2.0]], device="cuda"))
    with pytest.raises(TypeError, match="must be a dense tensor"):
        mk.regions.label(torch.eye(3, dtype=torch.bool, device="cuda").to_sparse())


@pytest.mark.parametrize(
    "op", ["mser", "mmser", "area_open", "fill_holes", "saturation_mask", "specular_mask"]
)
def test_ops_without_kernels_say_so(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    shape = (8, 9, 3) if op.endswith("_mask") else (8, 9)
    image = torch.zeros(shape, dtype=torch.uint8, device="cuda")
    with pytest.raises(mk.BackendError, match="no kernel for tensors on cuda:0"):
        getattr(mk.regions, op)(image)
