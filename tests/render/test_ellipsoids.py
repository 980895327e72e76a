"""Ellipsoids against their definition, and against ellipses in a single slice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given

import medkernels as mk
from tests.render.scenes import NAMES, Scene, random_scene, scenes


@given(scene=scenes(dims=3, max_side=14, max_count=6))
def test_equals_definition(scene: Scene) -> None:
    wanted = scene.draw(scene.tensors(grad=False), scene.reference)
    clear = ~scene.ambiguous()[:, None].expand(wanted.shape)
    ours = torch.from_numpy(scene.draw(scene.numpy()))
    torch.testing.assert_close(ours[clear], wanted[clear], rtol=0, atol=1e-10)
    single = torch.from_numpy(scene.draw(scene.cast(np.float32).numpy())).double()
    # Casting the parameters moves rho by up to 1e-7 of the largest coordinate over the smallest axis.
    ratio = 300 / float(scene.arrays["axes"].min()) if scene.arrays["axes"].size else 1
    atol = 1e-5 + 1e-7 * ratio / scene.look["tau"]
    torch.testing.assert_close(single[clear], wanted[clear], rtol=0, atol=atol)


@given(scene=scenes(dims=3, max_side=9, max_count=4))
def test_gradients_equal_autograd_of_the_definition(scene: Scene) -> None:
    if scene.ambiguous().any():
        return
    ours, wanted = scene.tensors(), scene.tensors()
    weight = torch.from_numpy(np.random.default_rng(1).normal(size=scene.draw(scene.numpy()).shape))
    grads = torch.autograd.grad((scene.draw(ours) * weight).sum(), ours)
    expected = torch.autograd.grad(
        (scene.draw(wanted, scene.reference) * weight).sum(),
        wanted,
        allow_unused=True,
        materialize_grads=True,
    )
    for name, ours_g, expected_g in zip(NAMES, grads, expected, strict=True):
        scale = 1 + float(expected_g.abs().max()) if expected_g.numel() else 1
        torch.testing.assert_close(
            ours_g, expected_g, rtol=1e-8, atol=1e-9 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("composition", ["union", "over"])
def test_gradcheck(composition: str) -> None:
    scene = random_scene(
        3, batch=2, count=2, channels=2, size=(4, 5, 6), axes=(1.0, 3.0), composition=composition
    )
    assert torch.autograd.gradcheck(lambda *a: scene.draw(a), scene.tensors(), eps=1e-6, atol=1e-6)


def test_does_not_depend_on_threads() -> None:
    scene = random_scene(7, count=40, size=(20, 30, 25))
    before = mk.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            tensors = scene.tensors(torch.float32)
            volume = scene.draw(tensors)
            results.append([volume, *torch.autograd.grad((volume**2).sum(), tensors)])
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_slice_through_the_centre_is_an_ellipse() -> None:
    flat = random_scene(9, count=6, size=(30, 40))
    angle = flat.arrays["turn"]
    quaternions = np.stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], axis=-1)
    height = np.full((*angle.shape, 1), 2.0)
    volume = mk.render.ellipsoids(
        np.concatenate([flat.arrays["centers"], height], -1),
        np.concatenate([flat.arrays["axes"], 1 + height], -1),
        quaternions,
        flat.arrays["colors"],
        flat.arrays["background"],
        (5, 30, 40),
        opacity=flat.arrays["opacity"],
    )
    np.testing.assert_allclose(volume[:, :, 2], flat.draw(flat.numpy()), atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_one_slice_of_inclined_ellipsoids(seed: int) -> None:
    """Where the only slice misses the centre, an inclined ellipsoid lies beside it."""
    scene = random_scene(seed, count=12, size=(1, 9, 7), axes=(0.1, 4.0))
    clear = ~scene.ambiguous()[:, None]
    tensors = scene.tensors(grad=False)
    image, expected = scene.draw(tensors), scene.draw(tensors, scene.reference)
    torch.testing.assert_close(image * clear, expected * clear, rtol=1e-9, atol=1e-10)


def test_closed_form_volume() -> None:
    volume = mk.render.ellipsoids(
        np.array([[[30.2, 24.7, 19.4]]]),
        np.array([[[20.0, 12.0, 9.0]]]),
        np.array([[[0.9, 0.2, -0.3, 0.1]]]),
        np.ones((1, 1, 1)),
        np.zeros((1, 1)),
        (40, 50, 60),
        tau=0.02,
        opacity=0.9,
    )
    assert volume.sum() == pytest.approx(0.9 * 4 / 3 * math.pi * 20 * 12 * 9, rel=5e-3)


def test_length_of_quaternions_does_not_matter() -> None:
    scene = random_scene(11, size=(9, 10, 11))
    longer = dict(scene.arrays, turn=scene.arrays["turn"] * -7.5)
    np.testing.assert_allclose(scene.draw([longer[n] for n in NAMES]), scene.draw(scene.numpy()), atol=1e-12)


def test_zero_quaternion_and_bad_values() -> None:
    scene = random_scene(13, size=(4, 5, 6))
    scene.arrays["turn"][1, 2] = 0
    with pytest.raises(ValueError, match="rotations must be quaternions of non-zero length, but number 10"):
        scene.draw(scene.numpy())
    scene.arrays["turn"][1, 2] = math.nan
    with pytest.raises(ValueError, match="rotations must be finite"):
        scene.draw(scene.numpy())
    with pytest.raises(ValueError, match=r"rotations must have shape \[B, K, 4\]"):
        scene.draw([*scene.numpy()[:2], np.ones((2, 8, 3)), *scene.numpy()[3:]])
    with pytest.raises(ValueError, match=r"size must be 3 integers \(D, H, W\)"):
        mk.render.ellipsoids(*random_scene(13, size=(4, 5, 6)).numpy()[:5], (5, 6))
