"""Frames, with the masks of their highlights where these are known.

What can be given::

    frame.png                      one frame
    frames/                        all pictures in it and in its sub-folders
    clinic/Original/12.tif         annotated frames: two sub-folders with files of equal names, one of
    clinic/Ground Truth/12.tif     them called masks, ground truth, gt, labels, annotations or specular
    array [H,W,3] or [N,H,W,3]     uint8
    [(rgb, mask), ...]             annotated frames, mask [H,W] bool; or just [rgb, ...]

Pictures are PNG, JPEG, TIFF or BMP; names that differ in their ending only are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.progress import track

from medkernels.zoo.engine.logs import console
from medkernels.zoo.specular.images import DAMAGED, IMAGES, VIDEOS, natural, read_image, read_mask
from medkernels.zoo.specular.inpainting import Bools, Pixels, check_picture

MASKS = frozenset(
    ["mask", "masks", "groundtruth", "gt", "label", "labels", "annotation", "annotations", "specular"]
)
LISTED = 3  # most files that a message names

Data = str | Path | npt.NDArray[Any] | Sequence[Any]


class Sample(NamedTuple):
    """A frame [H,W,3] uint8 with its name, and the mask [H,W] of its highlights if it is known."""

    name: str
    rgb: Pixels
    truth: Bools | None


class Entry(NamedTuple):
    """Where a frame and its mask are: files that are read when they are needed, or arrays."""

    name: str
    frame: Path | Pixels
    mask: Path | Bools | None


@dataclass
class Frames:
    """Frames to be read one after another, as often as needed.

    Attributes
    ----------
    entries : tuple of Entry
    skipped : dict
        The names of files that could not be used, with the reason; reading adds to them.
    """

    entries: tuple[Entry, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    def annotated(self) -> Frames:
        """The frames that have a mask; the others count as skipped.

        Raises
        ------
        ValueError
            If there is none.
        """
        found = tuple(entry for entry in self.entries if entry.mask is not None)
        without = [entry.name for entry in self.entries if entry.mask is None]
        kept = Frames(found, self.skipped | dict.fromkeys(without, "no mask of that name"))
        if not found:
            raise kept.nothing("frames with masks")
        return kept

    def part(self, numbers: Sequence[int] | npt.NDArray[Any]) -> Frames:
        """Some of the frames; what is skipped is shared."""
        return Frames(tuple(self.entries[number] for number in numbers), self.skipped)

    def read(self, title: str = "", *, progress: bool = False) -> Iterator[Sample]:
        """Yield the frames that can be read, with a progress bar if the error stream is a terminal."""
        shown = track(self.entries, title, console=console, disable=not (progress and console.is_interactive))
        for entry in shown:
            if entry.name in self.skipped:
                continue
            try:
                yield _read(entry)
            except DAMAGED as error:
                self.skipped[entry.name] = " ".join(str(error).split()) or type(error).__name__

    def nothing(self, wanted: str) -> ValueError:
        """The error for data of which nothing is left."""
        reasons = [f"{name}: {reason}" for name, reason in self.skipped.items()]
        told = "; ".join(reasons[:LISTED])
        more = f"; and {len(reasons) - LISTED} more" if len(reasons) > LISTED else ""
        return ValueError(f"data: want {wanted}, found none" + (f" ({told}{more})" if told else ""))


def is_video(data: Any) -> bool:
    """Whether `data` names a video file, by its ending."""
    return isinstance(data, (str, Path)) and Path(data).suffix.lower() in VIDEOS and not Path(data).is_dir()


def open_frames(data: Data, *, masks: str | Path | None = None, without: Path | None = None) -> Frames:
    """Find frames, and masks where there are any; see the module for what can be given.

    Parameters
    ----------
    data : path, array or sequence
    masks : path, optional
        Folder of the masks, if it does not lie beside the frames under one of the known names; then `data`
        is the folder of the frames.
    without : Path, optional
        A folder of results, which are no frames: it may lie among the frames, but not be their folder.

    Returns
    -------
    Frames
        Files are looked for but not yet read.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    TypeError, ValueError
        If there are no frames, or arrays are of another kind.
    """
    if not isinstance(data, (str, Path)):
        if masks is not None:
            raise ValueError("masks: goes with a folder of frames, not with arrays")
        return _from_arrays(data)
    root = Path(data)
    if not root.exists():
        raise FileNotFoundError(f"data: there is no file or folder {root}")
    if root.is_file():
        if masks is not None:
            raise ValueError("masks: goes with a folder of frames, not with a file")
        return Frames((Entry(root.name, root, None),))
    root, results = root.resolve(), None if without is None else without.resolve()
    folder, truth = (root, Path(masks).resolve()) if masks is not None else _layout(root, results)
    if truth is not None and not truth.is_dir():
        raise FileNotFoundError(f"masks: there is no folder {truth}")
    if results in (root, folder):
        raise ValueError(f"out_dir must be another folder than that of the frames, {results}")
    frames = _from_folder(folder, truth, results)
    if not frames.entries:
        raise frames.nothing(f"pictures (PNG, JPEG, TIFF, BMP) in {folder}")
    return frames


def _from_folder(folder: Path, truth: Path | None, results: Path | None) -> Frames:
    files, others = _files(folder, results)
    skipped = dict.fromkeys(others, "no picture, by its name")
    if truth is None:
        return Frames(tuple(Entry(_name(path, folder), path, None) for path in files), skipped)
    masks: dict[str, Path] = {}
    for path in _files(truth)[0]:
        key = _key(path, truth)
        if key in masks:
            raise ValueError(f"masks: {masks[key].name} and {path.name} differ in their ending only")
        masks[key] = path
    entries = []
    for path in files:
        if truth in path.parents:
            continue
        mask = masks.pop(_key(path, folder), None)
        entries.append(Entry(_name(path, folder), path, mask))
    for path in masks.values():
        skipped[f"{truth.name}/{_name(path, truth)}"] = f"no frame of that name in {folder.name}"
    if not any(entry.mask for entry in entries):
        raise ValueError(f"data: no file of {folder} has the name of one in {truth}")
    return Frames(tuple(entries), skipped)


def _layout(root: Path, results: Path | None) -> tuple[Path, Path | None]:
    """The folders of frames and masks below `root`; `root` itself and None without annotation."""
    folders = [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and path != results and not path.name.startswith(".")
    ]
    truth = [path for path in folders if _plain(path.name) in MASKS]
    frames = [path for path in folders if path not in truth]
    if len(truth) > 1:
        names = ", ".join(path.name for path in truth)
        raise ValueError(f"data: {root} has several folders that may hold masks ({names}); name one as masks")
    if truth and any(path.suffix.lower() in IMAGES for path in root.iterdir()):
        return root, truth[0]
    if truth and len(frames) > 1:
        names = ", ".join(path.name for path in frames)
        raise ValueError(f"data: {root} has masks, and several folders that may hold their frames ({names})")
    if truth and frames:
        return frames[0], truth[0]
    return root, None


def _files(folder: Path, results: Path | None = None) -> tuple[list[Path], list[str]]:
    """Pictures below a folder in natural order, and the names of what is none; hidden files are left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and results not in path.parents
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    found.sort(key=lambda path: natural(_name(path, folder)))
    pictures = [path for path in found if path.suffix.lower() in IMAGES]
    return pictures, [_name(path, folder) for path in found if path.suffix.lower() not in IMAGES]


def _from_arrays(data: Any) -> Frames:
    if isinstance(data, (list, tuple)):
        items = [data] if _is_pair(data) else list(data)
    else:
        array = np.asarray(data)
        items = list(array) if array.ndim == 4 else [array]
    if not items:
        raise ValueError("data: want at least one frame")
    entries = []
    for number, item in enumerate(items):
        rgb, mask = item if _is_pair(item) else (item, None)
        try:
            rgb, truth = check_picture(rgb), None if mask is None else np.asarray(mask)
        except (TypeError, ValueError) as error:
            raise type(error)(f"data: frame {number}: {error}") from None
        if truth is not None and (truth.dtype != np.bool_ or truth.shape != rgb.shape[:2]):
            raise ValueError(
                f"data: frame {number}: mask must be bool of shape {list(rgb.shape[:2])}, "
                f"but is {truth.dtype} of shape {list(truth.shape)}"
            )
        entries.append(Entry(f"frame {number}", rgb, truth))
    return Frames(tuple(entries))


def _is_pair(item: Any) -> bool:
    """Whether it is a frame and its mask, and not two frames."""
    return isinstance(item, tuple) and len(item) == 2 and np.ndim(item[1]) == 2


def _read(entry: Entry) -> Sample:
    rgb = read_image(entry.frame) if isinstance(entry.frame, Path) else entry.frame
    truth = read_mask(entry.mask) if isinstance(entry.mask, Path) else entry.mask
    if truth is not None and truth.shape != rgb.shape[:2]:
        raise ValueError(f"the frame has shape {list(rgb.shape[:2])}, its mask {list(truth.shape)}")
    return Sample(entry.name, rgb, truth)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _plain(name: str) -> str:
    """A folder's name as letters only: "Ground Truth" and "ground_truth" are alike."""
    return "".join(letter for letter in name.lower() if letter.isalpha())
