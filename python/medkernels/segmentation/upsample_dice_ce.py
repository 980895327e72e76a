"""Soft Dice and cross-entropy of upsampled logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medkernels import _backends, _checks, _interop
from medkernels.segmentation import _arrays
from medkernels.segmentation._arrays import Which


def upsample_dice_ce(
    logits: Any,
    labels: Any,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    include_background: bool = True,
    ignore_index: int | None = None,
) -> Any:
    """Soft Dice loss and cross-entropy of logits of a lower resolution, which are never upsampled as a whole.

    With p the softmax over classes of the logits upsampled to the size of the labels (bilinear or trilinear,
    ``align_corners=False`` as in ``torch.nn.functional.interpolate``), and y one where a class is the label,

        loss = ce_weight * mean(-log p_label) + dice_weight * (1 - mean(Dice_c))
        Dice_c = (2 sum p_c y_c + 1e-5) / (sum p_c^2 + sum y_c^2 + 1e-5)

    where the first mean is over all places, the second over items and classes, and sums are over the places
    of an item.

    Parameters
    ----------
    logits
        [B, C, H', W'] or [B, C, D', H', W'], float32 or float64; on a GPU float16 and bfloat16 too, which are
        computed with in float32. Finite.
    labels
        [B, H, W] or [B, D, H, W], integers from 0 to C - 1, of any ratio to the size of the logits.
    dice_weight, ce_weight
        Finite, at least 0.
    include_background
        Whether class 0 takes part in the mean of Dice. It takes part in the softmax in any case.
    ignore_index
        Places with this label do not count, in either loss and in the mean; None if there are none such.

    Returns
    -------
    scalar
        Of the kind and dtype of `logits` (float32 for float16 and bfloat16). Where no place counts the
        cross-entropy is 0.

    Raises
    ------
    ValueError
        For shapes that do not fit together, no item, class or place, NaN or infinity in `logits`, labels that
        are no class, weights out of range, or no class left without the background.
    TypeError
        For arrays of different frameworks, logits that are not floating-point (on the CPU float16 and
        bfloat16 too), labels that are not integers, or options of another type.
    medkernels.BackendError
        Where there is no kernel for the device, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(C) operations for each label and each element of the logits, forward and backward, and O(C W')
    memory a thread; the backward pass computes probabilities anew and needs three sums a class from the
    forward pass. Differentiable in `logits` (PyTorch and JAX), once. Sums are added up in a fixed order: the
    result does not depend on the number of threads.

    Source: Milletari, Navab, Ahmadi 2016, "V-Net", 3DV, section 3, for Dice with squares in the denominator;
    its sum with cross-entropy as in Isensee et al. 2021, "nnU-Net", Nature Methods 18.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> logits = np.array([[[[9.0, -9.0]], [[-9.0, 9.0]]]])  # two classes, one row of two
    >>> labels = np.array([[[0, 0, 0, 1, 1, 1]]])
    >>> round(float(mk.segmentation.upsample_dice_ce(logits, labels)), 4)
    0.0008
    >>> round(float(mk.segmentation.upsample_dice_ce(logits, 1 - labels, dice_weight=0)), 4)
    14.0008
    """
    weights = [_weight(name, w) for name, w in (("ce_weight", ce_weight), ("dice_weight", dice_weight))]
    if not isinstance(include_background, (bool, np.bool_)):
        raise TypeError(f"include_background must be True or False, not {include_background!r}")
    if ignore_index is not None:
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer)):
            raise TypeError(f"ignore_index must be an integer or None, not {ignore_index!r}")
        ignore_index = int(ignore_index)
    which = Which(bool(include_background), ignore_index)
    framework = _interop.common_framework({"logits": logits, "labels": labels})
    if framework == "torch":
        from medkernels.segmentation import _torch

        return _mean(*_torch.dice_ce(logits, labels, which), *weights)
    if framework == "jax":
        from medkernels.segmentation import _jax

        return _mean(*_jax.dice_ce(logits, labels, which), *weights)
    if framework == "cupy":
        return _cupy_dice_ce(logits, labels, which, weights)
    view, own_labels = (_interop.numpy_view(a, n) for a, n in ((logits, "logits"), (labels, "labels")))
    _arrays.check_loss(view, own_labels, which)
    _arrays.check_cpu_dtype(view)
    losses, counts, _ = _arrays.cpu_dice_ce(view, own_labels, which)
    mean = np.asarray(_mean(losses, counts, *weights), losses.dtype)
    return _interop.restorer(logits)(mean if framework == "dlpack" else mean[()])


def _weight(name: str, value: Any) -> float:
    weight = _checks.check_number(name, value)
    if weight == math.inf:
        raise ValueError(f"{name} must be finite, not inf")
    return weight


def _mean(losses: Any, counts: Any, ce_weight: float, dice_weight: float) -> Any:
    """Of the losses of all items: plain expressions, differentiable where the framework is."""
    places = counts.sum().clip(1)
    return ce_weight * (losses[:, 0].sum() / places) + dice_weight * losses[:, 1].mean()


def _cupy_dice_ce(logits: Any, labels: Any, which: Which, weights: list[float]) -> Any:
    """CuPy arrays go through the torch operator on the same device memory."""
    _backends.triton_kernels("upsample_dice_ce")
    import cupy
    import torch.utils.dlpack

    from medkernels.segmentation import _torch

    logits, labels = (
        torch.utils.dlpack.from_dlpack(array) if _interop.framework_of(array) == "cupy" else array
        for array in (logits, labels)
    )
    return cupy.from_dlpack(_mean(*_torch.dice_ce(logits, labels, which), *weights))
