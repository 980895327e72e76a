"""Generated samples as FCS files that look like a cytometer's: raw, with spill-over between dyes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medkernels.zoo.mrd_flow.fcs import LOGICLE, TOP, USUAL_RANGE, write_fcs
from medkernels.zoo.mrd_flow.sample import Sample

# A channel a column of the stand-in: marker, dye ("" for scatter, which is linear and spills nowhere).
CHANNELS = (
    ("CD10", "PE-A"),
    ("FSC-A", ""),
    ("SSC-A", ""),
    ("CD20", "FITC-A"),
    ("CD45", "PerCP-A"),
    ("CD34", "APC-A"),
    ("CD38", "PE-Cy7-A"),
    ("CD19", "APC-Cy7-A"),
    ("SYTO41", "BV421-A"),
    ("FSC-W", ""),
)
SPILL = 0.04  # share of each dye's light that the next detector sees


def write_raw(path: Path, sample: Sample) -> None:
    """Write a sample of the stand-in as a raw FCS file, with the experts' gate as a channel "Blast".

    Values are taken from the scale of [0, 4.5] back to what detectors count, and mixed by a spill-over
    matrix that the file names, so that reading has to undo both.
    """
    from flowutils import transforms

    assert sample.labels is not None
    raw = np.empty((len(sample), len(CHANNELS) + 1))
    stained = [place for place, (_, dye) in enumerate(CHANNELS) if dye]
    for place in range(len(CHANNELS)):
        share = sample.features[:, place].astype(np.float64) / TOP
        linear = USUAL_RANGE * share
        inverse = transforms.logicle_inverse
        raw[:, place] = inverse(share, None, t=USUAL_RANGE, **LOGICLE) if place in stained else linear
    matrix = np.eye(len(stained)) + SPILL * np.eye(len(stained), k=1)
    raw[:, stained] = raw[:, stained] @ matrix
    raw[:, -1] = sample.labels
    dyes = [CHANNELS[place][1] for place in stained]
    spill = ",".join([str(len(dyes)), *dyes, *(f"{value:g}" for value in matrix.ravel())])
    names = [dye or marker for marker, dye in CHANNELS]
    markers = [marker if dye else "" for marker, dye in CHANNELS]
    text = {"spillover": spill, f"p{len(CHANNELS) + 1}r": "1"}
    write_fcs(path, raw, [*names, "Blast"], [*markers, ""], text)
