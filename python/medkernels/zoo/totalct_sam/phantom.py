"""Synthetic bodies in Hounsfield units: ellipsoids and tubes in place of organs and bones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

from medkernels.zoo.engine.files import replacing
from medkernels.zoo.totalct_sam.dicom import LPS_TO_RAS
from medkernels.zoo.totalct_sam.nifti import write_volume
from medkernels.zoo.totalct_sam.volume import Floats, Volume

# Name: mean HU, middle (right, anterior, superior) and semi-axes in mm. Later ones lie over earlier ones.
ORGANS = {
    "lung_left": (-800, (-78, 5, 150), (56, 78, 118)),
    "lung_right": (-800, (78, 5, 150), (58, 80, 118)),
    "heart": (140, (-25, 28, 105), (52, 44, 52)),
    "liver": (110, (72, 12, 0), (82, 76, 64)),
    "stomach": (30, (-62, 36, -8), (42, 36, 46)),
    "spleen": (125, (-112, -34, 6), (30, 42, 50)),
    "kidney_left": (180, (-62, -52, -82), (27, 25, 50)),
    "kidney_right": (180, (62, -52, -90), (27, 25, 50)),
    "urinary_bladder": (8, (0, 18, -232), (42, 36, 32)),
    "hip_left": (450, (-105, -8, -228), (22, 46, 56)),
    "hip_right": (450, (105, -8, -228), (22, 46, 56)),
}
AORTA, SPINE, RIBS = (170, (-14, -44), 13.0), (380, (0, -82), 23.0), 480
# Painted, but part of the background, as are aorta and ribs: the demonstration is to be short.
UNNAMED = ("stomach", "spleen", "kidney_left", "kidney_right", "urinary_bladder")
CLASSES = (*(name for name in ORGANS if name not in UNNAMED), "spine")
TRUNK = (170.0, 116.0)  # semi-axes of the body, mm
FAT = 16.0  # mm below the skin
SOFT, ADIPOSE, AIR, DISC = 45.0, -100.0, -1000.0, 90.0  # HU
VERTEBRA, RIB_GAP = 30.0, 30.0  # mm from one to the next
SPACING = (5.0, 5.0, 6.0)  # mm
SHAPE = (76, 54, 100)
NOISE, TEXTURE = 18.0, 22.0  # standard deviations, HU

Mask = npt.NDArray[np.bool_]


def phantom(seed: int, name: str | None = None) -> Volume:
    """A body that varies in size, in where its organs lie and how large they are, and in their HU.

    Parameters
    ----------
    seed : int
        Of all that is random.
    name : str, optional
        Of the volume; "body" and the seed if None.
    """
    rng = np.random.default_rng([seed, len(CLASSES)])
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -0.5 * (np.array(SHAPE) - 1) * SPACING
    places = np.moveaxis(np.indices(SHAPE), 0, -1) * SPACING + affine[:3, 3]
    places = places / rng.uniform(0.92, 1.08, 3) + rng.normal(0, 4, 3)
    x, y, z = (places[..., axis] for axis in range(3))
    girth = np.hypot(x / TRUNK[0], y / TRUNK[1])
    values = np.full(SHAPE, AIR)
    values[girth < 1] = ADIPOSE
    values[girth < 1 - FAT / TRUNK[1]] = SOFT
    labels = np.zeros(SHAPE, np.uint8)

    def paint(name: str, inside: Mask, hu: float | Floats) -> None:
        labels[inside] = CLASSES.index(name) + 1 if name in CLASSES else 0
        values[inside] = np.broadcast_to(hu, SHAPE)[inside] + rng.normal(0, 8)

    for organ, (hu, middle, axes) in ORGANS.items():
        moved = places - middle - rng.normal(0, 5, 3)
        turn = np.linalg.qr(np.eye(3) + rng.normal(0, 0.12, (3, 3)))[0]
        scaled = (moved @ turn) / (np.array(axes) * rng.uniform(0.88, 1.12, 3))
        paint(organ, np.square(scaled).sum(axis=-1) < 1, hu)
    for tube, (hu, (right, anterior), radius) in (("aorta", AORTA), ("spine", SPINE)):
        reach = (z > -180) & (z < 190) if tube == "aorta" else np.abs(z) < 1000
        bones = np.where(z % VERTEBRA < 6, DISC, hu) if tube == "spine" else hu
        paint(tube, (np.hypot(x - right, y - anterior) < radius) & reach, bones)
    slope = z - 0.35 * y + rng.uniform(0, RIB_GAP)
    cage = (girth > 0.79) & (girth < 0.87) & (z > 10) & (z < 270) & (y < 85)
    paint("ribs", cage & (slope % RIB_GAP < 11) & (labels == 0), RIBS)
    texture = gaussian_filter(rng.standard_normal(SHAPE), 1.5)
    inside = girth < 1
    values[inside] += (TEXTURE / texture.std()) * texture[inside]
    values += NOISE * rng.standard_normal(SHAPE)
    return Volume(name or f"body {seed}", values.astype(np.float32), affine, labels)


def write_subject(folder: Path, volume: Volume) -> None:
    """Write a CT and a mask of each structure as the TotalSegmentator data set has them."""
    assert volume.labels is not None
    write_volume(folder / "ct.nii.gz", volume.values, volume.affine)
    for number, name in enumerate(CLASSES, start=1):
        write_volume(folder / "segmentations" / f"{name}.nii.gz", volume.labels == number, volume.affine)


def write_dicom(folder: Path, volume: Volume, *, intercept: float = -1024.0) -> list[Path]:
    """Write a volume as a series of CT slices, one file each; return their paths.

    Slices run along the third axis of the volume, whose affine must have axes at right angles.
    """
    affine = LPS_TO_RAS @ volume.affine
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    along_row, along_column = affine[:3, 0] / sizes[0], affine[:3, 1] / sizes[1]
    series, frame, study = (
        generate_uid(entropy_srcs=[volume.name, what]) for what in ("series", "frame", "study")
    )
    written = []
    for number in range(volume.values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[volume.name, str(number)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.PatientName, data.PatientID = "CT", "Synthetic^Phantom", volume.name
        data.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.InstanceNumber = number + 1
        data.ImagePositionPatient = _text(affine[:3] @ [0, 0, number, 1])
        data.ImageOrientationPatient = _text([*along_row, *along_column])
        data.PixelSpacing, data.SliceThickness = _text([sizes[1], sizes[0]]), _text([sizes[2]])[0]
        data.RescaleSlope, data.RescaleIntercept = "1", f"{intercept:g}"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        stored = np.rint(volume.values[:, :, number].T - intercept).clip(0, 2**16 - 1).astype("<u2")
        data.Rows, data.Columns = stored.shape
        data.PixelData = stored.tobytes()
        # Not in the order of the slices: readers must not rely on names.
        path = folder / f"IM{number * 577 % 1009:04d}.dcm"
        with replacing(path) as temporary:
            pydicom.dcmwrite(temporary, data, enforce_file_format=True)
        written.append(path)
    return written


def _text(numbers: npt.ArrayLike) -> list[str]:
    """Numbers as DICOM's decimal strings, of 16 characters at most."""
    return [f"{number:.9g}"[:16] for number in np.asarray(numbers, np.float64)]
