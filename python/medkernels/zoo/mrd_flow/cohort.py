"""Many samples: read one by one, kept on disk for a training, and split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.progress import track

from medkernels.zoo.engine.logs import console
from medkernels.zoo.mrd_flow.data import Reading, labels_of, list_files, read_sample
from medkernels.zoo.mrd_flow.sample import Sample

Data = str | Path | Sample | Sequence[Sample]
Skipped = list[tuple[str, str]]

TEST, VALID = 0.25, 0.25  # shares of the samples, as published


def stream(
    data: Data, reading: Reading, skipped: Skipped, *, labelled: bool = False, progress: bool = True
) -> Iterator[tuple[Sample, Path | None]]:
    """Samples one by one, with the files they came from; what cannot be used is put on the list.

    Parameters
    ----------
    data : a folder or file as `medkernels.zoo.mrd_flow.data` describes it, or samples.
    skipped : gets the name of and the reason for what is left out.
    labelled : leave out samples without gates.
    progress : show a bar if the error stream is a terminal.
    """
    for sample, file in _all(data, reading, skipped, progress):
        if labelled and sample.labels is None:
            skipped.append((sample.name, "nothing tells which of its events are blasts"))
        else:
            yield sample, file


def gather(data: Data, reading: Reading, folder: Path, *, progress: bool) -> tuple[list[Sample], Skipped]:
    """All samples with gates; those read from files are put into `folder` and mapped into memory from there.

    A file that was put there by an earlier call, and has not changed since, is not read again.

    Raises
    ------
    ValueError
        If no sample can be used.
    """
    skipped: Skipped = []
    samples = []
    if not isinstance(data, (str, Path)):
        samples = [sample for sample, _ in stream(data, reading, skipped, labelled=True)]
    else:
        root = Path(data)
        for file in _tracked(list_files(root), progress):
            place = folder / _key(file, root, reading)
            try:
                if not place.is_dir():
                    _keep(read_sample(file, root, reading), place)
                samples.append(_kept(place))
            except (ValueError, OSError) as error:
                skipped.append((_name(file, root), _reason(error)))
        without = [sample for sample in samples if sample.labels is None]
        skipped += [(sample.name, "nothing tells which of its events are blasts") for sample in without]
        samples = [sample for sample in samples if sample.labels is not None]
    if not samples:
        raise ValueError(f"data: no sample can be trained on ({listed(skipped)})")
    return samples, skipped


def split(samples: Sequence[Sample], seed: int) -> dict[str, list[Sample]]:
    """Samples as "train", "valid" and "test": by the part they name, else at random, half of them to train.

    Where nothing is named for validation a third of the training samples is taken.
    """
    rng = np.random.default_rng([seed, len(samples)])
    parts: dict[str, list[Sample]] = {name: [] for name in ("train", "valid", "test")}
    free: list[Sample] = []
    for sample in samples:
        parts.get(sample.part or "", free).append(sample)
    free = [free[place] for place in rng.permutation(len(free))]
    cuts = np.cumsum([round(TEST * len(free)), round(VALID * len(free))])
    for name, group in zip(("test", "valid", "train"), np.split(np.arange(len(free)), cuts), strict=True):
        parts[name] += [free[place] for place in group]
    if not parts["valid"] and len(parts["train"]) > 1:
        mixed = [parts["train"][place] for place in rng.permutation(len(parts["train"]))]
        count = max(1, round(len(mixed) * VALID / (1 - TEST)))
        parts["valid"], parts["train"] = mixed[:count], mixed[count:]
    return {name: sorted(group, key=lambda sample: sample.name) for name, group in parts.items()}


def listed(skipped: Sequence[tuple[str, str]], most: int = 3) -> str:
    """The first of what was left out, in one line."""
    if not skipped:
        return "there is none"
    more = f"; and {len(skipped) - most} more" if len(skipped) > most else ""
    return "; ".join(f"{name}: {reason}" for name, reason in skipped[:most]) + more


def _all(
    data: Data, reading: Reading, skipped: Skipped, progress: bool
) -> Iterator[tuple[Sample, Path | None]]:
    if not isinstance(data, (str, Path)):
        yield from ((sample, None) for sample in _checked(data, reading))
        return
    root = Path(data)
    for file in _tracked(list_files(root), progress):
        try:
            sample = read_sample(file, root, reading)
        except (ValueError, OSError) as error:
            skipped.append((_name(file, root), _reason(error)))
        else:
            yield sample, file


def _checked(data: Sample | Sequence[Sample], reading: Reading) -> Iterable[Sample]:
    samples = [data] if isinstance(data, Sample) else list(data)
    wanted = len(reading.markers)
    for sample in samples:
        if not isinstance(sample, Sample):
            raise TypeError(
                f"data: want a folder, a file or samples, got a {type(sample).__name__} among them"
            )
        if sample.features.shape[1] != wanted:
            raise ValueError(
                f"data: {sample.name} has {sample.features.shape[1]} markers, but the system reads {wanted}: "
                f"{', '.join(reading.markers)}"
            )
        if not len(sample):
            raise ValueError(f"data: {sample.name} has no events")
        if not np.isfinite(sample.features).all() or not np.isfinite(sample.graph_space).all():
            raise ValueError(f"data: {sample.name} holds values that are not finite")
    return samples


def _tracked(files: Sequence[Path], progress: bool) -> Iterable[Path]:
    hidden = not (progress and console.is_interactive)
    return track(files, "samples", console=console, disable=hidden, transient=True)


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root if root.is_dir() else root.parent).as_posix()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _key(file: Path, root: Path, reading: Reading) -> str:
    """A name that changes with the file, the gates beside it, and the way they are read."""
    beside = labels_of(file)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (file, beside) if path]
    return hashlib.blake2b(repr((_name(file, root), stats, reading)).encode(), digest_size=12).hexdigest()


def _keep(sample: Sample, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".writing-") as temporary:
        inside = Path(temporary) / "sample"
        inside.mkdir()
        for name in ("features", "labels", "space"):
            array = getattr(sample, name)
            if array is not None:
                np.save(inside / f"{name}.npy", array)
        about = [sample.name, sample.part or "", str(sample.events)]
        (inside / "about.txt").write_text("\n".join(about), encoding="utf-8")
        try:
            os.replace(inside, place)
        except OSError:  # another process of the run was first
            if not place.is_dir():
                raise


def _kept(place: Path) -> Sample:
    name, part, total = (place / "about.txt").read_text(encoding="utf-8").split("\n")
    arrays: dict[str, Any] = {
        key: np.load(place / f"{key}.npy", mmap_mode="r")
        for key in ("features", "labels", "space")
        if (place / f"{key}.npy").is_file()
    }
    return replace(Sample(name, **arrays), part=part or None, total=int(total))
