"""What is benchmarked computes what the reference says, values and gradients, on every device."""

from __future__ import annotations

import importlib
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from medkernels.benchmarks import gpu  # noqa: E402
from medkernels.benchmarks.runner.cases import Inputs, run_in_parts  # noqa: E402
from medkernels.benchmarks.runner.compare import compare_diagrams  # noqa: E402

from medkernels import benchmarks, features, points, regions, render  # noqa: E402
from tests.reference.ball_query import ball_query  # noqa: E402
from tests.reference.devoxelize import devoxelize  # noqa: E402
from tests.reference.edge_softmax import edge_softmax  # noqa: E402
from tests.reference.farthest_point_sampling import farthest_point_sampling  # noqa: E402
from tests.reference.gather_sum import gather_sum  # noqa: E402
from tests.reference.grid_atoms import grid_atoms  # noqa: E402
from tests.reference.knn import knn  # noqa: E402
from tests.reference.label import label, measures  # noqa: E402
from tests.reference.local_reference_axis import local_reference_axis  # noqa: E402
from tests.reference.match import match  # noqa: E402
from tests.reference.max_tree import max_tree  # noqa: E402
from tests.reference.rotation_invariant_features import rotation_invariant_features  # noqa: E402
from tests.reference.upsample_argmax import upsample_argmax  # noqa: E402
from tests.reference.upsample_dice_ce import upsample_dice_ce  # noqa: E402
from tests.reference.vietoris_rips import pairwise, vietoris_rips  # noqa: E402
from tests.reference.voxelize import voxelize  # noqa: E402

FEW = 20  # points, whose simplices the reference can list
# Not by what torch says: where there is a GPU that it cannot use, this is to fail and not to be skipped.
NO_GPU = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def check_pictures(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    reference = getattr(importlib.import_module(f"tests.reference.{op}"), op)

    def draw(part: Inputs) -> torch.Tensor:
        return reference(**{name: value for name, value in part.items() if name != "upstream"})

    for case in module.cases("small"):
        if case.curve:  # equal circles, whose angles have no gradient to compare
            continue
        inputs = case.inputs(device, 1)
        ours = module.PROVIDERS[0].run(inputs, True)
        exact = {k: v.double().cpu() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        expected = run_in_parts(draw, exact, True)
        assert ours.keys() == expected.keys()
        for name, want in expected.items():
            gap = torch.linalg.vector_norm(ours[name].double().cpu() - want) / torch.linalg.vector_norm(want)
            # At the cut-off the profile jumps by 0.0025; float32 may put a few pixels on its other side.
            assert gap < 1e-3, (case.name, name)


def check_diagrams(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        few = {**inputs, "points": inputs["points"][:2, :FEW]}
        clouds = inputs["host"][:2, :FEW].astype(np.float64)
        expected = {"result": [vietoris_rips(pairwise(cloud), inputs["max_dim"]) for cloud in clouds]}
        found = compare_diagrams(module.PROVIDERS[0].run(few, False), expected)
        assert found["largest"] <= module.TOLERANCE, case.name


def check_labels(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        host = inputs["host"]
        wanted, _ = label(host, 8 if host.ndim == 2 else 26)
        found = torch.as_tensor(module.PROVIDERS[0].run(inputs, False)["result"])
        np.testing.assert_array_equal(found.cpu().numpy(), wanted, err_msg=case.name)
        options = {"connectivity": 8 if host.ndim == 2 else 26, "return_measures": True}
        *_, measured = regions.label(inputs["mask"], **options)
        for name, values in measures(wanted, int(wanted.max())).items():
            np.testing.assert_allclose(torch.as_tensor(getattr(measured, name)).cpu(), values, atol=1e-9)


def check_trees(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        if case.curve:  # larger, and nothing else
            continue
        inputs = case.inputs(device, 1)
        connectivity = 8 if inputs["host"].ndim == 2 else 6
        tree = regions.max_tree(inputs["image"], connectivity=connectivity)
        for found, wanted in zip(tree, max_tree(inputs["host"], connectivity), strict=True):
            np.testing.assert_array_equal(torch.as_tensor(found).cpu().ravel(), wanted, err_msg=case.name)


def check_matches(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        _, matches, distances = module.PROVIDERS[0].run(inputs, False)["result"]
        wanted, lengths = match(*inputs["host"], module.RATIO)
        assert torch.as_tensor(matches).tolist() == wanted, case.name
        np.testing.assert_allclose(torch.as_tensor(distances).cpu(), lengths, rtol=1e-6)


def check_features(op: str, device: str) -> None:
    """On a GPU against the CPU, which is checked without one: the reference needs SciPy."""
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        options = {"peak_threshold": module.PEAK, "max_features": inputs["count"]}
        found = [
            torch.as_tensor(part).cpu() for part in features.affine_covariant(inputs["image"], **options)
        ]
        if device == "cpu":
            from tests.reference.affine_covariant import affine_covariant

            wanted = affine_covariant(inputs["host"] / 255, peak_threshold=module.PEAK, count=6)
        else:
            wanted = features.affine_covariant(inputs["host"], **options)
            assert len(found[0]) == len(wanted[0])
        frames, descriptors = (torch.from_numpy(part).float() for part in wanted[:2])
        near, best = torch.cdist(frames[:, :, 2], found[0][:, :, 2]).min(1)
        assert (near < 0.05).all(), case.name
        likeness = (descriptors * found[1][best]).sum(1)
        # Where an adaptation ends, at the greatest ratio of the axes, may depend on rounding.
        assert (likeness > 0.99).sum() >= len(frames) - 1, case.name


def check_samples(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        picks = torch.as_tensor(module.PROVIDERS[0].run(inputs, False)["result"])
        assert picks.tolist() == farthest_point_sampling(inputs["host"], inputs["samples"]), case.name


def check_neighbours(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        found = torch.as_tensor(module.PROVIDERS[0].run(inputs, False)["result"]).cpu().numpy()
        wanted = knn(inputs["host"], None, inputs["k"])[1].astype(np.float32)
        np.testing.assert_array_equal(found, wanted, err_msg=case.name)


def check_balls(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        found = torch.as_tensor(module.PROVIDERS[0].run(inputs, False)["result"]).cpu().numpy()
        wanted = ball_query(inputs["host"], inputs["host"], inputs["radius"], module.MOST)[0]
        np.testing.assert_array_equal(found, wanted, err_msg=case.name)


def check_upsampled_labels(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        labels = module.PROVIDERS[0].run(inputs, False)["result"]
        wanted = upsample_argmax(inputs["logits"].cpu().numpy(), size=inputs["size"])
        np.testing.assert_array_equal(labels.cpu().numpy(), wanted, err_msg=case.name)


def check_upsampled_loss(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        ours = module.PROVIDERS[0].run(inputs, True)
        leaf = inputs["logits"].cpu().double().requires_grad_()
        loss = upsample_dice_ce(leaf, inputs["labels"][0].cpu())
        torch.testing.assert_close(
            ours["result"].cpu().double(), loss.detach().reshape(1), rtol=1e-5, atol=1e-5
        )
        (grad,) = torch.autograd.grad(loss, leaf)
        gap = torch.linalg.vector_norm(ours["grad logits"].cpu() - grad) / torch.linalg.vector_norm(grad)
        assert gap < 1e-4, case.name


def check_axes(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        found = module.PROVIDERS[0].run(inputs, False)["result"].cpu().numpy()
        host = (inputs["points"].cpu().numpy(), inputs["neighbours"].cpu().numpy())
        for axes, cloud, table in zip(found, *host, strict=True):
            np.testing.assert_allclose(axes, local_reference_axis(cloud, table), atol=1e-4, err_msg=case.name)


def check_neighbourhoods(op: str, device: str) -> None:
    """But for the axes, which have a check of their own."""
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        found = torch.as_tensor(module.PROVIDERS[0].run(inputs, False)["result"]).cpu().numpy()
        clouds = inputs["points"]
        tables = inputs.get("neighbours", points.knn(clouds, k=inputs["k"])[0])
        parts = (clouds, points.local_reference_axis(clouds, tables), inputs["centers"], tables)
        host = [torch.as_tensor(part).cpu().numpy() for part in parts]
        for ours, *item in zip(found, *host, strict=True):
            wanted, _ = rotation_invariant_features(*item)
            # Signs that float32 decides otherwise.
            assert np.mean(np.abs(ours - wanted) > 1e-3) <= module.MOST_DIFFERENT, case.name


def check_edges(op: str, device: str) -> None:
    """Values against the reference; gradients against torch's, of the same formula."""
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        table = inputs["table"][0].cpu().numpy()
        scores = inputs["scores"].cpu().numpy() if "scores" in inputs else None
        weights = None if scores is None else edge_softmax(scores, table)
        wanted = (
            weights if op == "edge_softmax" else gather_sum(inputs["features"].cpu().numpy(), table, weights)
        )
        ours, theirs = (provider.run(inputs, True) for provider in module.PROVIDERS)
        np.testing.assert_allclose(ours["result"].cpu().numpy(), wanted, rtol=1e-4, atol=1e-5)
        for name in ours.keys() - {"result"}:
            torch.testing.assert_close(ours[name].cpu(), theirs[name].cpu(), rtol=1e-4, atol=1e-5)


def check_atoms(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        ours = module.PROVIDERS[0].run(inputs, True)
        leaf = inputs["coords"][0].cpu().double().requires_grad_()
        channels, radii = (each[0].cpu() for each in inputs["kinds"])
        sizes = (inputs["side"], module.RESOLUTION, module.CHANNELS, 1.0)
        grid = grid_atoms(leaf, channels, radii.double(), torch.zeros(3).double(), *sizes)
        torch.testing.assert_close(ours["result"][0].cpu().double(), grid.detach(), rtol=1e-4, atol=1e-5)
        (grad,) = torch.autograd.grad(grid, leaf, inputs["upstream"][0].cpu().double())
        gap = torch.linalg.vector_norm(ours["grad coords"][0].cpu() - grad) / torch.linalg.vector_norm(grad)
        assert gap < 1e-4, case.name


def check_voxels(op: str, device: str) -> None:
    """Values against the reference; gradients against the peer's, which autograd finds."""
    module = benchmarks.load_op(op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        ours, theirs = (provider.run(inputs, True) for provider in module.PROVIDERS)
        for i, cloud in enumerate(inputs["points"].cpu()):
            if op == "voxelize":
                rows = inputs["features"][i].cpu().numpy()
                wanted = voxelize(cloud.numpy(), rows, inputs["resolution"], True)
            else:
                grid = inputs["grid"][i].cpu().double()
                wanted = devoxelize(grid, cloud.double(), True).numpy()
            np.testing.assert_allclose(ours["result"][i].cpu().numpy(), wanted, rtol=1e-4, atol=1e-5)
        for name in ours.keys() - {"result"}:
            torch.testing.assert_close(ours[name].cpu(), theirs[name].cpu(), rtol=1e-3, atol=1e-4)


def check_attention(op: str, device: str) -> None:
    module = benchmarks.load_op(op)
    reference = getattr(importlib.import_module(f"tests.reference.{op}"), op)
    for case in module.cases("small"):
        inputs = case.inputs(device, 1)
        ours = module.PROVIDERS[0].run(inputs, True)
        leaves = {name: inputs[name].cpu().double().requires_grad_() for name in "qkv" if name in inputs}
        memory = [array.cpu().double() for array in inputs.get("memory", ())]
        options = {name: inputs[name] for name in ("scale", "seed") if name in inputs}
        options |= {"k": module.K} if op == "knn_memory" else {}
        result = reference(*leaves.values(), *memory, **options)
        grads = torch.autograd.grad(result, [*leaves.values()], inputs["upstream"].cpu().double())
        wanted = {"result": result, **{f"grad {name}": g for name, g in zip(leaves, grads, strict=True)}}
        assert ours.keys() == wanted.keys()
        for name, want in wanted.items():
            gap = torch.linalg.vector_norm(ours[name].cpu() - want) / torch.linalg.vector_norm(want)
            assert gap < 1e-5, (case.name, name)


CHECKS = {
    **dict.fromkeys(render.__all__, check_pictures),
    **dict.fromkeys(("channel", "knn_memory", "prob_sparse", "set_attention"), check_attention),
    "affine_covariant": check_features,
    "ball_query": check_balls,
    "devoxelize": check_voxels,
    "edge_softmax": check_edges,
    "farthest_point_sampling": check_samples,
    "gather_sum": check_edges,
    "grid_atoms": check_atoms,
    "knn": check_neighbours,
    "label": check_labels,
    "local_reference_axis": check_axes,
    "match": check_matches,
    "max_tree": check_trees,
    "rotation_invariant_features": check_neighbourhoods,
    "upsample_argmax": check_upsampled_labels,
    "upsample_dice_ce": check_upsampled_loss,
    "vietoris_rips": check_diagrams,
    "voxelize": check_voxels,
}


@pytest.mark.parametrize("op", sorted(CHECKS))
@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_reference(op: str, device: str) -> None:
    CHECKS[op](op, device)


def test_every_op_for_gpus_has_its_check() -> None:
    assert set(gpu.gpu_ops()) <= set(CHECKS)


@pytest.mark.parametrize("device", DEVICES)
def test_ceilings(device: str) -> None:
    core = importlib.import_module("medkernels._cuda" if device == "cuda" else "medkernels._core")
    options = () if device == "cuda" else (False,)
    assert core.copy_bandwidth(1, 1) > 0
    assert core.fma_rate(0.05, *options) > 0
