"""What the benchmarks of ellipses and ellipsoids share: touched pixels, the least work, torch peers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from medkernels.benchmarks.runner.cases import Inputs, Outputs, Work, run_in_parts
from torch import Tensor

TAU, OPACITY = 0.15, 0.995
REACH = 1.0 + 6.0 * TAU  # normalised radius beyond which a primitive is absent
EPS_RHO, EPS_WEIGHT = 1e-6, 1e-6

# What a torch peer may hold at a time: chunks of primitives, and images of the batch, are cut to fit. On a
# CPU small chunks serve the peers best: their temporaries stay near the caches, and few new pages are mapped.
HELD_BYTES = {"cpu": 64 << 20, "cuda": 8 << 30}


def touched(frames: Tensor, centers: Tensor, size: tuple[int, ...]) -> int:
    """Pixels with normalised radius up to `REACH`, summed over all primitives; exact, without visiting them.

    frames : [B,K,d,d], the map A from an offset in pixels to the unit ball.
    centers : [B,K,d], (x, y) or (x, y, z).
    size : (H, W) or (D, H, W).

    On a row of pixels |A (p - c)|^2 is a quadratic in x, so the touched ones lie between its two roots.
    """
    a, c = frames.double().cpu().numpy(), centers.double().cpu().numpy()
    rows = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in size[-2::-1]), indexing="ij"), axis=-1)
    rows = rows.reshape(-1, len(size) - 1)  # the other coordinates of each row, nearest axis (y) first
    total, along = 0, a[..., :, 0]
    for at in np.array_split(rows, max(1, c[..., 0].size * len(rows) >> 22)):
        offset = np.concatenate([np.zeros((len(at), 1)), at], axis=1) - c[..., None, :]
        start = np.einsum("bkij,bkrj->bkri", a, offset)
        qa = (along**2).sum(-1)[..., None]
        qb = np.einsum("bki,bkri->bkr", along, start)
        qc = (start**2).sum(-1) + EPS_RHO - REACH**2
        root = np.sqrt(np.maximum(qb**2 - qa * qc, 0.0))
        low, high = np.ceil((-qb - root) / qa), np.floor((-qb + root) / qa)
        count = np.clip(np.minimum(high, size[-1] - 1) - np.maximum(low, 0) + 1, 0, None)
        total += int(count[qb**2 >= qa * qc].sum())
    return total


def least_work(inputs: Inputs, backward: bool, units: int) -> Work:
    """Operations and bytes of the union with sigmoid profile, counted from its formulas.

    Forward, for each touched pixel, d dimensions, C channels: the offset d; A times it d (2d - 1);
    rho 2d + 1; alpha 6 (1 - rho, / tau, exp, 1 +, 1 /, times opacity); the running product 2; the weight 1;
    the colours 2C. Backward: alpha again; g.color 2C, dL/dalpha 7, dL/dcolor 2C, dL/dopacity 2, dL/drho 6,
    dL/dv 2d, the semi-axes 2d, the centre d (2d - 1) + d, the angles 3d (d - 1). Per pixel: 6 + 5C forward,
    4 + 8C backward.
    """
    centers, colors, background = inputs["centers"], inputs["colors"], inputs["background"]
    dims, channels = centers.shape[-1], colors.shape[-1]
    pixels = centers.shape[0] * int(np.prod(inputs["size"]))
    alpha = dims + dims * (2 * dims - 1) + 2 * dims + 1 + 6
    flops = units * (alpha + 3 + 2 * channels) + pixels * (6 + 5 * channels)
    parameters = sum(t.numel() for name, t in inputs.items() if isinstance(t, Tensor) and name != "upstream")
    values = parameters + pixels * channels
    if backward:
        per_unit = alpha + 4 * channels + 15 + 4 * dims + dims * (2 * dims - 1) + dims + 3 * dims * (dims - 1)
        flops += units * per_unit + pixels * (4 + 8 * channels)
        # The image's gradient is read, and the gradients of all inputs are written.
        values += pixels * channels + 2 * parameters
    return Work(units, float(flops), float(values * background.element_size()))


def held_per_unit(backward: bool, tensors: int) -> int:
    """Bytes that a torch peer holds for each pixel of each primitive: with autograd, `tensors` float32."""
    return 4 * (tensors if backward else 6)


def images_at_once(inputs: Inputs, backward: bool, tensors: int) -> int:
    """Images of the batch that a torch peer can take at a time: autograd keeps every primitive's pixels."""
    batch, count = inputs["centers"].shape[:2]
    if not backward:
        return int(batch)
    one = count * int(np.prod(inputs["size"])) * held_per_unit(True, tensors)
    return int(min(batch, max(1, HELD_BYTES[inputs["centers"].device.type] // one)))


def union_in_chunks(inputs: Inputs, alpha_of: Callable[[Inputs, slice], Tensor], tensors: int) -> Tensor:
    """The union of primitives from their opacities [B,k,P], computed for a chunk of primitives at a time."""
    colors, background, size = inputs["colors"], inputs["background"], inputs["size"]
    batch, count, channels = colors.shape
    pixels = int(np.prod(size))
    one = batch * pixels * held_per_unit(torch.is_grad_enabled(), tensors)
    chunk = max(1, min(count, HELD_BYTES[colors.device.type] // one))
    through = torch.ones(batch, 1, pixels, device=colors.device)
    weight = torch.full_like(through, EPS_WEIGHT)
    mixed = torch.zeros(batch, channels, pixels, device=colors.device)
    for first in range(0, count, chunk):
        part = slice(first, first + chunk)
        alpha = alpha_of(inputs, part)
        through = through * (1.0 - alpha).prod(dim=1, keepdim=True)
        weight = weight + alpha.sum(dim=1, keepdim=True)
        mixed = mixed + torch.bmm(colors[:, part].transpose(1, 2), alpha)
    image = through * background.reshape(batch, channels, -1) + (1.0 - through) * (mixed / weight)
    return image.reshape(batch, channels, *size)


def profile(rho: Tensor) -> Tensor:
    """The blurry disc, cut off at `REACH`."""
    return torch.where(rho <= REACH, OPACITY * torch.sigmoid((1.0 - rho) / TAU), 0.0)


def torch_peer(
    alpha_of: Callable[[Inputs, slice], Tensor], tensors: int
) -> tuple[Callable[[Inputs, bool], Outputs], Callable[[Inputs, bool], int]]:
    """``run`` and ``at_once`` of a peer that differs from the others in how it finds the opacities."""

    def at_once(inputs: Inputs, backward: bool) -> int:
        return images_at_once(inputs, backward, tensors)

    def run(inputs: Inputs, backward: bool) -> Outputs:
        return run_in_parts(
            lambda part: union_in_chunks(part, alpha_of, tensors), inputs, backward, at_once(inputs, backward)
        )

    return run, at_once
