"""The ASR network: an encoder, a modeler for each scale, and the ellipse renderer.

Source: "Autoassociative Learning of Structural Representations for Modeling and Classification in Medical
Imaging", arXiv 2411.12070. What the paper leaves open, and how it is settled here, stands in card.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from medkernels.render import ellipses
from medkernels.zoo.asr.encoder import WIDTHS, Encoder, cell_centers

HIDDEN = 64  # hidden channels of a modeler
SMALLEST = 0.1  # the least semi-axis, as a fraction of the spacing; the largest is one spacing
HEAD_SCALE = 0.3  # the last layer of a modeler starts this much smaller, so that all ellipses start alike
OPACITY = 0.995  # the renderer keeps 1 - alpha above zero
INITIAL_FADE = 2.0  # logit of the opacity at the start, where the network chooses it
CODE = 18  # channels of the baseline's code: mean and std over cells give 36 features, as many as ASR exports


class Ellipses(NamedTuple):
    """The ellipses of one scale, or of all scales one after the other; lengths in pixels."""

    centers: Tensor  # [B,K,2] (x, y)
    axes: Tensor  # [B,K,2] semi-axes (w, h)
    angles: Tensor  # [B,K] of w, from the x axis towards the y axis, radians
    colors: Tensor  # [B,K,C] in [0,1]
    opacity: Tensor  # [B,K]


class Code(NamedTuple):
    """What the modelers say before it is squashed into ellipses."""

    scales: tuple[Tensor, ...]  # [B,6 and more,h_j,w_j], finest spacing first
    background: Tensor  # [B,C]


class Explanation(NamedTuple):
    """An image as ellipses over a background colour."""

    scales: tuple[Ellipses, ...]  # finest spacing first
    background: Tensor  # [B,C] in [0,1]


class Modeler(nn.Module):
    """Turns every cell of a latent into the parameters of one ellipse.

    Parameters
    ----------
    inputs : int
        Channels of the latent.
    spacing : int
        Distance r of the cells in pixels.
    colors : int
        Channels of the image.
    offsets : bool
        Let the centre leave the cell centre by up to r/2 along each axis.
    fading : bool
        Let the network choose the opacity of each ellipse, so that it can leave one out.
    initial : (float, float)
        Semi-axes at the start of training, as fractions of the spacing.
    """

    def __init__(
        self,
        inputs: int,
        spacing: int,
        colors: int,
        *,
        offsets: bool,
        fading: bool,
        initial: tuple[float, float],
    ) -> None:
        super().__init__()
        self.spacing = spacing
        self.parts = [2, 1, colors, 2 * offsets, int(fading)]
        last = nn.Conv2d(HIDDEN, sum(self.parts), 1)
        self.head = nn.Sequential(nn.Conv2d(inputs, HIDDEN, 1), nn.ReLU(), last)
        shares = [(size - SMALLEST) / (1 - SMALLEST) for size in initial]
        start = {i: math.log(share / (1 - share)) for i, share in enumerate(shares)}
        start_alike(last, start | ({sum(self.parts) - 1: INITIAL_FADE} if fading else {}))

    def forward(self, latent: Tensor) -> Tensor:
        """latent [B,inputs,h,w] -> raw parameters [B,P,h,w]."""
        raw: Tensor = self.head(latent)
        return raw

    def decode(self, raw: Tensor) -> Ellipses:
        """Raw parameters [B,P,h,w] -> K = h w ellipses an image, row by row."""
        cells = raw.flatten(2).transpose(1, 2)
        sizes, angle, color, shift, fade = torch.split(cells, self.parts, dim=-1)
        centers = cell_centers(raw.shape[2:], self.spacing, raw).expand(len(raw), -1, -1)
        if shift.shape[-1]:
            centers = centers + 0.5 * self.spacing * torch.tanh(shift)
        visible = torch.sigmoid(fade) if fade.shape[-1] else torch.ones_like(angle)
        return Ellipses(
            centers=centers,
            axes=self.spacing * (SMALLEST + (1 - SMALLEST) * torch.sigmoid(sizes)),
            angles=0.5 * math.pi * angle[..., 0],
            colors=torch.sigmoid(color),
            opacity=OPACITY * visible[..., 0],
        )


def start_alike(last: nn.Conv2d | nn.Conv3d, start: Mapping[int, float]) -> None:
    """Let a modeler's last layer say nearly the same everywhere at first: these values, else 0."""
    values = torch.zeros(last.out_channels)
    for channel, value in start.items():
        values[channel] = value
    last.load_state_dict({"weight": HEAD_SCALE * last.weight.detach(), "bias": values})


class ASR(nn.Module):
    """Autoencoder whose code is a list of ellipses.

    Parameters
    ----------
    spacings : sequence of int
        Cell sizes of the scales in pixels, ascending.
    channels : int
        Of the image.
    composition : {"union", "over"}
        "union" is free of order; "over" paints the coarsest scale first.
    tau : float
        Softness of the ellipses' rims, as a fraction of their radius.
    offsets, fading, initial
        See `Modeler`.
    blocks, top_down
        See `Encoder`.

    Attributes
    ----------
    steps : Tensor
        Training steps taken; part of the saved state, since losses may depend on it.
    """

    steps: Tensor

    def __init__(
        self,
        spacings: Sequence[int] = (8, 16, 32),
        *,
        channels: int = 3,
        composition: str = "union",
        tau: float = 0.15,
        offsets: bool = False,
        fading: bool = False,
        initial: tuple[float, float] = (0.55, 0.55),
        blocks: int = 1,
        top_down: bool = False,
    ) -> None:
        super().__init__()
        self.composition, self.tau = composition, tau
        self.encoder = Encoder(channels, spacings, blocks=blocks, top_down=top_down)
        self.modelers = nn.ModuleList(
            Modeler(width, spacing, channels, offsets=offsets, fading=fading, initial=initial)
            for width, spacing in zip(self.encoder.widths, spacings, strict=True)
        )
        self.background = nn.Linear(self.encoder.widths[-1], channels)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def encode(self, image: Tensor) -> Code:
        """image [B,C,H,W] in [0,1] -> raw parameters of every cell of every scale."""
        latents = self.encoder(image)
        scales = tuple(modeler(latent) for modeler, latent in zip(self.modelers, latents, strict=True))
        return Code(scales, self.background(latents[-1].mean(dim=(2, 3))))

    def decode(self, code: Code) -> Explanation:
        """Squash raw parameters into ellipses."""
        modelers = cast("Iterable[Modeler]", self.modelers)
        scales = tuple(modeler.decode(raw) for modeler, raw in zip(modelers, code.scales, strict=True))
        return Explanation(scales, torch.sigmoid(code.background))

    def explain(self, image: Tensor) -> Explanation:
        """image [B,C,H,W] in [0,1] -> its ellipses and its background colour."""
        return self.decode(self.encode(image))

    def render(self, explanation: Explanation, size: tuple[int, int], *, finest: int = 0) -> Tensor:
        """The picture [B,C,H,W] of an explanation, without the scales finer than number ``finest``."""
        if finest >= len(explanation.scales):
            return explanation.background[:, :, None, None].expand(-1, -1, *size)
        drawn = stack_scales(explanation.scales[finest:])
        picture: Tensor = ellipses(
            drawn.centers,
            drawn.axes,
            drawn.angles,
            drawn.colors,
            explanation.background,
            size,
            composition=self.composition,
            tau=self.tau,
            opacity=drawn.opacity,
        )
        return picture

    def forward(self, image: Tensor) -> tuple[Tensor, Explanation]:
        """image [B,C,H,W] -> its reconstruction [B,C,H,W], and the ellipses that make it."""
        if self.training:
            self.steps.add_(1)
        explanation = self.explain(image)
        return self.render(explanation, (image.shape[2], image.shape[3])), explanation


def stack_scales(scales: Sequence[Ellipses]) -> Ellipses:
    """All ellipses in painting order: the coarsest scale first."""
    return Ellipses(*(torch.cat(parts, dim=1) for parts in zip(*reversed(scales), strict=True)))


class ConvAutoencoder(nn.Module):
    """The baseline: the same encoder, a plain code, and a decoder of transposed convolutions.

    Parameters
    ----------
    spacings, channels
        As for `ASR`, so that the encoders are equal.
    """

    def __init__(self, spacings: Sequence[int] = (8, 16, 32), *, channels: int = 3) -> None:
        super().__init__()
        self.encoder = Encoder(channels, spacings)
        self.code = nn.Conv2d(self.encoder.widths[-1], CODE, 1)
        stages: list[nn.Module] = []
        width = CODE
        for depth in reversed(range(int(math.log2(self.encoder.strides[-1])))):
            thinner = WIDTHS[min(depth, len(WIDTHS) - 1)]
            stages += [
                nn.ConvTranspose2d(width, thinner, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(thinner),
            ]
            width = thinner
        self.decoder = nn.Sequential(*stages, nn.Conv2d(width, channels, 3, padding=1), nn.Sigmoid())

    def encode(self, image: Tensor) -> Tensor:
        """image [B,C,H,W] -> code [B,CODE,h,w] of the deepest latent."""
        code: Tensor = self.code(self.encoder.features(image)[-1])
        return code

    def forward(self, image: Tensor) -> Tensor:
        """Reconstruct a batch [B,C,H,W]."""
        picture: Tensor = self.decoder(self.encode(image))
        return picture[..., : image.shape[2], : image.shape[3]]
