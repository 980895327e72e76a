"""The demonstration: a real immunohistochemistry image explained as ellipses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from skimage.color import rgb2hed
from skimage.data import immunohistochemistry
from skimage.filters import threshold_otsu
from torch import Tensor

from medkernels.render import ellipses
from medkernels.zoo.asr.data import PatchSet, tissue_share
from medkernels.zoo.asr.grid_sample import grid_sample_ellipses
from medkernels.zoo.asr.losses import reconstruction_metrics
from medkernels.zoo.asr.model import Explanation, stack_scales
from medkernels.zoo.asr.pictures import (
    Outlines,
    draw_curves,
    draw_outlines,
    draw_slices,
    outlines,
    to_picture,
)
from medkernels.zoo.asr.refine import refine
from medkernels.zoo.asr.report import OUTLINE_NOTE, add_attributes
from medkernels.zoo.asr.system import ASRSystem
from medkernels.zoo.asr.tree import Tree, draw_tree, learn_tree, macro_f1
from medkernels.zoo.asr.volume import VolumeASR, Volumes, judge_volume, reconstruction_loss, synthetic_volume
from medkernels.zoo.engine import FitOptions, FitResult, Report, fit

QUARTER = 256  # the image is cut into four patches of this side
HELD_OUT = 3  # the lower right one is not trained on
CROP = 96
REPEATS = 40  # crops of each quarter an epoch
TRAINING = {"max_epochs": 100, "batch_size": 8, "lr": 3e-3, "schedule": "cosine", "warmup_steps": 100}
REFINE_STEPS = 300
TILE, TILE_STRIDE = 64, 32  # patches that the tree tells apart
COMPARTMENTS = ("stroma", "epithelium")
ZOOMS = ((20, 262, 128), (290, 250, 128), (20, 60, 128), (330, 372, 128))  # top, left, side
TIMED_SIDE, TIMED_RUNS = 128, 5
VOLUME_TRAINING = {"max_epochs": 12, "batch_size": 4, "lr": 5e-3, "schedule": "cosine"}
VOLUMES, TEST_VOLUMES = 64, 8

PALE = 0.75  # least channel of pale ellipses
BLUER = 0.1  # gain of blue over red, in [0, 1]
CYAN, GREEN, ORANGE = "#00e5ff", "#39e639", "#ff8c1a"


def stain_colors(rows: Outlines) -> list[str]:
    """Outline colours: green for pale ellipses, cyan for bluish ones (haematoxylin), orange for brown (DAB).

    Within brown tissue nuclei look grey: an ellipse that makes its place clearly bluer counts as bluish too.
    """
    blueness = rows.colors[:, 2] - rows.colors[:, 0]
    gain = blueness - (rows.beneath[:, 2] - rows.beneath[:, 0])
    bluish = np.where((blueness > 0) | (gain > BLUER), CYAN, ORANGE)
    return [str(color) for color in np.where(rows.colors.min(axis=1) > PALE, GREEN, bluish)]


def run_demo(out_dir: Path, system: ASRSystem) -> Path:
    """Train ``system`` on the image, and write ``report.html`` and the model into ``out_dir``."""
    image: npt.NDArray[np.uint8] = immunohistochemistry()  # type: ignore[no-untyped-call]
    quarters = cut(image, QUARTER, QUARTER)
    trained = np.delete(np.arange(4), HELD_OUT)
    options = FitOptions(**TRAINING, resume=False)  # type: ignore[arg-type]
    crops = np.repeat(trained, REPEATS)
    result = system.train_network(quarters, crops, trained, out_dir / "training", options, crop=CROP)

    patches = quarters.batch(range(4))
    started = time.perf_counter()
    refined, errors = refine(system.module, patches, system.goal, REFINE_STEPS)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        first, _ = system.module(patches)
        final = system.module.render(refined, (QUARTER, QUARTER))

    report = Report(
        "A tissue image as ellipses",
        "ASR on an immunohistochemistry image (colon, haematoxylin and DAB; it comes with scikit-image)",
    )
    report.section(
        "Result",
        "An autoencoder whose code is a list of ellipses was trained on three "
        "quarters of the image; the lower right "
        "quarter was kept out. The network proposes all ellipses in one pass; "
        "the ellipses then settle on the image by "
        f"{REFINE_STEPS} steps of gradient descent, which the fast renderer "
        "makes cheap. That second step is not in "
        "the paper.",
    )
    report.table(error_rows(patches, first, final), "Errors of the reconstruction, colours in [0, 1].")
    report.metrics({"training, s": round(result.seconds), "settling of 4 patches, s": round(seconds)})
    report.gallery(
        [(image, "original"), (join(first), "network alone"), (join(final), "after settling")],
        "Every pixel of the pictures on the right is painted by ellipses over "
        "one background colour a quarter.",
    )
    add_outlines(report, system, image, refined, quarters)
    features = system.attributes(quarters)
    add_attributes(report, system.spacings, features, "Mean over the four quarters, and spread between them.")
    add_trees(report, system, image)
    add_curves(report, result, errors)
    add_timing(report, refined)
    add_volume(report, out_dir / "volume")
    system.save_pretrained(out_dir / "model")
    return report.save(out_dir / "report.html")


def cut(image: npt.NDArray[np.uint8], side: int, stride: int) -> PatchSet:
    """Square patches of an image, each a case of its own."""
    corners = [
        (top, left)
        for top in range(0, image.shape[0] - side + 1, stride)
        for left in range(0, image.shape[1] - side + 1, stride)
    ]
    names = tuple(f"patch at {top}, {left}" for top, left in corners)
    return PatchSet(
        pixels=np.stack([image[top : top + side, left : left + side] for top, left in corners]),
        case_of=np.arange(len(corners)),
        corners=np.array(corners),
        images=("immunohistochemistry",) * len(corners),
        cases=names,
        labels=np.full(len(corners), -1),
    )


def join(quarters: Tensor) -> npt.NDArray[np.float32]:
    """Four patches [4,3,H,W] -> the image [2H,2W,3]."""
    rows = [torch.cat([quarters[0], quarters[1]], dim=2), torch.cat([quarters[2], quarters[3]], dim=2)]
    return to_picture(torch.cat(rows, dim=1))


def error_rows(patches: Tensor, first: Tensor, final: Tensor) -> list[dict[str, object]]:
    """A row for the trained quarters and one for the kept-out quarter, by stage."""
    rows: list[dict[str, object]] = []
    for stage, pictures in (("network alone", first), ("after settling", final)):
        scores = reconstruction_metrics(pictures, patches)
        for name, chosen in (
            ("trained on", [i for i in range(4) if i != HELD_OUT]),
            ("kept out", [HELD_OUT]),
        ):
            row: dict[str, object] = {"stage": stage, "quarters": name}
            rows.append(row | {key.upper(): float(values[chosen].mean()) for key, values in scores.items()})
    return rows


def add_outlines(
    report: Report, system: ASRSystem, image: npt.NDArray[np.uint8], refined: Explanation, quarters: PatchSet
) -> None:
    """Outlines over the whole image for each scale, and close views with nuclei alone."""
    found = outlines(system.module, refined, (QUARTER, QUARTER), quarters.corners)
    report.section(
        "Ellipses",
        f"{OUTLINE_NOTE} **Cyan** ellipses are bluish, the colour of "
        "haematoxylin: nuclei. **Orange** ones are brown, "
        "the colour of DAB: stained cytoplasm and membranes. **Green** ones "
        "are pale: lumens, vessels, glass and loose "
        "stroma. The colour is the ellipse's own, found without any label.",
    )
    finer = Outlines(*(np.concatenate(parts) for parts in zip(*found[:-1], strict=True)))
    bluish = finer.where(np.array(stain_colors(finer)) == CYAN)
    hits, share = on_haematoxylin(image, bluish)
    report.figure(
        draw_outlines(image, bluish, paint=stain_colors, inches=7.5),
        f"The {len(bluish.angles)} bluish ellipses of the two finer scales: nuclei. {hits:.0%} of their "
        f"centres lie on pixels rich in haematoxylin, which make up {share:.0%} of the image "
        "(colour deconvolution, Otsu's threshold).",
    )
    for spacing, rows in zip(reversed(system.spacings), reversed(found), strict=True):
        figure = draw_outlines(image, rows, paint=stain_colors, inches=7.5)
        report.figure(figure, f"Scale {spacing} px: {len(rows.angles)} ellipses that change the picture.")
    pairs: list[tuple[Any, str]] = []
    for top, left, side in ZOOMS:
        view = image[top : top + side, left : left + side]
        shifted = bluish._replace(centers=bluish.centers - (left, top))
        rows = shifted.where(np.all((shifted.centers > 0) & (shifted.centers < side), axis=1))
        where = "kept-out quarter" if top + side > QUARTER and left + side > QUARTER else "trained quarters"
        pairs.append(
            (
                draw_outlines(view, rows, paint=stain_colors, inches=4.5),
                f"rows from {top}, columns from {left}; {where}",
            )
        )
    report.gallery(pairs, "Close views, 128 px wide: bluish ellipses only.")


def on_haematoxylin(image: npt.NDArray[np.uint8], rows: Outlines) -> tuple[float, float]:
    """Share of ellipse centres that lie on haematoxylin-rich pixels, and the share of such pixels."""
    blue = rgb2hed(image)[..., 0]
    rich = blue > threshold_otsu(blue)  # type: ignore[no-untyped-call]
    x, y = np.clip(rows.centers.round().astype(int), 0, np.array(image.shape[1::-1]) - 1).T
    return float(rich[y, x].mean()), float(rich.mean())


def compartments(image: npt.NDArray[np.uint8], tiles: PatchSet) -> npt.NDArray[np.int64]:
    """1 where at least half of a tile's pixels hold DAB (Otsu's threshold over the image), else 0."""
    brown = rgb2hed(image)[..., 2]
    holds = brown > threshold_otsu(brown)  # type: ignore[no-untyped-call]
    shares = [holds[top : top + TILE, left : left + TILE].mean() for top, left in tiles.corners]
    return (np.array(shares) >= 0.5).astype(np.int64)


def add_trees(report: Report, system: ASRSystem, image: npt.NDArray[np.uint8]) -> None:
    """Trees that tell compartments apart, from all attributes and from shape alone."""
    tiles = cut(image, TILE, TILE_STRIDE)
    tissue = np.array([tissue_share(pixels) >= 0.25 for pixels in tiles.pixels])
    labels, features = compartments(image, tiles), system.attributes(tiles)
    ends = tiles.corners + TILE
    test = tissue & (tiles.corners >= QUARTER).all(axis=1)
    learn = tissue & ~(ends > QUARTER).all(axis=1)
    report.section(
        "Tree",
        "One image has no diagnosis, so the tree here learns a label that the "
        f"stain itself gives: a {TILE} px tile is "
        f"**{COMPARTMENTS[1]}** where at least half of its pixels hold DAB "
        "(colour deconvolution, Otsu's threshold), else "
        f"**{COMPARTMENTS[0]}**. It learns from {int(learn.sum())} tiles of the "
        "trained quarters and is judged on "
        f"{int(test.sum())} of the kept-out one. Colour makes this easy; the "
        "second tree must do with sizes and "
        "directions.",
    )
    names = system.attribute_names
    shape = [i for i, name in enumerate(names) if name.split("_")[1] in ("w", "h", "phi")]
    for title, columns in (("all attributes", list(range(len(names)))), ("sizes and directions only", shape)):
        tree: Tree = learn_tree(
            features[learn][:, columns], labels[learn], [names[i] for i in columns], COMPARTMENTS
        )
        score = macro_f1(labels[test], tree.predict(features[test][:, columns]))
        report.figure(draw_tree(tree), f"Tree on {title}: macro-F1 {score:.2f} on the kept-out quarter.")


def add_curves(report: Report, result: FitResult, errors: list[float]) -> None:
    """Error over training and over settling."""
    report.section("Error")
    epochs = [row["epoch"] for row in result.history]
    training = {
        "random crops": (epochs, [row["train_mse"] for row in result.history]),
        "trained quarters, whole": (epochs, [row["valid_mse"] for row in result.history]),
    }
    settling = {"mean of the four quarters": (list(range(len(errors))), errors)}
    report.gallery(
        [
            (draw_curves(training, "epoch", "mean square error"), "Training of the network."),
            (draw_curves(settling, "step", "mean square error"), "Settling of the ellipses."),
        ],
        "The price of ellipses sets in after half of the training and after 30 "
        "% of the settling; error then rises a "
        "little while ellipses that save too little disappear.",
    )


def add_timing(report: Report, refined: Explanation) -> None:
    """Ours beside the published renderer, on the same ellipses of one patch."""
    every = stack_scales(refined.scales)
    near = (every.centers[HELD_OUT] < TIMED_SIDE).all(dim=1)
    inputs = [part[HELD_OUT : HELD_OUT + 1, near].clone().requires_grad_() for part in every[:4]]
    inputs.append(refined.background[HELD_OUT : HELD_OUT + 1].clone().requires_grad_())
    size = (TIMED_SIDE, TIMED_SIDE)
    ways: dict[str, Callable[..., Tensor]] = {
        "medkernels": ellipses,
        "affine_grid + grid_sample": grid_sample_ellipses,
    }
    pictures = {name: draw(*inputs, size) for name, draw in ways.items()}
    gap = float((pictures["medkernels"] - pictures["affine_grid + grid_sample"]).detach().abs().max())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TIMED_RUNS):
        for name, draw in ways.items():
            started = time.perf_counter()
            draw(*inputs, size).square().mean().backward()  # type: ignore[no-untyped-call]
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = max(medians.values())
    rows = [
        {"renderer": name, "forward + backward, ms": 1e3 * value, "times faster": slowest / value}
        for name, value in medians.items()
    ]
    report.section("Renderer")
    report.table(
        rows,
        f"{int(near.sum())} ellipses of the kept-out quarter on {TIMED_SIDE} x "
        f"{TIMED_SIDE} pixels, order-free "
        f"composition, {torch.get_num_threads()} threads, median of "
        f"{TIMED_RUNS} alternating runs. The pictures differ by "
        f"at most {gap:.1e}, the interpolation error of the published path.",
    )


def add_volume(report: Report, run_dir: Path) -> None:
    """The network in three dimensions."""
    torch.manual_seed(0)
    model = VolumeASR()
    options = FitOptions(**VOLUME_TRAINING, resume=False)  # type: ignore[arg-type]
    result = fit(model, Volumes(0, VOLUMES), None, run_dir, options, loss=reconstruction_loss)
    model.to("cpu")
    scores = [judge_volume(model, VOLUMES + i) for i in range(TEST_VOLUMES)]
    volume, truth = synthetic_volume(VOLUMES)
    with torch.no_grad():
        picture, every = model(torch.from_numpy(volume)[None])
    report.section(
        "Three dimensions",
        "The same network with ellipsoids, on synthetic volumes of blobs and a "
        "winding vessel with noise. The paper names "
        f"volumes as future work. {every.opacity.shape[1]} ellipsoids a volume "
        "of 32 x 32 x 32 voxels, trained on "
        f"{VOLUMES} volumes for {round(result.seconds)} s, judged on {TEST_VOLUMES} others.",
    )
    report.metrics(
        {
            "Dice with the true voxels": statistics.mean(score["dice"] for score in scores),
            "mean square error to the noise-free volume": statistics.mean(score["mse"] for score in scores),
        }
    )
    stack: dict[str, npt.NDArray[Any]] = {
        "volume": volume[0],
        "reconstruction": picture[0, 0].numpy(),
        "true voxels": truth.astype(np.float32),
    }
    figure: Figure = draw_slices(stack, list(range(4, 32, 6)))
    report.figure(figure, "Slices of a volume that was not trained on.")
