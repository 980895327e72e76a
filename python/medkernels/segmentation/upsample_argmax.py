"""The class with the greatest upsampled logit at each place."""

from __future__ import annotations

from typing import Any

from medkernels import _backends, _interop
from medkernels.segmentation import _arrays


def upsample_argmax(logits: Any, *, size: Any) -> Any:
    """Labels of a picture or volume from logits of a lower resolution, which are never upsampled as a whole.

    The labels are those of an upsampling of the logits, bilinear or trilinear with ``align_corners=False`` as
    in ``torch.nn.functional.interpolate``, followed by the argmax over classes. Of 105 classes at 128 x 128 x
    128 that would take 0.9 GB; here memory beyond the result is that of a few rows.

    Output i of n along an axis of m inputs lies at s = max(0, (i + 1/2) m / n - 1/2), between the inputs
    k = floor(s) and k + 1 (the last one beyond the end), with the weights w = s - k and 1 - w, computed in
    float64 and rounded to the dtype of the logits. Each interpolated value is (1 - w) a + w b, with both
    products rounded before they are added, along D, then H, then W.

    Parameters
    ----------
    logits
        [B, C, H, W] or [B, C, D, H, W], float32 or float64; on a GPU float16 and bfloat16 too, which are
        computed with in float32. Finite.
    size
        (H, W) or (D, H, W) of the labels, each at least 1, with any ratio to that of the logits.

    Returns
    -------
    array
        [B, H, W] or [B, D, H, W], of the kind of `logits`: uint8 where C is at most 256, else int32. Where
        logits are equal the lowest class counts.

    Raises
    ------
    ValueError
        For another number of dimensions, no class or no place, NaN or infinity, or a size that is not
        positive or does not fit in memory.
    TypeError
        For logits that are not floating-point, float16 or bfloat16 on the CPU, or a size that is not made of
        integers.
    medkernels.BackendError
        Where there is no kernel for the device, unless ``MEDKERNELS_CPU_FALLBACK=1``.

    Notes
    -----
    Costs O(1) for each element of the logits and O(k) for each label, where k is the number of classes that
    can win there (on the CPU; on a GPU all C): classes whose eight neighbouring logits are all below what
    another class has for certain are left out. Memory beside the labels is O(C W) a thread and a number for
    each place of the logits. The labels are the same with any number of threads, any instruction set, on the
    CPU and the GPU; those of another implementation may differ where the two greatest values are equal up to
    rounding. No gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> logits = np.array([[[[0.0, 0.0]], [[-1.0, 3.0]]]])  # two classes, one row of two
    >>> mk.segmentation.upsample_argmax(logits, size=(1, 8))
    array([[[0, 0, 0, 1, 1, 1, 1, 1]]], dtype=uint8)
    """
    framework = _interop.framework_of(logits)
    if framework == "torch":
        from medkernels.segmentation import _torch

        return _torch.argmax(logits, size)
    if framework == "jax":
        from medkernels.segmentation import _jax

        return _jax.argmax(logits, size)
    if framework == "cupy":
        return _cupy_argmax(logits, size)
    view = _interop.numpy_view(logits, "logits")
    _arrays.check_logits(view)
    _arrays.check_cpu_dtype(view)
    return _interop.restorer(logits)(_arrays.cpu_argmax(view, _arrays.check_size(view, size)))


def _cupy_argmax(logits: Any, size: Any) -> Any:
    """CuPy arrays go through the torch operator on the same device memory."""
    _backends.triton_kernels("upsample_argmax")
    import cupy
    import torch.utils.dlpack

    from medkernels.segmentation import _torch

    return cupy.from_dlpack(_torch.argmax(torch.utils.dlpack.from_dlpack(logits), size))
