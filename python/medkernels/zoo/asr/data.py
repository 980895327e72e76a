"""Patches for ASR: from a folder of histology images, or from arrays.

A folder holds images, or a sub-folder of images for each class, or in it a sub-folder for each case::

    slides/a.png                   one case an image, no classes: trained without a tree
    slides/benign/a.png            class "benign", case "benign/a"
    slides/benign/case7/a.tif      class "benign", case "benign/case7", with all its images
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from medkernels.zoo.asr.slides import Pixels, Slide, open_slide
from medkernels.zoo.engine.logs import console

GLASS = 220  # a pixel with all channels above this is empty glass
READ_ERRORS = (OSError, ValueError, KeyError, IndexError, SyntaxError, tifffile.TiffFileError)
DAMAGED = (Image.DecompressionBombError, *READ_ERRORS, RuntimeError)


@dataclass(frozen=True)
class PatchSet:
    """Patches with the case each comes from.

    Attributes
    ----------
    pixels : [N,H,W,3] uint8
    case_of : [N]
        Index into ``cases``.
    corners : [N,2]
        Top and left of each patch in its image.
    images : sequence of str
        For each patch the image it was cut from.
    cases : sequence of str
    labels : [cases]
        Class numbers; -1 without a class.
    classes : sequence of str
    skipped : sequence of (path, reason)
        Files that gave no patch.
    """

    pixels: npt.NDArray[np.uint8]
    case_of: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]
    images: tuple[str, ...]
    cases: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def labelled(self) -> bool:
        """Whether there are at least two classes to tell apart."""
        return len(np.unique(self.labels[self.labels >= 0])) > 1

    def batch(self, indices: Sequence[int] | npt.NDArray[Any]) -> Tensor:
        """Patches [len(indices),3,H,W] float32 in [0,1]."""
        return to_tensor(self.pixels[np.asarray(indices)])

    def of_cases(self, cases: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Indices of the patches of these cases."""
        return np.flatnonzero(np.isin(self.case_of, cases))


class Patches(Dataset[Tensor]):
    """Some of a set's patches, for training; with ``turn`` each in one of a square's eight positions."""

    def __init__(
        self, source: PatchSet, indices: npt.NDArray[Any], *, turn: bool, crop: int | None = None
    ) -> None:
        self.source, self.indices, self.turn, self.crop = source, indices, turn, crop

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        patch = self.source.pixels[self.indices[index]]
        if self.crop is not None:
            top, left = (int(torch.randint(n - self.crop + 1, ())) for n in patch.shape[:2])
            patch = patch[top : top + self.crop, left : left + self.crop]
        image = to_tensor(patch[None])[0]
        if self.turn:
            image = torch.rot90(image, int(torch.randint(4, ())), (1, 2))
            image = image.flip(2) if torch.rand(()) < 0.5 else image
        return image.contiguous()


def to_tensor(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """[N,H,W,3] uint8 -> [N,3,H,W] float32 in [0,1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255


def from_arrays(
    pictures: npt.NDArray[Any] | Tensor,
    labels: Sequence[int] | npt.NDArray[Any] | None = None,
    classes: Sequence[str] = (),
) -> PatchSet:
    """Take pictures [N,3,H,W] in [0,1] as patches, each a case of its own.

    Raises
    ------
    ValueError
        If shapes or values are out of range.
    """
    array = np.asarray(pictures, dtype=np.float32)
    if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape:
        raise ValueError(f"pictures: want shape [N,3,H,W] with nothing empty, got {list(array.shape)}")
    if not (array.min() >= 0 and array.max() <= 1):  # also catches NaN
        raise ValueError(f"pictures: want values in [0, 1], got {array.min():.4g} to {array.max():.4g}")
    numbers = np.full(len(array), -1) if labels is None else np.asarray(labels, dtype=np.int64)
    if numbers.shape != (len(array),):
        raise ValueError(
            f"labels: want one for each of {len(array)} pictures, got shape {list(numbers.shape)}"
        )
    names = tuple(f"case {i}" for i in range(len(array)))
    pixels = np.round(array * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    known = tuple(classes) or tuple(f"class {i}" for i in range(int(numbers.max()) + 1))
    corners = np.zeros((len(array), 2), np.int64)
    return PatchSet(pixels, np.arange(len(array)), corners, names, names, numbers, known)


def load_folder(
    folder: str | Path,
    *,
    patch: int = 256,
    stride: int | None = None,
    min_tissue: float = 0.25,
    max_patches: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> PatchSet:
    """Cut patches from every image of a folder; see the module for its layout.

    Patches are tried in random order on a grid that is centred in the image, until enough of them hold
    tissue, so that of a whole slide only those regions are decoded. The patches lie in a temporary file, not
    in memory.

    Parameters
    ----------
    folder : path
    patch : int
        Side in pixels.
    stride : int, optional
        Distance of patches; ``patch`` if None.
    min_tissue : float
        Least share of pixels that are not empty glass (all channels above 220); 0 keeps every patch.
    max_patches : int
        Most patches of one image.
    seed : int
        Of the random order.
    progress : bool
        Show a bar if the error stream is a terminal.

    Returns
    -------
    PatchSet
        Its ``skipped`` names each file that gave none, and why.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If an option is out of range, or no image gave a patch.
    """
    root = Path(folder)
    check_cutting(patch, stride, min_tissue, max_patches)
    stride = patch if stride is None else stride
    files = sorted(find_files(root))
    classes = sorted({parts[0] for path in files if len(parts := path.relative_to(root).parts) > 1})
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the array mapped onto it
    cases: dict[str, int] = {}
    labels: list[int] = []
    origin: list[tuple[int, int, int, str]] = []
    skipped: list[tuple[str, str]] = []
    shown = track(files, "reading images", console=console, disable=not (progress and console.is_interactive))
    for number, path in enumerate(shown):
        where = path.relative_to(root)
        try:
            with open_slide(path) as slide:
                rng = np.random.default_rng([seed, number])
                found = list(tissue_patches(slide, patch, stride, min_tissue, max_patches, rng))
        except DAMAGED as error:
            skipped.append((str(where), " ".join(str(error).split()) or type(error).__name__))
            continue
        if not found:
            skipped.append((str(where), f"no patch with {min_tissue:.0%} tissue"))
            continue
        name = str(where.parent if len(where.parts) > 2 else where.with_suffix(""))
        if name not in cases:
            labels.append(classes.index(where.parts[0]) if len(where.parts) > 1 else -1)
        case = cases.setdefault(name, len(cases))
        for top, left, pixels in found:
            spool.write(pixels.tobytes())
            origin.append((case, top, left, str(where)))
    if not origin:
        raise ValueError(_nothing(root, skipped))
    spool.flush()
    pixels = np.memmap(spool, np.uint8, "r", shape=(len(origin), patch, patch, 3))
    table = np.array([row[:3] for row in origin], np.int64)
    return PatchSet(
        pixels=pixels,
        case_of=table[:, 0],
        corners=table[:, 1:],
        images=tuple(row[3] for row in origin),
        cases=tuple(cases),
        labels=np.array(labels, np.int64),
        classes=tuple(classes),
        skipped=tuple(skipped),
    )


def check_cutting(patch: int, stride: int | None, min_tissue: float, max_patches: int) -> None:
    """Raise ValueError if an option of `load_folder` is out of range."""
    for name, value in (("patch", patch), ("stride", stride), ("max_patches", max_patches)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if not 0 <= min_tissue <= 1:
        raise ValueError(f"min_tissue must lie in [0, 1], got {min_tissue}")


def find_files(root: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    """
    if not root.exists():
        raise FileNotFoundError(f"data: there is no folder {root}")
    if not root.is_dir():
        raise NotADirectoryError(f"data: want a folder of images, got the file {root}")
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def tissue_patches(
    slide: Slide, patch: int, stride: int, min_tissue: float, most: int, rng: np.random.Generator
) -> Iterator[tuple[int, int, Pixels]]:
    """Up to ``most`` patches (top, left, [patch,patch,3]) that hold tissue, in random order.

    Raises
    ------
    ValueError
        If the image is smaller than a patch.
    """
    if slide.height < patch or slide.width < patch:
        raise ValueError(f"{slide.height} x {slide.width} pixels, smaller than a patch of {patch}")
    tops, lefts = (_grid(length, patch, stride) for length in (slide.height, slide.width))
    found = 0
    for place in rng.permutation(len(tops) * len(lefts)):
        top, left = tops[place // len(lefts)], lefts[place % len(lefts)]
        pixels = slide.read(top, left, patch, patch)
        if tissue_share(pixels) >= min_tissue:
            yield top, left, pixels
            found += 1
            if found == most:
                return


def tissue_share(pixels: Pixels) -> float:
    """Share of pixels [H,W,3] that are not empty glass."""
    return float((pixels.min(axis=2) <= GLASS).mean())


def _grid(length: int, patch: int, stride: int) -> list[int]:
    """Starts of patches along an axis, with equal margins."""
    count = (length - patch) // stride + 1
    margin = (length - patch - (count - 1) * stride) // 2
    return [margin + i * stride for i in range(count)]


def _nothing(root: Path, skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return (
            f"data: {root} holds no files; want images (PNG, JPEG, TIFF), or a sub-folder of images a class"
        )
    listed = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"data: no image of {root} gave a patch ({listed}{more})"
