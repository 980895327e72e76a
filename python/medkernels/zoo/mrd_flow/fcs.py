"""FCS files: read with compensation and scaling, and written with columns added."""

from __future__ import annotations

import math
import re
import warnings
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medkernels.zoo.engine.files import replacing

TOP = 4.5  # scaled values run from 0 to this many decades
LOGICLE = {"m": 4.5, "w": 0.5, "a": 0.0}  # decades: in all, of the linear part, negative
USUAL_RANGE = 262_144.0  # of channels whose file names none
SCATTER = ("FSC", "SSC")
SPILLOVER = ("spillover", "spill", "comp")  # keywords, most standard first
OWN_KEYS = {"byteord", "datatype"}  # said anew by the writer
GAIN = re.compile(r"p\d+[ger]")
BLAST, INTACT = "blast", "intact"  # gates, by the beginning of their names
SCALINGS = ("logicle", "none")


@dataclass(frozen=True)
class Table:
    """Events of a file and the names of their channels.

    Attributes
    ----------
    values : float32 [n,channels]
    names : tuple of str
        Short names ($PnN).
    markers : tuple of str
        What was stained ($PnS), or the short name where nothing is said.
    """

    values: npt.NDArray[np.float32]
    names: tuple[str, ...]
    markers: tuple[str, ...]


def read_fcs(path: Path, *, scaling: str) -> Table:
    """Read an FCS file of version 2.0, 3.0 or 3.1.

    Parameters
    ----------
    path : Path
    scaling : {"logicle", "none"}
        "logicle" compensates by the file's spill-over matrix, if it has one, and brings every channel to
        about [0, 4.5]: fluorescence by the logicle scale, scatter and others linearly, time from its first
        to its last value; gates stay as they are. "none" takes the values as they are.

    Raises
    ------
    ValueError
        If it is not a readable FCS file.
    """
    data, raw, tops = _parse(path)
    names = tuple(str(name).strip() for name in data.pnn_labels)
    stains = (str(stain or "").strip() for stain in data.pns_labels)
    markers = tuple(stain or name for stain, name in zip(stains, names, strict=True))
    if scaling == "logicle":
        compensate(raw, names, data.text)
        raw = scale(raw, names, tops)
    return Table(raw.astype(np.float32), names, markers)


def compensate(values: npt.NDArray[np.float64], names: tuple[str, ...], text: dict[str, str]) -> None:
    """Undo spill-over between channels in place, by the matrix that the file's text gives, if any.

    Raises
    ------
    ValueError
        If the matrix is damaged, singular or names channels that the file does not have.
    """
    written = next((text[key] for key in SPILLOVER if text.get(key, "").strip()), None)
    if written is None:
        return
    parts = [part.strip() for part in written.split(",")]
    try:
        size = int(parts[0])
        columns = [names.index(name) for name in parts[1 : size + 1]]
        matrix = np.array([float(part) for part in parts[size + 1 :]]).reshape(size, size)
        values[:, columns] = np.linalg.solve(matrix.T, values[:, columns].T).T
    except (ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(f"its spill-over matrix cannot be used: {error}") from error


def scale(
    values: npt.NDArray[np.float64], names: tuple[str, ...], ranges: list[float]
) -> npt.NDArray[np.float64]:
    """Bring channels [n,channels] to about [0, 4.5]; see `read_fcs`."""
    from flowutils import transforms

    scaled = np.empty_like(values)
    for column, (name, top) in enumerate(zip(names, ranges, strict=True)):
        channel = values[:, column]
        if gate_of(name):
            scaled[:, column] = channel
        elif is_time(name):
            low, high = (channel.min(), channel.max()) if len(channel) else (0.0, 0.0)
            scaled[:, column] = TOP * (channel - low) / ((high - low) or 1.0)
        elif name.upper().startswith(SCATTER):
            scaled[:, column] = TOP * channel / top
        else:
            scaled[:, column] = TOP * transforms.logicle(channel, None, t=top, **LOGICLE)
    return scaled


def plain(name: str) -> str:
    """A name without case, spaces and punctuation: "FSC-A" and "fsc a" are one marker."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def gate_of(name: str) -> str | None:
    """The gate that a channel of 0 and 1 stands for, by the beginning of its name."""
    return next((gate for gate in (BLAST, INTACT) if plain(name).startswith(gate)), None)


def is_time(name: str) -> bool:
    """Whether a channel holds the time."""
    return name.lower() in ("time", "hdr-t")


def add_columns(source: Path, target: Path, columns: dict[str, npt.NDArray[np.float32]]) -> None:
    """Write an FCS 3.1 file with the events of another, as they stand there, and more columns.

    Parameters
    ----------
    source, target : Path
    columns : name to values [n].
    """
    data, kept, tops = _parse(source)
    whole = data.data_type.upper() != "F"
    # Integers may stand for logarithms or need a gain; what is written is linear, and says no such thing.
    if not whole:
        kept = data.as_array(preprocess=False)
    values = np.column_stack([kept, *columns.values()])
    names = [*data.pnn_labels, *columns]
    stains = [*(stain or "" for stain in data.pns_labels), *("" for _ in columns)]
    text = {key: value for key, value in data.text.items() if key not in OWN_KEYS and str(value).strip()}
    if whole:
        text = {key: value for key, value in text.items() if key != "timestep" and not GAIN.fullmatch(key)}
        text |= {f"p{number}r": f"{top:.0f}" for number, top in enumerate(tops, 1)}
    for number in range(len(data.pnn_labels) + 1, len(names) + 1):
        text[f"p{number}r"] = "1"
    write_fcs(target, values, names, stains, text)


def write_fcs(
    path: Path, values: npt.NDArray[Any], names: list[str], stains: list[str], text: dict[str, str]
) -> None:
    """Write events [n,channels] as an FCS 3.1 file, whole or not at all."""
    from flowio import create_fcs

    with replacing(path) as temporary, temporary.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scales that floats cannot have
        create_fcs(file, array("f", values.astype("<f4").tobytes()), names, stains, text)


def _parse(path: Path) -> tuple[Any, npt.NDArray[np.float64], list[float]]:
    """What the file says of itself, its events [n,channels] and the tops of its channels in linear units."""
    from flowio import FlowData

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd byte orders and unknown keywords
            # Some cytometers count one byte too many, or name other places in the header than in the text.
            data = FlowData(path, ignore_offset_error=True, ignore_offset_discrepancy=True)
            return data, data.as_array(), _tops(data)
    except OSError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"not a readable FCS file: {reason}") from error


def _tops(data: Any) -> list[float]:
    """The top of each channel's range, in the linear units that values are read in."""
    found = []
    for number in range(1, data.channel_count + 1):
        channel = data.channels[number]
        decades, least = channel["pne"]
        gain = channel["png"] or 1.0
        found.append((least or 1.0) * 10.0**decades if decades else float(channel["pnr"]) / gain)
    return [top if 1 < top < math.inf else USUAL_RANGE for top in found]
