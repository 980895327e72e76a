"""Soft ellipses over a background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkernels.render._dispatch import ELLIPSES, check_look, render


def ellipses(
    centers: Any,
    axes: Any,
    angles: Any,
    colors: Any,
    background: Any,
    size: Sequence[int],
    *,
    composition: str = "union",
    profile: str = "sigmoid",
    tau: float = 0.15,
    opacity: Any = 0.995,
) -> Any:
    """Draw soft ellipses over a background; differentiable in every array.

    Pixel (row i, column j) is the point (x=j, y=i). With (dx, dy) the offset of a pixel from a centre,
    an ellipse with semi-axes (w, h) at angle phi has normalised radius

        u = cos(phi) dx + sin(phi) dy,  v = -sin(phi) dx + cos(phi) dy
        rho^2 = (u / w)^2 + (v / h)^2 + 1e-6

    and opacity alpha = a R(rho).

    Parameters
    ----------
    centers
        [B, K, 2], px, (x, y). Anywhere, also off the canvas.
    axes
        [B, K, 2], px: semi-axes along and across `angles`, from 1e-30 to 1e30.
    angles
        [B, K], rad, from +x towards +y (clockwise where y points down).
    colors
        [B, K, C], any number of channels, any range.
    background
        [B, C] (one colour an image) or [B, C, H, W].
    size
        (H, W) of the images.
    composition
        ``"union"``, order-free: with T = prod(1 - alpha) and the opacity-weighted mean colour
        C = sum(alpha color) / (sum(alpha) + 1e-6), the image is T background + (1 - T) C.
        ``"over"``, painter's order: ellipse k is painted over ellipses 0..k-1.
    profile
        ``"sigmoid"``: R = sigmoid((1 - rho) / tau), absent beyond rho = 1 + 6 tau.
        ``"gaussian"``: R = exp(-rho^2 / 2) (semi-axes are standard deviations), absent beyond rho = sqrt(12).
    tau
        Softness of the sigmoid edge in units of the radius; at least 1e-6. The gaussian profile ignores it.
    opacity
        a: a number or [B, K], at least 0 and less than 1.

    Returns
    -------
    array
        [B, C, H, W] of the kind, dtype and device of `centers`.

    Raises
    ------
    ValueError
        For shapes that do not fit together, axes that are not positive, opacity outside [0, 1), NaN or
        infinity, an unknown option, devices that differ, or images too large for memory.
    TypeError
        For arrays of different frameworks or dtypes, or dtypes other than float32 and float64 on the CPU
        (float16 and bfloat16 too on a GPU).
    medkernels.BackendError
        On a GPU without Triton and PyTorch.

    Notes
    -----
    Cost is proportional to the pixels inside the cut-offs; memory is O(B H W C + B K), because opacities
    are recomputed, not stored, in the backward pass. Results do not depend on the number of threads.
    Gradients are exact for this definition except at the cut-off, where the profile jumps by about 0.25 % of
    `opacity`. All arrays must have one dtype; plain Python numbers and lists take it.

    The primitives, their affine map and the blurry-disc profile follow "Autoassociative Learning of
    Structural Representations for Modeling and Classification in Medical Imaging" (arXiv 2411.12070). The
    paper leaves the profile and the composition rule open: both are choices made here.

    Examples
    --------
    >>> import numpy as np
    >>> import medkernels as mk
    >>> image = mk.render.ellipses(
    ...     centers=np.array([[[16.0, 12.0]]]), axes=np.array([[[8.0, 4.0]]]), angles=np.array([[0.5]]),
    ...     colors=np.array([[[1.0, 0.0, 0.0]]]), background=np.ones((1, 3)), size=(24, 32))
    >>> image.shape
    (1, 3, 24, 32)
    >>> image[0, :, 12, 16].round(2)
    array([1.  , 0.01, 0.01])
    """
    arrays = {
        "centers": centers,
        "axes": axes,
        "angles": angles,
        "colors": colors,
        "opacity": opacity,
        "background": background,
    }
    return render(ELLIPSES, arrays, size, check_look(composition, profile, tau))
