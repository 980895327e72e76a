"""Many CTs: read one by one, kept on disk for a training, and split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from rich.progress import track

from medkernels.zoo.engine.logs import console
from medkernels.zoo.totalct_sam.data import Source, list_sources, read_volume
from medkernels.zoo.totalct_sam.volume import Scan, Volume, check_volume, prepare

T = TypeVar("T")
Data = str | Path | Volume | Sequence[Volume]
Skipped = list[tuple[str, str]]

VALID, TEST = 57 / 1204, 65 / 1204  # shares of the scans, as published
UNLABELLED = "nothing tells which structures it holds"


@dataclass(frozen=True)
class Reading:
    """How CTs become scans.

    Attributes
    ----------
    classes : tuple of str
        The structures, in the order of their labels.
    spacing : float or None
        mm; None keeps that of each CT.
    """

    classes: tuple[str, ...]
    spacing: float | None


def stream(
    data: Data, reading: Reading, skipped: Skipped, *, labelled: bool = False
) -> Iterator[tuple[Volume, Source | None]]:
    """CTs one by one, with where they lie; what cannot be used is put on the list.

    Parameters
    ----------
    labelled : leave out CTs without labels.
    """
    for volume, source in _all(data, reading, skipped):
        if labelled and volume.labels is None:
            skipped.append((volume.name, UNLABELLED))
        else:
            yield volume, source


def gather(data: Data, reading: Reading, folder: Path, *, progress: bool) -> tuple[list[Scan], Skipped]:
    """All CTs with labels, prepared; those read from files are put into `folder` and mapped into memory.

    A CT that was put there by an earlier call, and whose files have not changed since, is not read again.

    Raises
    ------
    ValueError
        If no CT can be used.
    """
    skipped: Skipped = []
    if not isinstance(data, (str, Path)):
        volumes = stream(data, reading, skipped, labelled=True)
        scans = [prepare(volume, reading.spacing) for volume, _ in volumes]
    else:
        scans = []
        for source in tracked(list_sources(data), "reading CTs", progress):
            if source.labels is None:
                skipped.append((source.name, UNLABELLED))
                continue
            try:
                place = folder / _key(source, reading)
                if not place.is_dir():
                    _keep(prepare(read_volume(source, reading.classes), reading.spacing), place)
                scans.append(_kept(place))
            except (ValueError, OSError) as error:
                skipped.append((source.name, _reason(error)))
    if not scans:
        raise ValueError(f"data: no CT can be trained on ({listed(skipped)})")
    return scans, skipped


def split(scans: Sequence[Scan], seed: int) -> dict[str, list[Scan]]:
    """Scans as "train", "valid" and "test": by the part they name, else at random in the published shares.

    Of three scans or more at least one is for validation and one for the test.
    """
    rng = np.random.default_rng([seed, len(scans)])
    parts: dict[str, list[Scan]] = {name: [] for name in ("train", "valid", "test")}
    free: list[Scan] = []
    for scan in scans:
        parts.get(scan.part or "", free).append(scan)
    free = [free[place] for place in rng.permutation(len(free))]
    least = 1 if len(free) > 2 else 0
    for name, share in (("valid", VALID), ("test", TEST)):
        count = max(least, round(share * len(free)))
        parts[name] += free[:count]
        free = free[count:]
    parts["train"] += free
    if not parts["train"]:
        raise ValueError("data: all CTs are for validation or the test, none is left to train on")
    return {name: sorted(group, key=lambda scan: scan.name) for name, group in parts.items()}


def listed(skipped: Sequence[tuple[str, str]], most: int = 3) -> str:
    """The first of what was left out, in one line."""
    if not skipped:
        return "there is none"
    more = f"; and {len(skipped) - most} more" if len(skipped) > most else ""
    return "; ".join(f"{name}: {reason}" for name, reason in skipped[:most]) + more


def tracked(items: Sequence[T], what: str, progress: bool) -> Iterable[T]:
    """The items, with a bar if the error stream is a terminal."""
    hidden = not (progress and console.is_interactive)
    return track(items, what, console=console, disable=hidden, transient=True)


def _all(data: Data, reading: Reading, skipped: Skipped) -> Iterator[tuple[Volume, Source | None]]:
    if not isinstance(data, (str, Path)):
        yield from ((volume, None) for volume in _checked(data, reading))
        return
    for source in list_sources(data):
        try:
            volume = read_volume(source, reading.classes)
        except (ValueError, OSError) as error:
            skipped.append((source.name, _reason(error)))
        else:
            yield volume, source


def _checked(data: Volume | Sequence[Volume], reading: Reading) -> list[Volume]:
    volumes = [data] if isinstance(data, Volume) else list(data)
    for volume in volumes:
        if not isinstance(volume, Volume):
            raise TypeError(
                f"data: want a folder, a file or volumes, got a {type(volume).__name__} among them"
            )
        try:
            check_volume(volume)
        except ValueError as error:
            raise ValueError(f"data: {volume.name}: {error}") from error
        if volume.labels is not None and volume.labels.max() > len(reading.classes):
            raise ValueError(
                f"data: {volume.name} has the label {volume.labels.max()}, "
                f"but the system knows {len(reading.classes)} structures"
            )
    return volumes


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _key(source: Source, reading: Reading) -> str:
    """A name that changes with the files of a CT and the way they are read."""
    files = list(source.files)
    if source.labels is not None:
        files += sorted(source.labels.iterdir()) if source.labels.is_dir() else [source.labels]
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    text = repr((source.name, source.part, stats, reading))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _keep(scan: Scan, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".writing-") as temporary:
        inside = Path(temporary) / "scan"
        inside.mkdir()
        np.save(inside / "values.npy", scan.values)
        assert scan.labels is not None
        np.save(inside / "labels.npy", scan.labels)
        about = {
            "name": scan.name,
            "affine": scan.affine.tolist(),
            "mean": scan.mean,
            "std": scan.std,
            "source_shape": list(scan.source_shape),
            "source_affine": np.asarray(scan.source_affine).tolist(),
            "part": scan.part,
        }
        (inside / "about.json").write_text(json.dumps(about), encoding="utf-8")
        try:
            os.replace(inside, place)
        except OSError:  # another process of the run was first
            if not place.is_dir():
                raise


def _kept(place: Path) -> Scan:
    about = json.loads((place / "about.json").read_text(encoding="utf-8"))
    return Scan(
        name=about["name"],
        values=np.load(place / "values.npy", mmap_mode="r"),
        affine=np.array(about["affine"]),
        mean=about["mean"],
        std=about["std"],
        source_shape=tuple(about["source_shape"]),
        source_affine=np.array(about["source_affine"]),
        labels=np.load(place / "labels.npy", mmap_mode="r"),
        part=about["part"],
    )
