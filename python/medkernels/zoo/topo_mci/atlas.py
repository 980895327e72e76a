"""Atlases: points of the brain at which series are taken, and the networks that they belong to."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

AXES = ("x", "y", "z")
NAMES = ("name", "label", "region", "roi", "number")  # columns that may name a row, in this order of choice
DOSENBACH = Path(__file__).parent / "dosenbach.csv"


@dataclass(frozen=True)
class Atlas:
    """Regions of interest (ROIs).

    Attributes
    ----------
    names : sequence of str
    coordinates : [n,3] float64
        Centres in mm, in the space of the images (MNI for the atlas that comes with the package).
    networks : sequence of str
        The network of each ROI; empty strings where there is none.
    """

    names: tuple[str, ...]
    coordinates: npt.NDArray[np.float64]
    networks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def members(self, network: str | None) -> npt.NDArray[np.int64]:
        """Positions of the ROIs of a network; of all ROIs if None.

        Raises
        ------
        ValueError
            If there is no such network.
        """
        if network is None:
            return np.arange(len(self))
        found = np.flatnonzero(np.array(self.networks) == network)
        if not len(found):
            known = sorted(set(self.networks) - {""})
            raise ValueError(
                f"network: the atlas has no network {network!r}; it has: {', '.join(known) or 'none'}"
            )
        return found

    def take(self, chosen: npt.NDArray[np.int64]) -> Atlas:
        """The ROIs at these positions."""
        names = tuple(self.names[i] for i in chosen)
        return Atlas(names, self.coordinates[chosen], tuple(self.networks[i] for i in chosen))

    def export(self) -> dict[str, Any]:
        """As JSON values, for `load_atlas`."""
        return {
            "names": list(self.names),
            "coordinates": self.coordinates.tolist(),
            "networks": list(self.networks),
        }


def load_atlas(content: Mapping[str, Any]) -> Atlas:
    """The atlas that `Atlas.export` wrote."""
    coordinates = np.array(content["coordinates"], np.float64).reshape(-1, 3)
    return Atlas(tuple(content["names"]), coordinates, tuple(content["networks"]))


@cache
def dosenbach() -> Atlas:
    """The 160 ROIs of Dosenbach et al. in MNI space, with their six networks.

    CB cerebellum (18 ROIs), CO cingulo-opercular (32), DMN default mode (34), FP fronto-parietal (21), OP
    occipital (22), SM sensorimotor (33). The number in each name is the ROI's own in the publication.

    Returns
    -------
    Atlas

    References
    ----------
    N. U. F. Dosenbach et al., "Prediction of individual brain maturity using fMRI", Science 329 (2010),
    supporting online material.
    """
    return read_atlas(DOSENBACH)


def read_atlas(path: str | Path) -> Atlas:
    """Read an atlas from a table of comma-separated values.

    Parameters
    ----------
    path : path
        The first line names the columns: ``x``, ``y`` and ``z`` in mm, and optionally ``name`` (or
        ``label``, ``region``, ``roi``, ``number``) and ``network``. Further columns are ignored.

    Returns
    -------
    Atlas

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a column is missing, a coordinate is no finite number, a name occurs twice, or there is no row.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"atlas: there is no file {file}")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
            rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"atlas: {file} is no table of comma-separated values ({error})") from error
    missing = [axis for axis in AXES if axis not in columns]
    if missing:
        raise ValueError(
            f"atlas: {file} lacks the column {missing[0]}; want x, y, z in mm, and optionally name, network"
        )
    if not rows:
        raise ValueError(f"atlas: {file} has no row")
    coordinates = np.array(
        [[_number(row[columns[axis]], file, n) for axis in AXES] for n, row in enumerate(rows)]
    )
    title = next((columns[name] for name in NAMES if name in columns), None)
    names = [str(n + 1) if title is None else (row[title] or "").strip() for n, row in enumerate(rows)]
    _check_unique(names, file)
    network = columns.get("network")
    networks = ["" if network is None else (row[network] or "").strip() for row in rows]
    return Atlas(tuple(names), coordinates, tuple(networks))


def _number(text: str | None, file: Path, row: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"atlas: {file}, row {row + 1}: want a coordinate in mm, got {text!r}")
    return value


def _check_unique(names: Sequence[str], file: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"atlas: {file} names two ROIs {name!r}")
        seen.add(name)
