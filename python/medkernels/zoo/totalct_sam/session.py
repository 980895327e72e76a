"""One scan being labelled: judged window by window without prompts, then corrected click by click."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from medkernels.segmentation import upsample_argmax
from medkernels.zoo.totalct_sam.model import TotalCTSAM
from medkernels.zoo.totalct_sam.prompt_encoder import HIGH_CORNER, LOW_CORNER, NEGATIVE, POSITIVE, Prompts
from medkernels.zoo.totalct_sam.volume import Floats, Labels, Scan
from medkernels.zoo.totalct_sam.windows import Lattice, Place, around, cut, gaussian, origins

Shown = Callable[[Sequence[Place]], Iterable[Place]]
ANY = -1  # in place of a class: any structure
CERTAIN = 5.0  # logit that a coarse mask stands for
REACH = 1 / 4  # of the Gaussian weight of an answer, as a share of the window


@dataclass(frozen=True)
class CoarseMask:
    """A rough outline of a structure, on the voxels of a scan as the network sees it.

    Attributes
    ----------
    structure : int
        The label it speaks of; -1 for any structure.
    mask : bool [x,y,z]
    """

    structure: int
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Prompt:
    """A click or a box, on the voxels of a scan as the network sees it.

    Attributes
    ----------
    structure : int
        The label it speaks of; -1 for any structure.
    corners : [1,3] or [2,3]
        The voxel, or the low and the high corner.
    positive : bool
        Whether the voxel belongs to the structure; boxes hold one.
    """

    structure: int
    corners: Floats
    positive: bool = True

    @property
    def middle(self) -> Floats:
        """Where the window that answers it lies."""
        middle: Floats = self.corners.mean(axis=0)
        return middle


class Session:
    """What a network makes of one scan, and of the prompts that follow.

    All windows are judged without prompts first, each reading what earlier ones left in the memory. A prompt
    is then answered by one more window around it: the network is told all prompts so far that lie in this
    window and its own mask of the structure, and the answer takes the place of the logits there, less and
    less from the middle of the window to its faces. The memory ends with the session.

    Parameters
    ----------
    network : TotalCTSAM
    scan : Scan
    overlap : float
        Of neighbouring windows.
    shown : callable, optional
        Given the windows, gives them back one by one, and may show progress.
    """

    def __init__(
        self, network: TotalCTSAM, scan: Scan, *, overlap: float = 0.5, shown: Shown | None = None
    ) -> None:
        self.network, self.scan = network.eval(), scan
        self.device = next(network.parameters()).device
        self.overlap = overlap
        self.prompts: list[Prompt] = []
        self.memory = network.new_memory()
        self.weight = gaussian(network.sizes.low, REACH).to(self.device)
        places = origins(scan.values.shape, network.sizes, overlap)
        lattice = Lattice(network.classes, scan.values.shape, network.sizes, self.device)
        for place in shown(places) if shown else places:
            lattice.add(place, self._judge(place, Prompts()))
        self.windows = len(places)
        self.logits = lattice.mean()  # [C,x,y,z] at low resolution

    def labels(self) -> Labels:
        """The labels [x,y,z] of the scan as the network sees it, interpolated and decided in one step."""
        step = self.network.sizes.step
        size = tuple(step * cells for cells in self.logits.shape[1:])
        whole = upsample_argmax(self.logits[None], size=size)[0].cpu().numpy().astype(np.uint8, copy=False)
        x, y, z = self.scan.values.shape
        return np.ascontiguousarray(whole[:x, :y, :z])

    def add(self, prompt: Prompt | CoarseMask) -> None:
        """Answer one more prompt; a coarse mask in all windows of the scan that it reaches into.

        Raises
        ------
        ValueError
            If it lies outside of the scan, or speaks of no class.
        """
        if not (prompt.structure == ANY or 0 < prompt.structure < self.network.classes):
            raise ValueError(
                f"prompts: structure must be 1 to {self.network.classes - 1}, got {prompt.structure}"
            )
        if isinstance(prompt, CoarseMask):
            self._add_mask(prompt)
            return
        limits = np.array(self.scan.values.shape) - 1
        if not (prompt.corners >= -0.5).all() or not (prompt.corners <= limits + 0.5).all():
            at = ", ".join(f"{value:.1f}" for value in prompt.middle)
            raise ValueError(
                f"prompts: the voxel ({at}) lies outside of {self.scan.name} {list(self.scan.values.shape)}"
            )
        self.prompts.append(prompt)
        sizes = self.network.sizes
        place = around(prompt.middle.tolist(), self.scan.values.shape, sizes)
        before = self.logits[(slice(None), *cut(place, sizes.low))]
        self._correct(place, self._told(place, prompt.structure, before))

    def _add_mask(self, prompt: CoarseMask) -> None:
        sizes, shape = self.network.sizes, self.scan.values.shape
        if prompt.mask.shape != shape or not prompt.mask.any():
            raise ValueError(
                f"prompts: want a mask {list(shape)} that is not empty, got {list(prompt.mask.shape)}"
            )
        cells = torch.zeros([sizes.step * count for count in self.logits.shape[1:]])
        cells[: shape[0], : shape[1], : shape[2]] = torch.from_numpy(prompt.mask.astype(np.float32))
        share = F.avg_pool3d(cells[None, None], sizes.step)[0, 0].to(self.device)
        structure = torch.tensor([prompt.structure], device=self.device)
        for place in origins(shape, sizes, self.overlap):
            inside = share[cut(place, sizes.low)]
            if inside.any():
                coarse = CERTAIN * (2 * inside[None, None] - 1)
                self._correct(place, Prompts(mask=coarse, mask_class=structure))

    def _correct(self, place: Place, prompts: Prompts) -> None:
        """Put a new answer in the place of what a window holds, less and less towards its faces."""
        part = (slice(None), *cut(place, self.network.sizes.low))
        self.logits[part] = torch.lerp(self.logits[part], self._judge(place, prompts), self.weight)

    def _judge(self, place: Place, prompts: Prompts) -> Tensor:
        """Low-resolution logits [C,low,low,low] of a window."""
        sizes = self.network.sizes
        part = tuple(slice(sizes.step * start, sizes.step * start + sizes.window) for start in place)
        window = torch.from_numpy(self.scan.normalised(part, sizes.window)).to(self.device)
        with torch.inference_mode():
            logits = self.network(window[None, None], prompts, self.memory)
        judged: Tensor = logits[0].float().clone()
        return judged

    def _told(self, place: Place, structure: int, before: Tensor) -> Prompts:
        """All prompts of a window, and the mask of the structure so far."""
        sizes = self.network.sizes
        points: list[Floats] = []
        kinds: list[int] = []
        classes: list[int] = []
        start = sizes.step * np.array(place, np.float64)
        for prompt in self.prompts:
            inside = prompt.corners - start
            box = len(inside) == 2
            if box:
                if (inside[1] < 0).any() or (inside[0] > sizes.window - 1).any():
                    continue
                inside = inside.clip(0, sizes.window - 1)
            elif (inside < -0.5).any() or (inside > sizes.window - 0.5).any():
                continue
            points += list(inside)
            kinds += [LOW_CORNER, HIGH_CORNER] if box else [POSITIVE if prompt.positive else NEGATIVE]
            classes += [prompt.structure] * len(inside)
        tensor = torch.from_numpy(np.array(points, np.float32))[None].to(self.device)
        return Prompts(
            points=tensor,
            kinds=torch.tensor([kinds], device=self.device),
            classes=torch.tensor([classes], device=self.device),
            mask=log_odds(before[None], torch.tensor([structure], device=self.device)),
            mask_class=torch.tensor([structure], device=self.device),
        )


def log_odds(logits: Tensor, structures: Tensor) -> Tensor:
    """Logits [B,C,...] as the log-odds [B,1,...] of one class each; of any but the background where -1."""
    chosen = structures.clamp(min=0)  # of -1: the background, whose log-odds turn around
    index = chosen.view(-1, *[1] * (logits.dim() - 1)).expand(-1, 1, *logits.shape[2:])
    own = logits.gather(1, index)
    others = logits.scatter(1, index, -torch.inf).logsumexp(1, keepdim=True)
    sign = torch.where(structures < 0, -1.0, 1.0).view(-1, *[1] * (logits.dim() - 1))
    return sign * (own - others)
