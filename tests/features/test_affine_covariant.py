"""`affine_covariant` against its definition, shapes known beforehand, OpenCV, and warped images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ndimage = pytest.importorskip("scipy.ndimage")

import medkernels as mk  # noqa: E402
from medkernels import _backends, _items  # noqa: E402
from tests.reference.affine_covariant import affine_covariant as reference  # noqa: E402

features = mk.features.affine_covariant


def texture(seed: int, size: tuple[int, int], sigma: float = 1.5) -> np.ndarray:
    """Smooth noise from 0 to 1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), sigma)
    return (noise - noise.min()) / (noise.max() - noise.min())


def bump(center: tuple[float, float], axes: tuple[float, float], angle: float, size: int = 96) -> np.ndarray:
    """A Gaussian with these sigmas, the first one along `angle`."""
    y, x = np.mgrid[:size, :size]
    dx, dy = x - center[0], y - center[1]
    u, v = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    return np.exp(-((u / axes[0]) ** 2 + (v / axes[1]) ** 2) / 2)


def warped(image: np.ndarray, A: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The image whose point A p + t is the point p of `image`, (x, y)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    where = np.einsum("ij,j...->i...", np.linalg.inv(A), np.stack([x - t[0], y - t[1]]))
    return ndimage.map_coordinates(image, where[::-1], order=3, mode="reflect")


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(30, 70), st.integers(30, 70)),
    st.sampled_from([1.0, 1.5, 2.5]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
@settings(max_examples=12)
def test_equals_definition(
    seed: int, size: tuple[int, int], sigma: float, doubled: bool, adapt: bool, levels: int
) -> None:
    image = texture(seed, size, sigma).astype(np.float32)
    ours = features(image, doubled=doubled, adapt=adapt, levels=levels, peak_threshold=0.02)
    frames, descriptors, responses = reference(
        image, doubled=doubled, adapted=adapt, levels=levels, peak_threshold=0.02, count=4
    )
    near = 0
    for frame, descriptor, response in zip(frames, descriptors, responses, strict=True):
        # Blobs of all but equal response may change places.
        gaps = np.abs(ours.frames - frame).max(axis=(1, 2))
        best = int(gaps.argmin())
        alike = gaps[best] < 0.02 and abs(ours.responses[best] - response) < 1e-4
        near += alike and np.abs(ours.descriptors[best] - descriptor).max() < 0.02
    # Rounding may decide where an adaptation ends, before or after the greatest ratio of the axes, and which
    # of two neighbours that are all but equal is the greater.
    assert near >= len(frames) - 1


@pytest.mark.parametrize("axes", [(6, 6), (9, 6), (12, 6), (16, 5)])
@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0])
def test_ellipse_of_a_bump(axes: tuple[float, float], angle: float) -> None:
    """Second moments of the gradient of a Gaussian blob are alike in the coordinates in which it is round."""
    found = features(bump((100.25, 95.5), axes, angle, 200), max_features=1)
    assert np.allclose(found.frames[0, :, 2], [100.25, 95.5], atol=0.1)
    L = found.frames[0, :, :2].astype(float)
    assert L[0, 1] == 0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = turn @ np.diag(np.square(axes)) @ turn.T
    # Blur of the image and of the patch add the same to both axes, less the longer they are.
    shape, wanted = (M / np.sqrt(np.linalg.det(M)) for M in (L @ L.T, wanted))
    assert np.abs(shape - wanted).max() < 0.1 * wanted.max()
    assert found.responses[0] < 0


@pytest.mark.parametrize("sigma", [3.0, 5.0, 8.0])
def test_scale_of_a_bump(sigma: float) -> None:
    """A Gaussian answers most strongly between the two blurs of the difference around its own."""
    found = features(bump((48, 48), (sigma, sigma), 0), adapt=False, max_features=1)
    ratio = 2 ** (1 / 3)
    assert found.frames[0, 0, 0] == pytest.approx(sigma / np.sqrt(ratio), rel=0.05)
    assert features(1 - bump((48, 48), (sigma, sigma), 0), max_features=1).responses[0] > 0


MAPS = {
    "tilt": np.diag([1.0, 0.5]),
    "shear": np.array([[1.0, 0.8], [0.0, 0.7]]),
    "turn": np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]),
}


def repeatability(A: np.ndarray, **options: Any) -> float:
    """Share of the ellipses of an image that are found again, as their images, after a map.

    Found again: the centre within 1.5 pixels, axes within a third, of an ellipse of the second image.
    """
    image = texture(11, (200, 200), 3.0)
    t = np.array([100, 100]) - A @ [100, 100]
    first, second = features(image, **options), features(warped(image, A, t), **options)
    repeated, total = 0, 0
    for frame in first.frames.astype(float):
        center = A @ frame[:, 2] + t
        if not (np.abs(frame[:, 2] - 100) < 45).all() or not (np.abs(center - 100) < 75).all():
            continue
        total += 1
        L = A @ frame[:, :2]
        for other in second.frames[np.hypot(*(second.frames[:, :, 2] - center).T) < 1.5].astype(float):
            axes = np.linalg.svd(np.linalg.solve(L, other[:, :2]), compute_uv=False)
            if axes.max() < 4 / 3 and axes.min() > 3 / 4:
                repeated += 1
                break
    assert total > 20
    return repeated / total


@pytest.mark.parametrize("name", sorted(MAPS))
def test_frames_of_a_warped_image_are_the_warped_frames(name: str) -> None:
    """A turn maps circles to circles; the others do not, and blobs of noise overlap, so fewer come back."""
    adapted, circles = repeatability(MAPS[name]), repeatability(MAPS[name], adapt=False)
    if name == "turn":
        assert min(adapted, circles) > 0.9
    else:
        assert adapted > 0.2
        assert circles < 0.1


def correct_matches(A: np.ndarray, **options: Any) -> int:
    image = texture(12, (200, 200), 2.0)
    t = np.array([100, 100]) - A @ [100, 100]
    first, second = features(image, **options), features(warped(image, A, t), **options)
    pairs, _ = mk.features.match(first.descriptors, second.descriptors, ratio=0.8)
    ends = first.frames[pairs[:, 0], :, 2] @ A.T + t - second.frames[pairs[:, 1], :, 2]
    return int((np.hypot(*ends.T) < 3).sum())


@pytest.mark.parametrize(("name", "orient"), [("tilt", False), ("tilt", True), ("shear", True)])
def test_descriptors_follow_the_frames(name: str, orient: bool) -> None:
    adapted = correct_matches(MAPS[name], orient=orient)
    assert adapted > 100
    assert adapted > 1.5 * correct_matches(MAPS[name], orient=orient, adapt=False)


def test_oriented_frames_follow_a_turn() -> None:
    assert correct_matches(MAPS["turn"], orient=True) > 2 * correct_matches(MAPS["turn"])


def test_quarter_turns() -> None:
    """Oriented frames turn with the image, and their descriptors stay; so do the ellipses of upright ones."""
    image = texture(3, (81, 81), 2.0)
    first = features(image, orient=True, doubled=False, adapt=False)
    second = features(np.rot90(image).copy(), orient=True, doubled=False, adapt=False)
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # (x, y) -> (y, 80 - x)
    moved = np.einsum("ij,kjl->kil", turn, first.frames) + np.array([[0, 0, 0], [0, 0, 80]])
    inside = (np.abs(moved[:, :, 2] - 40) < 20).all(axis=1)
    assert inside.sum() > 5
    for frame, descriptor in zip(moved[inside], first.descriptors[inside], strict=True):
        gaps = np.abs(second.frames - frame).max(axis=(1, 2))
        assert gaps.min() < 0.05
        assert np.abs(second.descriptors[gaps.argmin()] - descriptor).max() < 0.05


def test_descriptors_beside_opencv() -> None:
    """Of upright circles whose patch lies in the image: OpenCV leaves out what does not, we repeat the rim.

    OpenCV rounds positions and entries, and samples pixels rather than a patch.
    """
    cv2 = pytest.importorskip("cv2")
    image = (255 * texture(5, (160, 160), 2.0)).round().astype(np.uint8)
    ours = features(image, adapt=False)
    reach = 11 * ours.frames[:, :1, 0]
    inside = ((ours.frames[:, :, 2] > reach) & (ours.frames[:, :, 2] < 159 - reach)).all(axis=1)
    ours = type(ours)(*(part[inside] for part in ours))
    points = [cv2.KeyPoint(float(f[0, 2]), float(f[1, 2]), 2 * float(f[0, 0]), 0.0) for f in ours.frames]
    for point, frame in zip(points, ours.frames, strict=True):
        point.octave = packed_octave(float(frame[0, 0]))
    kept, theirs = cv2.SIFT_create(enable_precise_upscale=True).compute(image, points)
    assert len(kept) == len(points) > 50
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    likeness = (ours.descriptors * theirs).sum(axis=1)
    assert np.median(likeness) > 0.98
    assert np.quantile(likeness, 0.05) > 0.93
    nearest, _ = mk.features.match(ours.descriptors, theirs.astype(np.float32), ratio=1)
    assert (nearest[:, 0] == nearest[:, 1]).mean() > 0.98


def packed_octave(sigma: float) -> int:
    """How OpenCV notes octave and level of a key point, from the scale 1.6 2^(octave + level / 3)."""
    place = np.log2(sigma / 1.6)
    octave = int(np.floor(place - 1 / 6))
    level = int(np.clip(np.rint(3 * (place - octave)), 1, 3))
    return (octave & 255) | level << 8


def test_one_thread_or_more() -> None:
    image = texture(1, (100, 140))
    before, found = mk.get_num_threads(), []
    for count in (1, 3):
        mk.set_num_threads(count)
        found.append(features(image, orient=True))
    mk.set_num_threads(before)
    assert len(found[0].frames) > 20
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("count", [1, 3])
def test_batches(count: int) -> None:
    """Each image of a batch or list gets what it gets alone, whatever the number of threads."""
    before = mk.get_num_threads()
    mk.set_num_threads(count)
    images = [texture(20 + i, (40 + 9 * i, 70)) for i in range(4)]
    colours = np.stack([np.stack([texture(30 + i, (48, 60))] * 3, axis=-1) for i in range(3)])
    for batch in (images, colours, colours[..., 0], tuple(images), [images[0].tolist(), images[1]]):
        found = features(batch, orient=True)
        assert len(found) == len(batch)
        for ours, image in zip(found, batch, strict=True):
            alone = features(image, orient=True)
            assert len(alone.frames) > 2
            assert all(np.array_equal(a, b) for a, b in zip(ours, alone, strict=True))
    mk.set_num_threads(before)
    assert features([]) == features(np.empty((0, 20, 30))) == []
    assert len(features(np.ones((2, 20, 30)))[1].frames) == 0


def test_results() -> None:
    image = texture(2, (90, 120))
    found = features(image)
    count = len(found.frames)
    assert found.frames.shape == (count, 2, 3)
    assert found.descriptors.shape == (count, 128)
    assert found.responses.shape == (count,)
    assert {part.dtype for part in found} == {np.dtype(np.float32)}
    sizes = np.abs(found.responses)
    assert (np.diff(sizes) <= 0).all()
    assert sizes.min() >= 0.01
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-5)
    L = found.frames[:, :, :2]
    assert (np.linalg.det(L) > 0).all()
    assert not L[:, 0, 1].any()
    axes = np.linalg.svd(L, compute_uv=False)
    assert (axes[:, 0] < 5.01 * axes[:, 1]).all()
    few = features(image, max_features=7)
    assert all(np.array_equal(a, b[:7]) for a, b in zip(few, found, strict=True))
    assert len(features(image, max_features=0).frames) == 0
    assert len(features(image, peak_threshold=0.05).frames) < count
    assert len(features(image, edge_threshold=1.5).frames) < count


def test_greatest_values() -> None:
    """Nothing overflows: the blobs and descriptors of small values."""
    image = np.random.default_rng(3).random((64, 64)).astype(np.float32)
    power = np.float32(2.0**49)
    plain, large = features(image), features(image * power, peak_threshold=0.01 * float(power))
    assert len(plain.frames) > 5
    assert np.array_equal(plain.frames, large.frames)
    assert np.allclose(plain.descriptors, large.descriptors, atol=1e-6)


@pytest.mark.parametrize("size", [(2, 2), (2, 50), (3, 3), (50, 2), (13, 400)])
def test_small_and_flat_images(size: tuple[int, int]) -> None:
    for image in (np.zeros(size), np.full(size, 0.7), np.indices(size).sum(axis=0) % 2.0):
        for doubled in (True, False):
            found = features(image, peak_threshold=0.0, doubled=doubled, orient=True)
            assert all(np.isfinite(part).all() for part in found)
    assert features(np.ones(size)).descriptors.shape == (0, 128)


def test_images_as_they_come() -> None:
    grey = (255 * texture(4, (60, 70))).round().astype(np.uint8)
    expected = features(grey)
    assert len(expected.frames) > 3
    rgb = np.stack([grey, grey, grey], axis=-1)
    wide = np.repeat(grey, 2, axis=1)[:, ::2]
    frozen = grey.copy()
    frozen.flags.writeable = False
    for variant in (rgb, wide, frozen, np.asfortranarray(grey), (grey / 255).astype(">f8")):
        found = features(variant)
        assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(found, expected, strict=True))
    deep = features(grey.astype(np.uint16) * 257)
    assert np.allclose(deep.frames, expected.frames, atol=1e-3)


def test_frameworks() -> None:
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    image = texture(6, (60, 60)).astype(np.float32)
    expected = features(image)
    for found, kind in (
        (features(torch.from_numpy(image)), torch.Tensor),
        (features(jax.numpy.asarray(image)), jax.Array),
    ):
        for a, b in zip(found, expected, strict=True):
            assert isinstance(a, kind)
            assert np.array_equal(np.asarray(a), b)
    pair = features(torch.from_numpy(np.stack([image, image])))
    assert torch.equal(pair[1].descriptors, torch.from_numpy(expected.descriptors))
    with pytest.raises(TypeError, match=r"image\[1\] is a torch array, but image\[0\] is a numpy array"):
        features([image, torch.from_numpy(image)])
    with pytest.raises(TypeError, match=r"image is traced: affine_covariant runs outside jax\.jit"):
        jax.jit(features)(image)


GOOD = np.zeros((20, 20))


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (GOOD[0], {}, ValueError, r"image must have shape \[H, W\] or \[H, W, 3\], but has shape \[20\]"),
        (GOOD[..., None], {}, ValueError, r"image\[0\] must have 2 x 2 to \d+ pixels, .* shape \[20, 1\]"),
        (GOOD[None, None], {}, ValueError, r"image\[0\] must have shape \[H, W\] .* has shape \[1, 20, 20\]"),
        ([GOOD, GOOD[0]], {}, ValueError, r"image\[1\] must have shape \[H, W\] .* has shape \[20\]"),
        ([GOOD, GOOD.astype(int)], {}, TypeError, r"image\[1\] must be uint8, .* not int64"),
        ([GOOD, GOOD + np.nan], {}, ValueError, r"image\[1\] must be finite .*, but element 0 .* is -?nan"),
        ([GOOD, "here"], {}, TypeError, r"image\[1\] must be an array of numbers"),
        (GOOD[:1], {}, ValueError, r"image must have 2 x 2 to \d+ pixels, but has shape \[1, 20\]"),
        (GOOD[:, :0], {}, ValueError, r"but has shape \[20, 0\]"),
        (GOOD.astype(int), {}, TypeError, "image must be uint8, uint16, float32 or float64, not int64"),
        (GOOD.astype(np.float16), {}, TypeError, "float32 or float64, not float16"),
        (GOOD.astype(bool), {}, TypeError, "image must be an array of numbers, not of dtype bool"),
        ("here", {}, TypeError, "image must be an array of numbers"),
        (GOOD + np.nan, {}, ValueError, "image must be finite .*, but element 0 .* is -?nan"),
        (GOOD + 1e300, {}, ValueError, "image must be finite .*, but element 0 .* is inf"),
        (GOOD + 2e15, {}, ValueError, "at most 1e.?15 in size, but element 0 .* is 2e"),
        (GOOD, {"levels": 0}, ValueError, "levels must be from 1 to 16, not 0"),
        (GOOD, {"levels": 2.0}, TypeError, "levels must be an integer, not 2.0"),
        (GOOD, {"peak_threshold": -1}, ValueError, "peak_threshold must be at least 0, not -1"),
        (GOOD, {"peak_threshold": "low"}, TypeError, "peak_threshold must be a number, not 'low'"),
        (GOOD, {"edge_threshold": 1}, ValueError, "edge_threshold must be greater than 1, not 1"),
        (GOOD, {"edge_threshold": float("nan")}, ValueError, "edge_threshold must be at least 0, not nan"),
        (GOOD, {"adapt": 1}, TypeError, "adapt must be True or False, not 1"),
        (GOOD, {"max_features": -1}, ValueError, "max_features must be at least 0, not -1"),
    ],
)
def test_refusals(image: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        features(image, **options)


def test_too_large_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backends, "available_memory", lambda: 10_000)
    with pytest.raises(ValueError, match="image of 20 x 20 pixels is too large"):
        features(GOOD)
    with pytest.raises(ValueError, match="image of 2 images of up to 20 x 20 pixels is too large"):
        features([GOOD, GOOD[:8]])


def test_on_a_gpu_without_cuda_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    image = torch.from_numpy(texture(8, (40, 50)))
    wanted = features(image)
    monkeypatch.setattr(_items.Kind, "on_gpu", True)  # as far as anybody can tell here
    monkeypatch.setattr(_backends, "cuda_module", lambda: None)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="affine_covariant: this build has no CUDA kernels"):
        features(image)
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="affine_covariant: this build has no CUDA kernels"):
        found = features(image)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
