"""Segmentation on GPUs: its Triton kernels interpreted, compiled without a GPU, and on the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import medkernels as mk  # noqa: E402
from tests.segmentation.cases import Case, scene  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs where Triton interprets its kernels")


def gpu(test: Any) -> Any:
    missing = INTERPRETED or not torch.cuda.is_available()
    return pytest.mark.gpu(
        pytest.mark.skipif(missing, reason="no GPU, or Triton interprets its kernels")(test)
    )


SMALL = {
    "picture": scene(2, 5, (3, 4), (7, 9), 1, "ties"),
    "volume": scene(1, 4, (2, 3, 5), (5, 6, 11), 2),
    "smaller": scene(1, 3, (3, 4, 5), (2, 2, 3), 3),
    "same size": scene(1, 3, (2, 3, 4), (2, 3, 4), 4, "ties"),
    "long rows": scene(1, 2, (1, 20), (2, 150), 5),
    "one place": scene(1, 3, (1, 1), (2, 3), 6),
    "one class": scene(1, 1, (2, 2), (3, 3), 7),
}
LARGE = {
    "picture": scene(2, 20, (64, 60), (256, 250), 11),
    "volume": scene(2, 30, (16, 17, 18), (64, 60, 71), 12, "ties"),
    "regions": scene(1, 105, (16, 16, 16), (64, 64, 64), 13, "regions"),
    "many classes": scene(1, 300, (9, 8), (30, 40), 14),
    "smaller": scene(1, 7, (40, 41, 42), (17, 18, 19), 15),
}


def check_argmax(case: Case, device: str, dtype: Any) -> None:
    """The labels of the CPU."""
    logits = torch.from_numpy(case.logits).to(dtype)
    wide = logits.float() if dtype in (torch.float16, torch.bfloat16) else logits
    wanted = mk.segmentation.upsample_argmax(wide, size=case.size)
    if device == "cpu":
        from medkernels.kernels import upsample_argmax

        labels = upsample_argmax.upsample_argmax_forward(logits, case.size, wanted.dtype)
    else:
        labels = mk.segmentation.upsample_argmax(logits.to(device), size=case.size)
    assert labels.device.type == device
    assert labels.dtype == wanted.dtype
    assert torch.equal(labels.cpu(), wanted)


def check_dice_ce(case: Case, device: str, dtype: Any, include_background: bool, ignored: int | None) -> None:
    """Losses, counts and gradient of the CPU in float64."""
    logits, labels = torch.from_numpy(case.logits).to(dtype), torch.from_numpy(case.labels(1))
    options = (include_background, ignored)
    grad = torch.rand(len(logits), 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    grad[:, 0] /= labels[0].numel()
    ops = torch.ops.medkernels
    losses, counts, sums = ops.upsample_dice_ce(logits.double(), labels, *options)
    wanted = ops.upsample_dice_ce_backward(grad, logits.double(), labels, sums, *options)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    if device == "cpu":
        from medkernels.kernels import upsample_dice_ce as kernels

        found, places, own_sums = kernels.upsample_dice_ce_forward(logits, labels, *options)
        slopes = kernels.upsample_dice_ce_backward(grad.to(kind), logits, labels, own_sums, *options)
    else:
        there = [each.to(device) for each in (logits, labels)]
        found, places, own_sums = ops.upsample_dice_ce(*there, *options)
        slopes = ops.upsample_dice_ce_backward(grad.to(device, kind), *there, own_sums, *options)
    assert found.dtype == kind
    assert slopes.dtype == dtype
    assert torch.equal(places.cpu(), counts)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found.cpu().double(), losses, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(own_sums.cpu(), sums, rtol=10 * tolerance, atol=10 * tolerance)
    largest = float(wanted.abs().max())
    rounding = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(slopes.cpu().double(), wanted, rtol=rounding, atol=rounding * largest + 1e-15)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_interpreted_labels(name: str, dtype: Any) -> None:
    check_argmax(SMALL[name], "cpu", dtype)


@interpreted
@pytest.mark.parametrize("name", sorted(SMALL))
def test_interpreted_loss(name: str) -> None:
    check_dice_ce(SMALL[name], "cpu", torch.float64, True, None)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpreted_loss_of_some_places(dtype: Any) -> None:
    check_dice_ce(SMALL["picture"], "cpu", dtype, False, 2)


@interpreted
def test_interpreted_values_are_refused() -> None:
    from medkernels.kernels import upsample_argmax, upsample_dice_ce

    logits, labels = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 1, 2] = 3
    for ignored, wanted in ((None, "from 0 to 2"), (9, "from 0 to 2 or 9")):
        with pytest.raises(ValueError, match=f"labels must be {wanted}, but element 6 .* is 3"):
            upsample_dice_ce.upsample_dice_ce_forward(logits, labels, True, ignored)
    logits[0, 1, 1, 0] = -np.inf
    for call in (
        lambda: upsample_argmax.upsample_argmax_forward(logits, (4, 4), torch.uint8),
        lambda: upsample_dice_ce.upsample_dice_ce_forward(logits, labels, True, 3),
    ):
        with pytest.raises(ValueError, match=r"logits must be finite, but element 6 .* is -inf"):
            call()


@pytest.mark.parametrize(("capability", "dtypes"), [(80, ["fp32"]), (90, ["fp32", "bf16", "fp64"])])
def test_kernels_compile_without_a_gpu(capability: int, dtypes: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.segmentation.compile_triton_kernels", str(capability), *dtypes],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == 7 * len(dtypes)
    for used in kernels:
        assert used["bytes"] > 0
        assert used.get("stack", 0) == 0, f"spills: {used}"
        assert used["kernel"] != "choose" or used["fused"] == 0, f"other labels than on the CPU: {used}"


@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(LARGE))
def test_device_labels(name: str, dtype: Any) -> None:
    check_argmax(LARGE[name], "cuda", dtype)


@gpu
@pytest.mark.parametrize(("include_background", "ignored"), [(True, None), (False, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(LARGE))
def test_device_loss(name: str, dtype: Any, include_background: bool, ignored: int | None) -> None:
    check_dice_ce(LARGE[name], "cuda", dtype, include_background, ignored)


@gpu
def test_device_arguments() -> None:
    """Any layout, streams, CuPy arrays; the same result each time."""
    case = LARGE["volume"]
    logits, labels = torch.from_numpy(case.logits), torch.from_numpy(case.labels(3))
    wanted = mk.segmentation.upsample_argmax(logits, size=case.size)
    there = logits.cuda()
    turned = there.movedim(1, 4).contiguous().movedim(4, 1)
    assert torch.equal(mk.segmentation.upsample_argmax(turned, size=case.size).cpu(), wanted)
    grads = []
    for _ in range(2):
        leaf = there.float().requires_grad_()
        mk.segmentation.upsample_dice_ce(leaf, labels.cuda()).backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)
    with pytest.raises(ValueError, match="labels is on cpu, but logits is on cuda:0"):
        mk.segmentation.upsample_dice_ce(there, labels)
    cupy = pytest.importorskip("cupy")
    array = cupy.asarray(case.logits)
    found = mk.segmentation.upsample_argmax(array, size=case.size)
    assert isinstance(found, cupy.ndarray)
    assert np.array_equal(cupy.asnumpy(found), wanted)
    loss = mk.segmentation.upsample_dice_ce(array, cupy.asarray(labels.numpy()))
    assert isinstance(loss, cupy.ndarray)
    assert np.isclose(float(loss), mk.segmentation.upsample_dice_ce(case.logits, labels.numpy()))
