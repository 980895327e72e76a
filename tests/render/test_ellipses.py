"""Ellipses against their definition, and everything the public function promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from tests.render.scenes import NAMES, Scene, random_scene, scenes

LOOKS = [{"composition": c, "profile": p} for c in ("union", "over") for p in ("sigmoid", "gaussian")]


@given(scene=scenes())
def test_equals_definition_float64(scene: Scene) -> None:
    ours = scene.draw(scene.numpy())
    wanted = scene.draw(scene.tensors(grad=False), scene.reference)
    clear = ~scene.ambiguous()[:, None].expand(wanted.shape)
    torch.testing.assert_close(torch.from_numpy(ours)[clear], wanted[clear], rtol=0, atol=1e-11)


@given(scene=scenes())
def test_equals_definition_float32(scene: Scene) -> None:
    scene = Scene(
        {k: v.astype(np.float32).astype(np.float64) for k, v in scene.arrays.items()}, scene.size, scene.look
    )
    ours = scene.draw(scene.cast(np.float32).numpy())
    assert ours.dtype == np.float32
    wanted = scene.draw(scene.tensors(grad=False), scene.reference)
    clear = ~scene.ambiguous()[:, None].expand(wanted.shape)
    # A narrow edge (tau 0.01) turns rounding of rho into 1/(4 tau) times as much in alpha.
    atol = 1e-5 if scene.look["tau"] >= 0.1 else 1e-4
    torch.testing.assert_close(torch.from_numpy(ours)[clear].double(), wanted[clear], rtol=0, atol=atol)


@given(scene=scenes(max_side=20, max_count=6))
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
            ours_g, expected_g, rtol=1e-9, atol=1e-10 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("full_background", [False, True])
def test_gradcheck(look: dict[str, str], full_background: bool) -> None:
    shape = {"batch": 2, "count": 3, "channels": 2, "size": (7, 9), "axes": (1.0, 4.0)}
    scene = random_scene(3, full_background=full_background, **shape, **look)
    assert torch.autograd.gradcheck(lambda *a: scene.draw(a), scene.tensors(), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("composition", ["union", "over"])
def test_many_opaque_layers(composition: str) -> None:
    """Forty layers of opacity 0.999 underflow a float32 product; colours and gradients must not."""
    scene = random_scene(5, batch=1, count=40, size=(16, 16), axes=(20.0, 30.0), composition=composition)
    scene.arrays["opacity"][...] = 0.999
    exact, single = scene.tensors(), scene.tensors(torch.float32)
    wanted, ours = scene.draw(exact, scene.reference), scene.draw(single)
    torch.testing.assert_close(ours.double(), wanted, rtol=0, atol=1e-5)
    weight = torch.linspace(-1, 1, wanted.numel()).reshape(wanted.shape)
    expected = torch.autograd.grad((wanted * weight).sum(), exact)
    for e, g in zip(expected, torch.autograd.grad((ours * weight).sum(), single), strict=True):
        torch.testing.assert_close(g.double(), e, rtol=0, atol=2e-5 * (1 + float(e.abs().max())))


@pytest.mark.parametrize("composition", ["union", "over"])
@pytest.mark.parametrize("size", [(70, 90), (300, 17), (1, 1), (1, 200)])
def test_does_not_depend_on_threads(composition: str, size: tuple[int, int]) -> None:
    scene = random_scene(7, batch=3, count=60, size=size, composition=composition)
    before = mk.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            tensors = scene.tensors(torch.float32)
            image = scene.draw(tensors)
            results.append([image, *torch.autograd.grad((image**2).sum(), tensors)])
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_union_does_not_depend_on_order_and_over_does() -> None:
    scene = random_scene(9, count=10)
    flipped = [a[:, ::-1] if n != "background" else a for n, a in zip(NAMES, scene.numpy(), strict=True)]
    np.testing.assert_allclose(scene.draw(flipped), scene.draw(scene.numpy()), atol=1e-12)
    scene.look["composition"] = "over"
    assert np.abs(scene.draw(flipped) - scene.draw(scene.numpy())).max() > 0.05


def test_translation_and_half_turn() -> None:
    scene = random_scene(11, size=(40, 50))
    image = scene.draw(scene.numpy())
    moved = dict(scene.arrays, centers=scene.arrays["centers"] + [3, 2], turn=scene.arrays["turn"] + math.pi)
    shifted = Scene(moved, scene.size).draw([moved[n] for n in NAMES])
    np.testing.assert_allclose(shifted[:, :, 2:, 3:], image[:, :, :-2, :-3], atol=1e-9)


def test_closed_form_area() -> None:
    """A sharp-edged ellipse covers opacity * pi * w * h pixels."""
    image = mk.render.ellipses(
        np.array([[[60.3, 50.6]]]), np.array([[[31.0, 17.0]]]), np.array([[0.7]]), np.ones((1, 1, 1)),
        np.zeros((1, 1)), (100, 120), tau=0.02, opacity=0.9)  # fmt: skip
    # The 1e-6 added to the sum of opacities keeps the mean colour a hair below 1.
    assert image.sum() == pytest.approx(0.9 * math.pi * 31 * 17, rel=2e-3)


def test_nothing_to_draw() -> None:
    background = np.array([[0.2, 0.4]])
    image = mk.render.ellipses(
        np.zeros((1, 0, 2)), np.zeros((1, 0, 2)), np.zeros((1, 0)), np.zeros((1, 0, 2)), background, (3, 4)
    )
    np.testing.assert_array_equal(image, np.broadcast_to(background[:, :, None, None], (1, 2, 3, 4)))
    empty = mk.render.ellipses(
        np.zeros((0, 5, 2)),
        np.ones((0, 5, 2)),
        np.zeros((0, 5)),
        np.zeros((0, 5, 2)),
        np.zeros((0, 2)),
        (3, 4),
    )
    assert empty.shape == (0, 2, 3, 4)


def test_inputs_are_not_modified_and_any_layout_is_read() -> None:
    scene = random_scene(13)
    image = scene.draw(scene.numpy())
    copies = [a.copy() for a in scene.numpy()]
    strided = [np.asfortranarray(a) for a in scene.numpy()]
    reversed_twice = [a[::-1][::-1] for a in scene.numpy()]
    swapped = [a.astype(a.dtype.newbyteorder()) for a in scene.numpy()]
    for variant in (strided, reversed_twice, swapped):
        for array in variant:
            array.flags.writeable = False
        np.testing.assert_array_equal(scene.draw(variant), image)
    assert all(np.array_equal(a, b) for a, b in zip(copies, scene.numpy(), strict=True))


BAD_VALUES = [
    ("centers", math.nan, "centers must be finite"),
    ("centers", math.inf, "centers must be finite"),
    ("axes", 0.0, "axes must be finite and greater than 0"),
    ("axes", -1.0, "axes must be finite and greater than 0"),
    ("axes", math.nan, "axes must be finite and greater than 0"),
    ("turn", -math.inf, "angles must be finite"),
    ("colors", math.nan, "colors must be finite"),
    ("background", math.nan, "background must be finite"),
    ("opacity", 1.0, "opacity must be at least 0 and less than 1"),
    ("opacity", -0.1, "opacity must be at least 0 and less than 1"),
    ("opacity", math.nan, "opacity must be at least 0 and less than 1"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_bad_values(name: str, value: float, message: str, kind: str) -> None:
    scene = random_scene(15)
    scene.arrays[name].flat[-1] = value
    with pytest.raises(ValueError, match=message):
        scene.draw(scene.numpy() if kind == "numpy" else scene.tensors())


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_bad_shapes(kind: str) -> None:
    def arrays(**changes: np.ndarray) -> list:
        scene = random_scene(17, batch=2, count=4, size=(5, 6))
        scene.arrays.update(changes)
        return scene.numpy() if kind == "numpy" else scene.tensors()

    scene = random_scene(17, batch=2, count=4, size=(5, 6))
    cases = [
        ({"centers": np.zeros((4, 2))}, r"centers must have shape \[B, K, 2\], but has 2 dimensions"),
        ({"axes": np.ones((2, 3, 2))}, r"axes must have shape \[B, K, 2\] with K = 4"),
        ({"turn": np.ones((2, 4, 1))}, r"angles must have shape \[B, K\]"),
        ({"colors": np.ones((2, 4, 0)), "background": np.ones((2, 0))}, "at least one channel"),
        ({"background": np.ones((2, 5))}, r"background must have shape \[B, C\] with C = 3"),
        ({"background": np.ones((2, 3, 6, 5))}, r"background has shape \[2, 3, 6, 5\], but size is \(5, 6\)"),
        ({"opacity": np.ones((2, 5)) * 0.5}, r"opacity must have shape \[B, K\]"),
    ]
    for changes, message in cases:
        with pytest.raises(ValueError, match=message):
            scene.draw(arrays(**changes))


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ((5,), ValueError, r"size must be 2 integers \(H, W\)"),
        (5, ValueError, r"size must be 2 integers \(H, W\)"),
        ((5, 0), ValueError, "size must be positive, but W is 0"),
        ((-5, 3), ValueError, "size must be positive, but H is -5"),
        ((5.0, 3), TypeError, "size must hold integers"),
        ((2**40, 2**40), ValueError, "too large: it needs about"),
        ((2**20, 2**20), ValueError, "too large: it needs about"),
    ],
)
def test_bad_size(size: object, error: type[Exception], message: str) -> None:
    for arrays in (random_scene(19).numpy(), random_scene(19).tensors()):
        with pytest.raises(error, match=message):
            mk.render.ellipses(*arrays[:5], size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"composition": "under"}, ValueError, "composition must be one of 'union', 'over'"),
        ({"profile": None}, ValueError, "profile must be one of 'sigmoid', 'gaussian'"),
        ({"tau": 0.0}, ValueError, "tau must be finite and at least"),
        ({"tau": math.nan}, ValueError, "tau must be finite and at least"),
        ({"tau": "soft"}, TypeError, "tau must be a number"),
        ({"opacity": 1.5}, ValueError, "opacity must be at least 0 and less than 1"),
    ],
)
def test_bad_options(options: dict, error: type[Exception], message: str) -> None:
    scene = random_scene(21)
    with pytest.raises(error, match=message):
        mk.render.ellipses(*scene.numpy()[:5], scene.size, **options)


def test_bad_dtypes_and_mixtures() -> None:
    scene = random_scene(23)
    arrays = scene.numpy()
    with pytest.raises(TypeError, match="must be float32 or float64, not float16"):
        scene.draw([a.astype(np.float16) for a in arrays])
    with pytest.raises(TypeError, match="must be float32 or float64, not int64"):
        scene.draw([a.astype(np.int64) for a in arrays])
    with pytest.raises(TypeError, match="must be float32 or float64, not bfloat16"):
        scene.draw([torch.from_numpy(a).bfloat16() for a in arrays])
    with pytest.raises(TypeError, match="axes is float32, but centers is float64"):
        scene.draw([arrays[0], arrays[1].astype(np.float32), *arrays[2:]])
    with pytest.raises(TypeError, match="axes is a torch array, but centers is a numpy array"):
        scene.draw([arrays[0], torch.from_numpy(arrays[1]), *arrays[2:]])
    with pytest.raises(TypeError, match="centers must be an array of numbers"):
        scene.draw(["here", *arrays[1:]])
    tensors = scene.tensors(grad=False)
    with pytest.raises(ValueError, match="axes is on meta, but centers is on cpu"):
        scene.draw([tensors[0], tensors[1].to("meta"), *tensors[2:]])


@st.composite
def extreme_scenes(draw: Any) -> Scene:
    """Centres, axes and angles from the whole range that is accepted."""
    scene = draw(scenes(dims=draw(st.sampled_from([2, 3])), max_side=9, max_count=4))
    limits = {"centers": 1e300, "turn": 1e100} if draw(st.booleans()) else {"centers": 1e3, "turn": 1e3}
    for name, limit in limits.items():
        array = scene.arrays[name]
        numbers = st.floats(-limit, limit).filter(lambda v: v != 0)
        array.flat = draw(st.lists(numbers, min_size=array.size, max_size=array.size))
    powers = st.floats(-30, 30)
    axes = scene.arrays["axes"]
    axes.flat = [10.0**p for p in draw(st.lists(powers, min_size=axes.size, max_size=axes.size))]
    np.clip(axes, 1e-30, 1e30, out=axes)
    return scene


@given(scene=extreme_scenes())
def test_extreme_values_draw_finite_images(scene: Scene) -> None:
    tensors = scene.tensors()
    image = scene.draw(tensors)
    assert torch.isfinite(image).all()
    if image.numel():
        seen = np.concatenate([scene.arrays["colors"].ravel(), scene.arrays["background"].ravel()])
        # The 1e-6 added to the sum of opacities draws faint colours a little towards zero.
        assert min(seen.min(), 0) - 1e-9 <= image.min()
        assert image.max() <= max(seen.max(), 0) + 1e-9
    image.sum().backward()
