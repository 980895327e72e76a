"""Try an installed medkernels: every op with NumPy, with torch too when it is there, and `medkernels info`.

Needs NumPy only: ``python tests/wheel_smoke.py`` in the environment to try.
``make wheel`` and cibuildwheel do so.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RED, WHITE = [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]


def channel(array: Callable[[Any], Any]) -> Any:
    """The channels of the values change places."""
    import medkernels as mk

    keys = np.array([[[[100.0, 0.0], [0.0, 100.0]]]])
    values = [[[[1.0, 2.0], [3.0, 4.0]]]]
    result = mk.attention.channel(array(keys[..., ::-1].copy()), array(keys), array(values))
    assert np.allclose(plain(result), np.array(values)[..., ::-1])
    return result


def knn_memory(array: Callable[[Any], Any]) -> Any:
    """The two nearest of three entries."""
    import medkernels as mk

    memory = mk.attention.MemoryBank(capacity=3)
    entries = np.array([[[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]]])
    memory.append(entries, entries)
    result = mk.attention.knn_memory(array([[[[1.0, 1.0]]]]), entries.tolist(), memory.values.tolist(), k=2)
    assert np.allclose(plain(result), 0.5)
    return result


def prob_sparse(array: Callable[[Any], Any]) -> Any:
    """Three queries out of ten get rows of their own."""
    import medkernels as mk

    steps = np.linspace(-1.0, 1.0, 10)
    rows = np.stack([steps, steps**2], axis=1)[None, None]
    result = mk.attention.prob_sparse(array(3 * rows), array(rows), array(rows), factor=1)
    assert tuple(result.shape) == (1, 1, 10, 2)
    mean = rows.mean(axis=2, keepdims=True)
    assert (np.abs(plain(result) - mean).max(axis=3) > 1e-9).sum() == 3
    return result


def set_attention(array: Callable[[Any], Any]) -> Any:
    """One query that prefers one of a thousand keys, and one that has no preference."""
    import medkernels as mk

    keys = np.zeros((1, 1, 1000, 2))
    keys[0, 0, 700, 0] = 1.0
    values = np.arange(1000.0).reshape(1, 1, 1000, 1)
    result = mk.attention.set_attention(array([[[[100.0, 0.0], [0.0, 1.0]]]]), array(keys), array(values))
    assert np.allclose(plain(result)[0, 0, :, 0], [700.0, 499.5])
    return result


def ellipses(array: Callable[[Any], Any]) -> Any:
    """A red ellipse on white."""
    import medkernels as mk

    image = mk.render.ellipses(
        array([[[16.0, 12.0]]]),
        array([[[8.0, 4.0]]]),
        array([[0.5]]),
        array([[RED]]),
        array([WHITE]),
        size=(24, 32),
    )
    assert tuple(image.shape) == (1, 3, 24, 32)
    assert np.allclose(plain(image)[0, :, 12, 16], RED, atol=0.01)
    assert np.allclose(plain(image)[0, :, 0, 0], WHITE)
    return image


def ellipsoids(array: Callable[[Any], Any]) -> Any:
    """A red ball on white."""
    import medkernels as mk

    volume = mk.render.ellipsoids(
        array([[[8.0, 6.0, 4.0]]]),
        array([[[3.0, 3.0, 3.0]]]),
        array([[[1.0, 0.0, 0.0, 0.0]]]),
        array([[RED]]),
        array([WHITE]),
        size=(9, 13, 17),
    )
    assert tuple(volume.shape) == (1, 3, 9, 13, 17)
    assert np.allclose(plain(volume)[0, :, 4, 6, 8], RED, atol=0.01)
    assert np.allclose(plain(volume)[0, :, 0, 0, 0], WHITE)
    return volume


def upsample_argmax(array: Callable[[Any], Any]) -> Any:
    """Two classes, one row of two places, upsampled to eight."""
    import medkernels as mk

    labels = mk.segmentation.upsample_argmax(array([[[[0.0, 0.0]], [[-1.0, 3.0]]]]), size=(1, 8))
    assert plain(labels).tolist() == [[[0, 0, 0, 1, 1, 1, 1, 1]]]
    return labels


def upsample_dice_ce(array: Callable[[Any], Any]) -> Any:
    """Two classes with equal logits: the logarithm of 2, and a Dice of 2/3 each."""
    import medkernels as mk

    labels = [[[0, 0, 1, 1]]]
    loss = mk.segmentation.upsample_dice_ce(array([[[[1.0, 2.0]], [[1.0, 2.0]]]]), labels)
    assert np.allclose(plain(loss), np.log(2) + 1 / 3, atol=1e-5)
    return loss


def sliding_window(array: Callable[[Any], Any]) -> Any:
    """Two points of a series."""
    import medkernels as mk

    windows = mk.topology.sliding_window(array([1.0, 2.0, 3.0, 5.0]))
    assert plain(windows).tolist() == [[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]]
    return windows


def vietoris_rips(array: Callable[[Any], Any]) -> Any:
    """The loop of a square, from its sides to its diagonal."""
    import medkernels as mk

    components, loops = mk.topology.vietoris_rips(array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    assert plain(components).tolist() == [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, np.inf]]
    assert plain(loops).tolist() == [[1.0, np.sqrt(2.0)]]
    return loops


def wasserstein(array: Callable[[Any], Any]) -> Any:
    """One bar against a longer one."""
    import medkernels as mk

    distance = mk.topology.wasserstein(array([[0.0, 2.0]]), array([[0.0, 3.0]]))
    assert float(plain(distance)) == 1.0
    return distance


def wasserstein_matrix(array: Callable[[Any], Any]) -> Any:
    """Two diagrams of one bar."""
    import medkernels as mk

    distances = mk.topology.wasserstein_matrix([array([[0.0, 2.0]]), array([[0.0, 3.0]])])
    assert plain(distances).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    return distances


def betti_curve(array: Callable[[Any], Any]) -> Any:
    """Two bars."""
    import medkernels as mk

    curve = mk.topology.betti_curve(array([[0.0, 2.0], [1.0, np.inf]]), [0.0, 1.0, 2.0])
    assert plain(curve).tolist() == [1, 2, 1]
    return curve


def persistence_image(array: Callable[[Any], Any]) -> Any:
    """One bar, in the middle of the image."""
    import medkernels as mk

    image = mk.topology.persistence_image(
        array([[1.0, 2.0]]), resolution=3, birth_range=(0, 2), persistence_range=(0, 2), bandwidth=0.2
    )
    assert tuple(image.shape) == (3, 3)
    assert plain(image)[1, 1] > 0.8
    return image


def persistence_entropy(array: Callable[[Any], Any]) -> Any:
    """Two equal bars, and two that differ."""
    import medkernels as mk

    entropy = mk.topology.persistence_entropy(
        [array([[0.0, 1.0], [1.0, 2.0]]), array([[0.0, 1.0], [0.0, 3.0]])]
    )
    assert np.allclose(plain(entropy), [0.693147, 0.562335])
    return entropy


def match(array: Callable[[Any], Any]) -> Any:
    """Two descriptors among three."""
    import medkernels as mk

    rows = array([[0.0, 1.0], [5.0, 5.0]]), array([[5.0, 4.0], [9.0, 9.0], [0.0, 1.0]])
    pairs, distances = mk.features.match(*rows)
    assert plain(pairs).tolist() == [[0, 2], [1, 0]]
    assert plain(distances).tolist() == [0.0, 1.0]
    return distances


def mask(array: Callable[[Any], Any]) -> Any:
    """A ring, and a speck in its corner."""
    return (
        array([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]) > 0.5
    )


def label(array: Callable[[Any], Any]) -> Any:
    """The ring and the speck touch at a corner."""
    import medkernels as mk

    labels, count, measures = mk.regions.label(mask(array), connectivity=4, return_measures=True)
    assert count == 2
    assert plain(measures.area).tolist() == [8, 1]
    return labels


def area_open(array: Callable[[Any], Any]) -> Any:
    """The ring without the speck."""
    import medkernels as mk

    opened = mk.regions.area_open(mask(array), 2, connectivity=4)
    assert int(plain(opened).sum()) == 8
    return opened


def fill_holes(array: Callable[[Any], Any]) -> Any:
    """The ring as a square, and the speck."""
    import medkernels as mk

    filled = mk.regions.fill_holes(mask(array))
    assert int(plain(filled).sum()) == 10
    return filled


def max_tree(array: Callable[[Any], Any]) -> Any:
    """A peak on a slope."""
    import medkernels as mk

    tree = mk.regions.max_tree(array([[0.0, 1.0, 3.0, 2.0]]))
    assert plain(tree.area).tolist() == [[4, 3, 1, 2]]
    return tree.parent


def affine_covariant(array: Callable[[Any], Any]) -> Any:
    """The ellipse of a blob."""
    import medkernels as mk

    y, x = np.mgrid[:64, :64]
    image = np.exp(-(((x - 34) / 8) ** 2 + ((y - 28) / 4) ** 2) / 2)
    frames, descriptors, responses = mk.features.affine_covariant(array(image.tolist()), max_features=1)
    assert tuple(descriptors.shape) == (1, 128)
    assert float(responses[0]) < 0
    assert np.allclose(plain(frames)[0, :, 2], [34, 28], atol=0.1)
    assert np.isclose(plain(frames)[0, 0, 0], 2 * plain(frames)[0, 1, 1], rtol=0.1)
    return frames


def four_points(array: Callable[[Any], Any]) -> Any:
    """On a line."""
    return array([[0.0], [1.0], [3.0], [4.0]])


def ball_query(array: Callable[[Any], Any]) -> Any:
    """Points within 2."""
    import medkernels as mk

    points = four_points(array)
    indices, squared = mk.points.ball_query(points, points[:2], radius=2, k=3)
    assert plain(indices).tolist() == [[0, 1, -1], [0, 1, 2]]
    return squared


#: Neighbours of three nodes; the last has one.
TABLE = [[1, 2], [0, 2], [0, -1]]


def grid_atoms(array: Callable[[Any], Any]) -> Any:
    """An atom in the middle of the second of two channels."""
    import medkernels as mk

    place = {"center": [0, 0, 0], "side": 2, "resolution": 1}
    grid = mk.points.grid_atoms(array([[0.0, 0.0, 0.0]]), [1], 1.0, **place)
    assert tuple(grid.shape) == (2, 3, 3, 3)
    assert np.allclose(plain(grid)[1, 1, 1], [np.exp(-2), 1, np.exp(-2)])
    return grid


def voxelize(array: Callable[[Any], Any]) -> Any:
    """Two points in one cell."""
    import medkernels as mk

    points = [[-0.9, -0.9, -0.9], [-0.8, -0.9, -0.9]]
    grid = mk.points.voxelize(points, array([[1.0], [2.0]]), resolution=2, subtract_mean=False)
    assert plain(grid).ravel().tolist() == [1.5] + [0.0] * 7
    return grid


def devoxelize(array: Callable[[Any], Any]) -> Any:
    """Halfway between two cells."""
    import medkernels as mk

    grid = array([[[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]]])
    features = mk.points.devoxelize(grid, array([[-0.5, -1.0, -1.0]]), subtract_mean=False)
    assert plain(features).tolist() == [[2.0]]
    return features


def edge_softmax(array: Callable[[Any], Any]) -> Any:
    """Equal scores, those of absent edges aside."""
    import medkernels as mk

    weights = mk.points.edge_softmax(array([[7.0, 7.0], [0.0, 0.0], [3.0, 5.0]]), TABLE)
    assert np.allclose(plain(weights), [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    return weights


def farthest_point_sampling(array: Callable[[Any], Any]) -> Any:
    """Both ends, then what is farthest from both."""
    import medkernels as mk

    picks = mk.points.farthest_point_sampling(four_points(array), 3)
    assert plain(picks).tolist() == [0, 3, 1]
    return picks


def gather_sum(array: Callable[[Any], Any]) -> Any:
    """Of two neighbours, and of one."""
    import medkernels as mk

    sums = mk.points.gather_sum(array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), TABLE)
    assert plain(sums).tolist() == [[6.0, 60.0], [5.0, 50.0], [1.0, 10.0]]
    return sums


def knn(array: Callable[[Any], Any]) -> Any:
    """Two neighbours each."""
    import medkernels as mk

    indices, squared = mk.points.knn(four_points(array), k=2, include_self=False)
    assert plain(indices).tolist() == [[1, 2], [0, 2], [3, 1], [2, 1]]
    return squared


def plane(array: Callable[[Any], Any]) -> Any:
    """A triangle at height 2, and a point below it."""
    return array([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [0.5, 0.5, 0.0]])


def local_reference_axis(array: Callable[[Any], Any]) -> Any:
    """Of the triangle: up."""
    import medkernels as mk

    axes = mk.points.local_reference_axis(plane(array), [[1, 2], [0, 2], [0, 1], [3, 3]], weighted=False)
    assert plain(axes).tolist() == [[0.0, 0.0, 1.0]] * 3 + [[0.0, 0.0, 0.0]]
    return axes


def rotation_invariant_features(array: Callable[[Any], Any]) -> Any:
    """The neighbours of a corner of the triangle, in one turn."""
    import medkernels as mk

    points = plane(array)
    axes = mk.points.local_reference_axis(points, [[1, 2], [0, 2], [0, 1], [3, 3]], weighted=False)
    features, ordered = mk.points.rotation_invariant_features(points, axes, [0], [[1, 2]])
    assert plain(ordered).tolist() == [[1, 2]]
    assert np.allclose(plain(features)[0, :, 0], 1.0)
    return features


def picture(array: Callable[[Any], Any], channels: int = 0) -> Any:
    """A bright square of nine pixels, 8 bits: on grey, or white on red."""
    values = np.full((30, 30), 90.0)
    if channels:
        values = np.full((30, 30, channels), 0.0)
        values[..., 0] = 90.0
    values[10:13, 20:23] = 250.0
    image = array(values.tolist())
    return image.byte() if hasattr(image, "byte") else image.astype(np.uint8)


def mser(array: Callable[[Any], Any]) -> Any:
    """The square is the only bright region."""
    import medkernels as mk

    found = mk.regions.mser(picture(array), min_area=5, polarity="bright")
    assert plain(found.centers).tolist() == [[21.0, 11.0]]
    return found.axes


def mmser(array: Callable[[Any], Any]) -> Any:
    """The square is small and bright."""
    import medkernels as mk

    highlights, found = mk.regions.mmser(picture(array), max_area=10)
    assert int(plain(highlights).sum()) == 9
    assert plain(found.score).tolist() == [0]
    return highlights


def saturation_mask(array: Callable[[Any], Any]) -> Any:
    """White is pale."""
    import medkernels as mk

    pale = mk.regions.saturation_mask(picture(array, channels=3))
    assert int(plain(pale).sum()) == 9
    return pale


def specular_mask(array: Callable[[Any], Any]) -> Any:
    """The white square is a highlight."""
    import medkernels as mk

    highlights = mk.regions.specular_mask(picture(array, channels=3), max_area=10)
    assert int(plain(highlights).sum()) == 9
    return highlights


#: One call of each public op, by domain and name; each checks its result and returns it.
CALLS = {
    ("attention", "channel"): channel,
    ("attention", "knn_memory"): knn_memory,
    ("attention", "prob_sparse"): prob_sparse,
    ("attention", "set_attention"): set_attention,
    ("features", "affine_covariant"): affine_covariant,
    ("features", "match"): match,
    ("points", "ball_query"): ball_query,
    ("points", "devoxelize"): devoxelize,
    ("points", "edge_softmax"): edge_softmax,
    ("points", "farthest_point_sampling"): farthest_point_sampling,
    ("points", "gather_sum"): gather_sum,
    ("points", "grid_atoms"): grid_atoms,
    ("points", "knn"): knn,
    ("points", "local_reference_axis"): local_reference_axis,
    ("points", "rotation_invariant_features"): rotation_invariant_features,
    ("points", "voxelize"): voxelize,
    ("regions", "area_open"): area_open,
    ("regions", "fill_holes"): fill_holes,
    ("regions", "label"): label,
    ("regions", "max_tree"): max_tree,
    ("regions", "mmser"): mmser,
    ("regions", "mser"): mser,
    ("regions", "saturation_mask"): saturation_mask,
    ("regions", "specular_mask"): specular_mask,
    ("render", "ellipses"): ellipses,
    ("render", "ellipsoids"): ellipsoids,
    ("segmentation", "upsample_argmax"): upsample_argmax,
    ("segmentation", "upsample_dice_ce"): upsample_dice_ce,
    ("topology", "betti_curve"): betti_curve,
    ("topology", "persistence_entropy"): persistence_entropy,
    ("topology", "persistence_image"): persistence_image,
    ("topology", "sliding_window"): sliding_window,
    ("topology", "vietoris_rips"): vietoris_rips,
    ("topology", "wasserstein"): wasserstein,
    ("topology", "wasserstein_matrix"): wasserstein_matrix,
}
#: Ops without gradients.
CONSTANT = {op for op in CALLS if op[0] == "regions"} | {
    ("features", "affine_covariant"),
    ("features", "match"),
    ("points", "ball_query"),
    ("points", "farthest_point_sampling"),
    ("points", "knn"),
    ("points", "local_reference_axis"),
    ("points", "rotation_invariant_features"),
    ("segmentation", "upsample_argmax"),
    ("topology", "betti_curve"),
    ("topology", "wasserstein_matrix"),
}


def plain(array: Any) -> Any:
    """The values, as a NumPy array."""
    return array.detach().numpy() if hasattr(array, "detach") else array


def try_numpy() -> None:
    """Every op with NumPy arrays."""
    for call in CALLS.values():
        assert isinstance(call(np.array), (np.ndarray, np.floating))


def try_torch() -> None:
    """Every op with torch tensors: the same values, and gradients."""
    torch = importlib.import_module("torch")
    for name, call in CALLS.items():
        leaves: list[Any] = []

        def leaf(values: Any, leaves: list[Any] = leaves) -> Any:
            leaves.append(torch.tensor(values, dtype=torch.float64, requires_grad=True))
            return leaves[-1]

        result = call(leaf)
        assert isinstance(result, torch.Tensor)
        assert np.allclose(plain(result), call(np.array), rtol=1e-13, atol=1e-15)
        if name not in CONSTANT:
            result.square().sum().backward()
            assert all(bool(torch.isfinite(each.grad).all()) for each in leaves)


def try_command() -> None:
    """`medkernels info`, for people and for machines; other commands say what they lack."""
    command = Path(sysconfig.get_path("scripts")) / "medkernels"
    text = subprocess.run([command, "info"], check=True, capture_output=True, text=True).stdout
    version = importlib.import_module("medkernels").__version__
    assert version in text, text
    found = json.loads(
        subprocess.run([command, "info", "--json"], check=True, capture_output=True, text=True).stdout
    )
    assert found["version"] == version, found
    if importlib.util.find_spec("typer") is None:
        refused = subprocess.run([command, "zoo", "list"], check=False, capture_output=True, text=True)
        assert refused.returncode != 0
        assert "pip install" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr, refused.stderr


def main() -> int:
    """Run everything; any failure ends with a traceback."""
    start = time.perf_counter()
    import medkernels

    seconds = time.perf_counter() - start
    try_numpy()
    with_torch = importlib.util.find_spec("torch") is not None
    if with_torch:
        try_torch()
    else:
        others = {name.partition(".")[0] for name in sys.modules} & {"torch", "triton", "jax", "cupy"}
        assert not others, others
    try_command()
    numpy = np.__version__
    beside = f"torch {sys.modules['torch'].__version__}" if with_torch else "nothing else"
    python = sys.version.split()[0]
    print(f"medkernels {medkernels.__version__} works on Python {python} with NumPy {numpy} and {beside}")
    print(f"import medkernels: {1e3 * seconds:.0f} ms beyond NumPy")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
