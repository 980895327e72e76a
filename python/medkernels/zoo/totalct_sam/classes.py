"""The structures of the TotalSegmentator data set, first version, in its own order."""

from __future__ import annotations

from collections.abc import Sequence

BACKGROUND = "background"

_ORGANS = [
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "liver",
    "stomach",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "pancreas",
    "adrenal_gland_right",
    "adrenal_gland_left",
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
]
_VERTEBRAE = [
    f"vertebrae_{part}{number}"
    for part, count in (("L", 5), ("T", 12), ("C", 7))
    for number in range(count, 0, -1)
]
_HEART_AND_BOWEL = [
    "esophagus",
    "trachea",
    "heart_myocardium",
    "heart_atrium_left",
    "heart_ventricle_left",
    "heart_atrium_right",
    "heart_ventricle_right",
    "pulmonary_artery",
    "brain",
    "iliac_artery_left",
    "iliac_artery_right",
    "iliac_vena_left",
    "iliac_vena_right",
    "small_bowel",
    "duodenum",
    "colon",
]
_RIBS = [f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13)]
_PAIRED_BONES = [
    f"{bone}_{side}"
    for bone in ("humerus", "scapula", "clavicula", "femur", "hip")
    for side in ("left", "right")
]
_PAIRED_MUSCLES = [
    f"{muscle}_{side}"
    for muscle in ("gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas")
    for side in ("left", "right")
]

#: The 104 structures, without the background.
TOTALSEGMENTATOR = (
    *_ORGANS,
    *_VERTEBRAE,
    *_HEART_AND_BOWEL,
    *_RIBS,
    *_PAIRED_BONES,
    "sacrum",
    "face",
    *_PAIRED_MUSCLES,
    "urinary_bladder",
)


def check_classes(classes: Sequence[str] | None) -> tuple[str, ...]:
    """Names of structures; the 104 of TotalSegmentator if None.

    Raises
    ------
    ValueError
        If they are no different, non-empty names, or more than labels of eight bits can tell apart.
    """
    if classes is None:
        return TOTALSEGMENTATOR
    names = [classes] if isinstance(classes, str) else list(classes)
    bad = [name for name in names if not isinstance(name, str) or not name.strip() or "/" in name]
    if not names or bad or len(set(names)) < len(names) or BACKGROUND in names:
        raise ValueError(f"classes: want different names of structures without the background, got {names}")
    if len(names) > 255:
        raise ValueError(f"classes: at most 255 structures, got {len(names)}")
    return tuple(names)


def mirrored(classes: Sequence[str]) -> list[int]:
    """The label that each label, background first, has in a mirror: left and right change places.

    A structure whose counterpart is not among the classes keeps its label.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    swapped = [0]
    for name, number in numbers.items():
        words = [{"left": "right", "right": "left"}.get(word, word) for word in name.split("_")]
        swapped.append(numbers.get("_".join(words), number))
    return swapped
