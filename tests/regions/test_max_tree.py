"""The max-tree against its definition, against higra and scikit-image, and what it is invariant to."""

from __future__ import annotations

import higra
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage import morphology

import medkernels as mk
from medkernels import _core
from tests.reference.label import CHANGES
from tests.reference.max_tree import max_tree as reference
from tests.regions.scenes import PICTURES, VOLUMES, images, smooth_image, with_threads


def same_tree(found: mk.regions.MaxTree, wanted: mk.regions.MaxTree) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def canonical(image: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """Elements that stand for a component."""
    flat, up = image.ravel(), parent.ravel()
    return np.flatnonzero((flat[up] != flat) | (up == np.arange(flat.size)))


@given(case=images())
def test_equals_definition(case: tuple[np.ndarray, int]) -> None:
    image, connectivity = case
    tree = mk.regions.max_tree(image, connectivity=connectivity)
    parent, order, area = reference(image, connectivity)
    assert {a.dtype for a in tree} == {np.dtype("int32")}
    np.testing.assert_array_equal(tree.parent, parent.reshape(image.shape))
    np.testing.assert_array_equal(tree.order, order)
    np.testing.assert_array_equal(tree.area, area.reshape(image.shape))


@given(case=images())
def test_tree_properties(case: tuple[np.ndarray, int]) -> None:
    """What any filter that walks the tree relies on."""
    image, connectivity = case
    tree = mk.regions.max_tree(image, connectivity=connectivity)
    flat, parent, area = image.ravel(), tree.parent.ravel(), tree.area.ravel()
    if not flat.size:
        return
    place = np.argsort(tree.order)
    inner = parent != np.arange(flat.size)
    assert (inner.sum(), area.max()) == (flat.size - 1, flat.size)
    assert (place[parent[inner]] < place[inner]).all()
    assert (flat[parent] <= flat).all()
    nodes = canonical(image, parent)
    assert np.isin(parent, nodes).all()
    # Every element is counted once in each component that it is in.
    levels = np.searchsorted(np.unique(flat), flat)
    heights = levels[nodes] - np.where(parent[nodes] == nodes, -1, levels[parent[nodes]])
    assert (area[nodes] * heights).sum() == (levels + 1).sum()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_equals_scikit_image(connectivity: int, dtype: str) -> None:
    """Noise and smooth images: parents, order and areas are the same numbers."""
    shape = (60, 71) if connectivity in PICTURES else (9, 20, 17)
    random = np.random.default_rng(connectivity)
    for image in (random.normal(size=shape) * 40, smooth_image(1, shape) / 4.0, random.integers(0, 3, shape)):
        values = (image + 100).astype(dtype)
        tree = mk.regions.max_tree(values, connectivity=connectivity)
        parent, order = morphology.max_tree(values, connectivity=CHANGES[connectivity])
        np.testing.assert_array_equal(tree.parent, parent)
        np.testing.assert_array_equal(tree.order, order)


@pytest.mark.parametrize("connectivity", PICTURES)
def test_areas_equal_higra(connectivity: int) -> None:
    image = smooth_image(2, (150, 201))
    graph = (higra.get_4_adjacency_graph if connectivity == 4 else higra.get_8_adjacency_graph)(image.shape)
    theirs, _ = higra.component_tree_max_tree(graph, image)
    areas = higra.attribute_area(theirs)
    tree = mk.regions.max_tree(image, connectivity=connectivity)
    ours = tree.area.ravel()[tree.parent.ravel()[tree.order]]
    # The component of an element in its own level set, element by element.
    flat, parent = image.ravel(), tree.parent.ravel()
    own = np.where(flat[parent] == flat, parent, np.arange(flat.size))
    np.testing.assert_array_equal(
        tree.area.ravel()[own], areas[theirs.parents()[: flat.size]].astype(np.int64)
    )
    assert ours.max() == flat.size


def test_area_opening_equals_scikit_image() -> None:
    image = smooth_image(3, (80, 90), 1.0)
    tree = mk.regions.max_tree(image)
    flat, parent, area = image.ravel().copy(), tree.parent.ravel(), tree.area.ravel()
    for p in tree.order:
        if area[p] < 20 or image.flat[parent[p]] == image.flat[p]:
            flat[p] = flat[parent[p]]
    theirs = morphology.area_opening(image, 20, connectivity=2)
    np.testing.assert_array_equal(flat.reshape(image.shape), theirs)


def test_monotone_maps_change_nothing() -> None:
    image = smooth_image(4, (60, 70))
    tree = mk.regions.max_tree(image)
    wide = np.sort(np.random.default_rng(1).choice(2**16, 256, replace=False)).astype(np.uint16)
    for other in (wide[image], image.astype(np.int16) - 300, np.exp(image / 9.0), -1.0 / (1.0 + image)):
        assert same_tree(mk.regions.max_tree(other), tree)


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.rot90, np.transpose])
def test_flips_and_turns(turn: object) -> None:
    """Each element's own component keeps its area."""
    image = smooth_image(5, (41, 53))

    def own_areas(picture: np.ndarray) -> np.ndarray:
        tree = mk.regions.max_tree(picture)
        flat, parent = picture.ravel(), tree.parent.ravel()
        own = np.where(flat[parent] == flat, parent, np.arange(flat.size))
        return tree.area.ravel()[own].reshape(picture.shape)

    assert callable(turn)
    np.testing.assert_array_equal(own_areas(turn(image)), turn(own_areas(image)))


def test_does_not_depend_on_threads() -> None:
    random = np.random.default_rng(6)
    cases = [
        (smooth_image(7, (700, 513)), 8),
        (random.integers(0, 2, (700, 513)).astype(np.uint8), 4),
        (random.normal(size=(300, 413)).astype(np.float32), 8),
        (random.integers(0, 999, (20, 80, 91)).astype(np.uint16), 26),
        (np.zeros((700, 513), np.uint8), 8),
    ]
    for image, connectivity in cases:
        first, *others = with_threads(lambda i=image, c=connectivity: mk.regions.max_tree(i, connectivity=c))
        assert all(same_tree(first, other) for other in others)


def in_parts(image: np.ndarray, connectivity: int, parts: int) -> mk.regions.MaxTree:
    """The tree of an image that is cut into so many parts, which are joined."""
    full = image.reshape(1, *(1,) * (3 - image.ndim), *image.shape)
    parent, order, area = _core.regions.max_tree(full, connectivity, parts)
    return mk.regions.MaxTree(parent.reshape(image.shape), order.ravel(), area.reshape(image.shape))


@given(case=images(), parts=st.integers(1, 9), ramp=st.booleans())
def test_parts_are_joined(case: tuple[np.ndarray, int], parts: int, ramp: bool) -> None:
    """Flat zones and branches across seams; more parts than rows."""
    image, connectivity = case
    if ramp:
        image = np.cumsum(image, axis=0).astype(image.dtype)
    parent, order, area = reference(image, connectivity)
    tree = in_parts(image, connectivity, parts)
    np.testing.assert_array_equal(tree.parent, parent.reshape(image.shape))
    np.testing.assert_array_equal(tree.order, order)
    np.testing.assert_array_equal(tree.area, area.reshape(image.shape))


@pytest.mark.parametrize("connectivity", PICTURES + VOLUMES)
def test_parts_of_structured_images(connectivity: int) -> None:
    """One part against many, where seams cross checkerboards, stripes, ramps, plateaus and combs."""
    shape = (24, 37) if connectivity in PICTURES else (12, 9, 14)
    indices = np.indices(shape)
    along, across = indices[0], indices[-1]
    scenes = [
        indices.sum(axis=0) % 2,
        along % 2,
        across % 2,
        along * 5,
        200 - along * 5,
        along * 3 + across,
        np.abs(along - shape[0] // 2) * 9 + across % 3,
        np.where(across % 2 == 0, 100 + along, 3),
        (along * 7 + across * 11) % 13,
        np.zeros(shape),
    ]
    for scene in scenes:
        image = scene.astype(np.uint8)
        # Floats are joined one by one, not in parts.
        wanted = mk.regions.max_tree(image.astype(np.float32), connectivity=connectivity)
        for dtype in ("uint8", "uint16", "int16"):
            for parts in (1, 2, 3, 7, 40):
                assert same_tree(in_parts(image.astype(dtype), connectivity, parts), wanted)


def test_many_levels_are_not_flooded() -> None:
    """Either way of building the tree gives the same one, just below and just above the limit."""
    values = np.random.default_rng(11).permutation(5041).reshape(71, 71).astype(np.uint16)
    for image in (values, values % 4096, (values % 4096).astype(np.int16) - 2000):
        for connectivity in PICTURES:
            wanted = mk.regions.max_tree(image.astype(np.float64), connectivity=connectivity)
            for parts in (1, 4):
                assert same_tree(in_parts(image, connectivity, parts), wanted)


def test_degenerate_images() -> None:
    for shape in ((1, 1), (1, 50), (50, 1), (7, 9)):
        tree = mk.regions.max_tree(np.full(shape, 3, np.uint8))
        assert (tree.parent == 0).all()
        assert tree.area.ravel()[0] == np.prod(shape)
    for shape in ((0, 5), (5, 0), (0, 0)):
        assert mk.regions.max_tree(np.zeros(shape, np.uint8)).order.shape == (0,)
    board = (np.indices((8, 8)).sum(axis=0) % 2).astype(np.uint8)
    assert (mk.regions.max_tree(board, connectivity=8).area.ravel()[1]) == 32
    assert (mk.regions.max_tree(board, connectivity=4).area[board == 1] == 1).all()
    extremes = np.array([[-np.inf, np.inf, 0.0, -0.0, 5e-324]])
    tree = mk.regions.max_tree(extremes)
    assert tree.order.tolist() == [0, 2, 3, 4, 1]
    assert tree.parent.tolist() == [[0, 2, 0, 2, 2]]


def test_batches_layouts_and_frameworks() -> None:
    image = np.random.default_rng(8).integers(0, 60000, (3, 20, 30)).astype(np.uint16)
    tree = mk.regions.max_tree(image)
    assert tree.order.shape == (3, 600)
    for i in range(3):
        assert same_tree(mk.regions.max_tree(image[i]), mk.regions.MaxTree(*(a[i] for a in tree)))
    for variant in (image.astype(">u2"), np.asfortranarray(image), np.repeat(image, 2, axis=2)[..., ::2]):
        assert same_tree(mk.regions.max_tree(variant), tree)
    tensors = mk.regions.max_tree(torch.from_numpy(image))
    assert all(isinstance(t, torch.Tensor) for t in tensors)
    assert same_tree(mk.regions.MaxTree(*(t.numpy() for t in tensors)), tree)
    assert same_tree(mk.regions.max_tree(jnp.asarray(image)), tree)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="image must be uint8, uint16, int16, float32 or float64, not int64"):
        mk.regions.max_tree(np.zeros((2, 2), np.int64))
    with pytest.raises(TypeError, match="not bool"):
        mk.regions.max_tree(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"image must not hold NaN, but element \(1, 0\) is"):
        mk.regions.max_tree(np.array([[0.0, 1.0], [np.nan, 2.0]]))
    with pytest.raises(ValueError, match=r"image must have shape \[H, W\] or \[B, H, W\]"):
        mk.regions.max_tree(np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="connectivity must be 4 or 8"):
        mk.regions.max_tree(np.zeros((2, 2), np.uint8), connectivity=2)
