"""Features of images on a GPU against the CPU: the same blobs; frames and descriptors but for rounding."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

import medkernels as mk

# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU"),
]

features = mk.features.affine_covariant


def texture(seed: int, size: tuple[int, ...], sigma: float = 1.5) -> np.ndarray:
    """Smooth noise from 0 to 1, along the first two axes."""
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=size), axes=(0, 1))
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    window = np.exp(-2 * (np.pi * sigma * frequency) ** 2).reshape(*size[:2], *[1] * (len(size) - 2))
    smooth = np.fft.ifft2(noise * window, axes=(0, 1)).real
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


OPTIONS: list[dict[str, Any]] = [
    {},
    {"orient": True},
    {"adapt": False},
    {"doubled": False, "levels": 1},
    {"levels": 5, "peak_threshold": 0.02, "edge_threshold": 4.0},
    {"max_features": 50},
]


def check_equal(found: Any, wanted: Any) -> None:
    """Few adaptations end a round earlier or later, where rounding decides."""
    found = type(found)(*(part.cpu().numpy() for part in found))
    assert len(found.frames) == len(wanted.frames) > 0
    assert all(a.dtype == b.dtype == np.float32 for a, b in zip(found, wanted, strict=True))
    np.testing.assert_allclose(found.responses, wanted.responses, rtol=1e-4, atol=1e-6)
    gaps = np.abs(found.frames - wanted.frames).max(axis=(1, 2))
    apart = np.abs(found.descriptors - wanted.descriptors).max(axis=1)
    assert ((gaps < 1e-2) & (apart < 1e-2)).mean() > 0.99
    assert np.median(gaps) < 1e-4
    assert np.median(apart) < 1e-4


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [(150, 200), (64, 700), (577, 720)])
def test_equals_cpu(size: tuple[int, int], options: dict[str, Any]) -> None:
    """The largest one has more blobs than there is room for at first."""
    image = texture(40, size).astype(np.float32)
    check_equal(features(torch.from_numpy(image).cuda(), **options), features(image, **options))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [0, 3])
def test_images_as_they_come(dtype: str, channels: int) -> None:
    values = np.stack([texture(50 + i, (120, 130)) for i in range(3)], axis=-1)
    image = values if channels else values[..., 0]
    image = (image * (np.iinfo(dtype).max if dtype[0] == "u" else 1)).astype(dtype)
    tensor = torch.from_numpy(image).cuda()
    for variant in (tensor, tensor.transpose(0, 1).contiguous().transpose(0, 1), tensor[None][0]):
        check_equal(features(variant), features(image))


def test_batches() -> None:
    """Several sizes, dtypes and numbers of channels, the same as one by one."""
    sizes = [(90, 100), (90, 100), (33, 400), (90, 100), (90, 100, 3)]
    images = [torch.from_numpy(texture(60 + i, size)).float().cuda() for i, size in enumerate(sizes)]
    images.append(images[0].double())
    for orient in (False, True):
        for image, found in zip(images, features(images, orient=orient), strict=True):
            alone = features(image, orient=orient)
            assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))
    stack = torch.stack(images[:2])
    assert all(torch.equal(a, b) for a, b in zip(features(stack)[1], features(images[1]), strict=True))
    assert features([]) == []


def test_is_the_same_each_time() -> None:
    image = torch.from_numpy(texture(70, (300, 400), 1.0)).cuda()
    first, *others = (features(image, orient=True) for _ in range(3))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("size", [(2, 2), (2, 50), (3, 3), (50, 2), (13, 400)])
def test_small_and_flat_images(size: tuple[int, int]) -> None:
    for image in (np.zeros(size), np.full(size, 0.7), np.indices(size).sum(axis=0) % 2.0):
        for doubled in (True, False):
            found = features(torch.from_numpy(image).cuda(), peak_threshold=0.0, doubled=doubled, orient=True)
            assert all(part.isfinite().all() for part in found)
    assert features(torch.ones(size, device="cuda")).descriptors.shape == (0, 128)


def test_another_stream() -> None:
    image = texture(80, (100, 110))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        found = features(torch.from_numpy(image).cuda() + 0.0)
    check_equal(found, features(image))


def test_refusals() -> None:
    good = torch.zeros(20, 20, device="cuda")
    for bad in (float("nan"), float("inf")):
        image = good.clone()
        image[1, 3] = bad
        with pytest.raises(ValueError, match=r"image\[1\] must be finite, but element 23 .* is (nan|inf)"):
            features([good, image])
    with pytest.raises(TypeError, match="image must be uint8, uint16, float32 or float64, not float16"):
        features(good.half())
    with pytest.raises(ValueError, match=r"image\[1\] is on cpu, but others are on cuda:0"):
        features([good, good.cpu()])


def test_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    image = texture(90, (100, 110)).astype(np.float32)
    found = features([cupy.asarray(image)])[0]
    assert all(isinstance(part, cupy.ndarray) for part in found)
    check_equal(type(found)(*(torch.from_numpy(cupy.asnumpy(part)) for part in found)), features(image))
