"""ASR as a zoo system: trained on a folder of histology images, it explains, measures and classifies them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor, nn

from medkernels.zoo import register
from medkernels.zoo.asr.attributes import attribute_names, case_attributes, cell_tables
from medkernels.zoo.asr.data import Patches, PatchSet, check_cutting, from_arrays, load_folder, split_cases
from medkernels.zoo.asr.losses import KINDS, Objective, objective, reconstruction_metrics
from medkernels.zoo.asr.model import ASR, Explanation
from medkernels.zoo.asr.pictures import Outlines, draw_outlines, outlines, pick, to_picture
from medkernels.zoo.asr.refine import refine
from medkernels.zoo.asr.report import write_report
from medkernels.zoo.asr.tables import ELLIPSE_COLUMNS, list_ellipses, write_csv, write_tables
from medkernels.zoo.asr.tree import Tree, learn_tree, load_tree, macro_f1
from medkernels.zoo.engine import FitOptions, FitResult, HubSystem, fit
from medkernels.zoo.engine.files import replacing, write_text
from medkernels.zoo.engine.logs import Row, console

PAPER = (
    "Autoassociative Learning of Structural Representations for Modeling "
    "and Classification in Medical Imaging, "
    "arXiv 2411.12070"
)
HELD_OUT, VALIDATION = 0.2, 0.15  # shares of the cases
PRICE_STARTS, PRICE_FULL = 0.5, 0.8  # when in training the price of ellipses sets in, as shares of the steps
TRAINING: dict[str, Any] = {
    "max_epochs": 60,
    "batch_size": 12,
    "lr": 2e-3,
    "schedule": "cosine",
    "patience": 15,
}
LOOKED_AT = 8  # patches explained at a time outside training
PICTURES = 12  # most pictures that predict writes

DEFAULTS: dict[str, dict[str, Any]] = {
    "structures": {
        "spacings": (8, 14, 48),
        "composition": "over",
        "layers": 1.0,
        "price": 0.5,
        "network": {"offsets": True, "fading": True, "initial": (0.45, 0.25), "blocks": 2, "top_down": True},
    },
    "published": {
        "spacings": (8, 16, 32),
        "composition": "union",
        "layers": 0.0,
        "price": 0.0,
        "network": {},
    },
}

Data = str | Path | PatchSet


@dataclass(frozen=True)
class ASRFit:
    """What `ASRSystem.fit` returns.

    Attributes
    ----------
    metrics : dict
        As in ``metrics.json``.
    report, model : Path
        The HTML report and the folder of the saved system.
    seconds : float
        Of training.
    rank : int
        This process; files are written by process 0 alone.
    skipped : tuple of (path, reason)
        Files that gave no patch.
    """

    metrics: dict[str, Any]
    report: Path
    model: Path
    seconds: float
    rank: int
    skipped: tuple[tuple[str, str], ...] = ()


@register(
    "asr",
    title="Explains histology images as ellipses, and classifies by a small tree",
    paper=PAPER,
    number=31,
)
class ASRSystem(HubSystem):
    """Autoassociative learning of structural representations.

    Parameters
    ----------
    variant : {"structures", "published"}
        "published" is the paper's network: one ellipse a cell, centred in it, always present. "structures"
        lets ellipses move within their cell and fade, paints coarse scales first and charges for each
        ellipse, so that those that stay sit on nuclei, lumens and glands.
    spacings : sequence of int, optional
        Cell sizes in pixels, ascending; the variant's own if None.
    composition : {"over", "union"}, optional
    tau : float
        Softness of rims.
    kind : {"mse", "multiscale"}
        Pixel error.
    layers, price : float, optional
        See `Objective`.
    area : float
        See `Objective`.
    refine_steps : int
        Steps that ``predict`` and the report let the ellipses of each patch settle; 0 takes the network's
        word.
    patch, stride, min_tissue, max_patches
        How a folder is cut; see `load_folder`.
    """

    module: ASR

    def __init__(
        self,
        *,
        variant: str = "structures",
        spacings: Sequence[int] | None = None,
        composition: str | None = None,
        tau: float = 0.15,
        kind: str = "mse",
        layers: float | None = None,
        price: float | None = None,
        area: float = 0.0,
        refine_steps: int = 0,
        patch: int = 256,
        stride: int | None = None,
        min_tissue: float = 0.25,
        max_patches: int = 64,
    ) -> None:
        if variant not in DEFAULTS:
            raise ValueError(f"variant must be one of {', '.join(DEFAULTS)}, got {variant!r}")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        chosen = DEFAULTS[variant]
        self.spacings = check_spacings(chosen["spacings"] if spacings is None else spacings)
        composition = chosen["composition"] if composition is None else composition
        if composition not in ("union", "over"):
            raise ValueError(f"composition must be 'union' or 'over', got {composition!r}")
        for name, value in (
            ("layers", layers),
            ("price", price),
            ("area", area),
            ("refine_steps", refine_steps),
        ):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and at least 0, got {value}")
        if not (math.isfinite(tau) and tau > 0):
            raise ValueError(f"tau must be finite and above 0, got {tau}")
        check_cutting(patch, stride, min_tissue, max_patches)
        self.goal = Objective(
            kind,
            chosen["layers"] if layers is None else layers,
            area,
            chosen["price"] if price is None else price,
        )
        self.module = ASR(self.spacings, composition=composition, tau=tau, **chosen["network"])
        self.refine_steps = refine_steps
        self.cutting = {
            "patch": patch,
            "stride": stride,
            "min_tissue": min_tissue,
            "max_patches": max_patches,
        }
        self.tree: Tree | None = None

    @property
    def attribute_names(self) -> list[str]:
        """Names of the attributes, 12 a scale."""
        return attribute_names(self.spacings)

    def load(self, data: Data | npt.NDArray[Any] | Tensor) -> PatchSet:
        """Patches of a folder, or of pictures [N,3,H,W] in [0,1]."""
        if isinstance(data, PatchSet):
            return data
        if isinstance(data, (str, Path)):
            return load_folder(data, **self.cutting)  # type: ignore[arg-type]
        return from_arrays(data)

    def fit(self, data: Data, run_dir: str | Path, *, crop: int | None = None, **options: Any) -> ASRFit:
        """Train network and tree; write model, metrics, attributes and report into `run_dir`.

        Parameters
        ----------
        data : path or PatchSet
            A folder as `medkernels.zoo.asr.data` describes it, or patches.
        run_dir : path
        crop : int, optional
            Train on random crops of this size; whole patches if None.
        **options
            Of `FitOptions`; here 60 epochs in batches of 12 at a learning rate that falls from 0.002, ended
            after 15 epochs without gain.

        Returns
        -------
        ASRFit

        Raises
        ------
        FileNotFoundError, NotADirectoryError, ValueError
            As `load_folder` and `FitOptions`.
        """
        settings = FitOptions(**(TRAINING | options))
        patches, folder = self.load(data), Path(run_dir)
        if crop is not None and not 1 <= crop <= min(patches.pixels.shape[1:3]):
            raise ValueError(f"crop must lie between 1 and the patch size, got {crop}")
        split = split_patches(patches, settings.seed)
        result = self.train_network(patches, split["train"], split["valid"], folder, settings, crop=crop)
        metrics: dict[str, Any] = {
            "cases": len(patches.cases),
            "patches": len(patches),
            "skipped_files": len(patches.skipped),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
        }
        report, model = folder / "report.html", folder / "model"
        done = ASRFit(metrics, report, model, result.seconds, result.rank, patches.skipped)
        if result.rank == 0:
            self._finish(patches, split, result.history, done)
        return done

    def train_network(
        self,
        patches: PatchSet,
        train: npt.NDArray[Any],
        valid: npt.NDArray[Any],
        run_dir: Path,
        options: FitOptions,
        *,
        crop: int | None = None,
    ) -> FitResult:
        """Train the network alone, on some patches, and keep the weights that do best on others."""
        steps = options.max_epochs * math.ceil(len(train) / options.batch_size)
        shown = Patches(patches, train, turn=True, crop=crop)
        return fit(
            self.module, shown, Patches(patches, valid, turn=False), run_dir, options, loss=self._loss(steps)
        )

    def attributes(self, data: Data | npt.NDArray[Any] | Tensor) -> npt.NDArray[np.float64]:
        """Attributes [cases, 36] of every case, as the network sees it."""
        patches = self.load(data)
        return self._judge(patches, np.arange(len(patches)))[1]

    def predict(
        self, inputs: Data | npt.NDArray[Any] | Tensor, out_dir: str | Path | None = None
    ) -> dict[str, Any]:
        """Explain images: ellipses, attributes and, if a tree was learned, the class of each case.

        Parameters
        ----------
        inputs : path, PatchSet or pictures [N,3,H,W] in [0,1]
        out_dir : path, optional
            Where to write ``ellipses.csv`` (every ellipse that changes the picture visibly, in image
            coordinates), ``attributes.csv`` (a row a case), ``patches.csv`` (a row a patch) and pictures of
            outlines.

        Returns
        -------
        dict
            ``cases``, ``attribute_names``, ``attributes`` [cases, 36], ``patch_attributes`` [N, 36],
            ``case_of`` [N], ``images`` and ``corners`` of the patches, ``mse`` [N], ``ellipses`` (a table of
            arrays), ``classes`` (names of the predicted classes, or None), ``skipped`` files and ``files``
            written.
        """
        patches = self.load(inputs)
        cells: list[list[npt.NDArray[np.float64]]] = []
        errors: list[float] = []
        table: dict[str, list[Any]] = {name: [] for name in ELLIPSE_COLUMNS}
        written: list[str] = []
        for indices, images, explanation in self._explanations(
            patches, np.arange(len(patches)), self.refine_steps
        ):
            size = (images.shape[2], images.shape[3])
            picture = self.module.render(explanation, size)
            errors.extend(reconstruction_metrics(picture, images)["mse"].tolist())
            cells.append(cell_tables(explanation))
            for row, index in enumerate(indices):
                found = outlines(self.module, pick(explanation, row), size, [(0, 0)])
                list_ellipses(table, patches, int(index), self.spacings, found)
                if out_dir is not None and index < PICTURES:
                    name = f"outlines-{index:04d}.png"
                    every = Outlines(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
                    figure = draw_outlines(to_picture(images[row]), every)
                    with replacing(Path(out_dir) / name) as temporary:
                        figure.savefig(temporary, format="png", dpi=150)
                    written.append(name)
        stacked = [np.concatenate(parts) for parts in zip(*cells, strict=True)]
        per_case = self._case_features(patches, stacked)
        result: dict[str, Any] = {
            "cases": list(patches.cases),
            "attribute_names": self.attribute_names,
            "attributes": per_case,
            "patch_attributes": np.stack(
                [case_attributes([t[i] for t in stacked]) for i in range(len(patches))]
            ),
            "case_of": patches.case_of,
            "images": list(patches.images),
            "corners": patches.corners,
            "mse": np.array(errors),
            "ellipses": {name: np.array(values) for name, values in table.items()},
            "classes": [self.tree.classes[n] for n in self.tree.predict(per_case)] if self.tree else None,
            "skipped": [list(entry) for entry in patches.skipped],
        }
        if out_dir is not None:
            written += write_tables(Path(out_dir), result)
        return result | {"files": written}

    def evaluate(self, data: Data) -> dict[str, float]:
        """Mean "mse", "mae" and "ssim" of reconstructions and, with classes, "macro_f1" and "accuracy".

        Parameters
        ----------
        data : path or PatchSet

        Raises
        ------
        ValueError
            If the data's classes are not those the tree knows.
        """
        patches = self.load(data)
        metrics, features = self._judge(patches, np.arange(len(patches)))
        named = patches.labels >= 0
        if self.tree is not None and named.any():
            unknown = sorted(set(patches.classes) - set(self.tree.classes))
            if unknown:
                raise ValueError(
                    f"data: the tree knows no class {', '.join(unknown)}, only {', '.join(self.tree.classes)}"
                )
            numbers = np.array([self.tree.classes.index(name) for name in patches.classes])
            truth, predicted = numbers[patches.labels[named]], self.tree.predict(features[named])
            metrics |= {
                "macro_f1": macro_f1(truth, predicted),
                "accuracy": float((truth == predicted).mean()),
            }
        return metrics | {
            "cases": len(patches.cases),
            "patches": len(patches),
            "skipped_files": len(patches.skipped),
        }

    def demo(self, out_dir: str | Path) -> Path:
        """Train on a real immunohistochemistry image and write ``report.html``; takes about three minutes.

        The system is trained in place and saved in ``out_dir/model``.
        """
        from medkernels.zoo.asr.demo import run_demo

        return run_demo(Path(out_dir), self)

    def explain(self, images: Tensor, refine_steps: int | None = None) -> Explanation:
        """Ellipses of images [B,3,H,W] in [0,1]; refined by so many steps, ``self.refine_steps`` if None."""
        steps = self.refine_steps if refine_steps is None else refine_steps
        self.module.eval()
        return refine(self.module, images, self.goal, steps)[0]

    def export_state(self) -> dict[str, Any]:
        """The tree."""
        return {} if self.tree is None else {"tree": self.tree.export()}

    def import_state(self, state: dict[str, Any]) -> None:
        """Take back the tree."""
        self.tree = load_tree(state["tree"]) if "tree" in state else None

    def _loss(self, steps: int) -> Callable[[nn.Module, Tensor], dict[str, Tensor]]:
        # In validation the full price is charged, so that epochs before and after its rise can be compared.
        def loss(module: nn.Module, batch: Tensor) -> dict[str, Tensor]:
            picture, explanation = module(batch)
            done = float(self.module.steps) / steps
            rising = min(1.0, max(0.0, (done - PRICE_STARTS) / (PRICE_FULL - PRICE_STARTS)))
            charge = rising if module.training else 1.0
            return objective(self.module, picture, explanation, batch, self.goal, charge)

        return loss

    def _explanations(
        self, patches: PatchSet, indices: npt.NDArray[Any], refine_steps: int
    ) -> Iterator[tuple[npt.NDArray[Any], Tensor, Explanation]]:
        """Explain patches a few at a time, with a bar."""
        self.module.eval()
        device = next(self.module.parameters()).device
        parts = [indices[first : first + LOOKED_AT] for first in range(0, len(indices), LOOKED_AT)]
        for part in track(
            parts, "explaining", console=console, disable=not console.is_interactive, transient=True
        ):
            images = patches.batch(part).to(device)
            with torch.no_grad():
                yield part, images, self.explain(images, refine_steps)

    def _judge(
        self, patches: PatchSet, indices: npt.NDArray[Any]
    ) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
        """Mean reconstruction metrics of some patches, and the attributes of their cases in order."""
        sums: dict[str, list[Tensor]] = {}
        cells: list[list[npt.NDArray[np.float64]]] = []
        for _, images, explanation in self._explanations(patches, indices, 0):
            picture = self.module.render(explanation, (images.shape[2], images.shape[3]))
            for name, values in reconstruction_metrics(picture, images).items():
                sums.setdefault(name, []).append(values)
            cells.append(cell_tables(explanation))
        stacked = [np.concatenate(parts) for parts in zip(*cells, strict=True)]
        features = self._case_features(patches, stacked, indices)
        return {name: float(torch.cat(values).mean()) for name, values in sums.items()}, features

    def _case_features(
        self,
        patches: PatchSet,
        cells: Sequence[npt.NDArray[np.float64]],
        indices: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Attributes [cases,36] of the cases that the patches belong to, ascending."""
        owners = patches.case_of if indices is None else patches.case_of[indices]
        return np.stack(
            [case_attributes([table[owners == case] for table in cells]) for case in np.unique(owners)]
        )

    def _finish(
        self, patches: PatchSet, split: Mapping[str, npt.NDArray[Any]], history: list[Row], done: ASRFit
    ) -> None:
        """Learn the tree, judge on the held-out cases and write everything."""
        features = self.attributes(patches)
        for name, part in (("train", split["learn"]), ("held_out", split["held_out"])):
            if len(part):
                done.metrics[name] = self._judge(patches, part)[0]
        if patches.labelled:
            known = np.flatnonzero(patches.labels >= 0)
            held_out = np.unique(patches.case_of[split["held_out"]])
            learned = np.setdiff1d(known, held_out)
            self.tree = learn_tree(
                features[learned], patches.labels[learned], self.attribute_names, patches.classes
            )
            for name, cases in (("train", learned), ("held_out", np.intersect1d(known, held_out))):
                if len(cases):
                    predicted = self.tree.predict(features[cases])
                    done.metrics[name]["macro_f1"] = macro_f1(patches.labels[cases], predicted)
        self.save_pretrained(done.model)
        folder = done.report.parent
        write_text(folder / "metrics.json", json.dumps(done.metrics, indent=2) + "\n")
        write_csv(
            folder / "attributes.csv",
            ["case", *self.attribute_names],
            [[case, *row] for case, row in zip(patches.cases, features.tolist(), strict=True)],
        )
        shown = split["held_out"] if len(split["held_out"]) else split["valid"]
        write_report(self, patches, shown, features, history, done.metrics, done.report)


def check_spacings(spacings: Sequence[int]) -> tuple[int, ...]:
    """Spacings as an ascending tuple.

    Raises
    ------
    ValueError
        If they are not ascending integers from 2 on.
    """
    numbers = tuple(spacings)
    whole = all(isinstance(r, int) and not isinstance(r, bool) and r >= 2 for r in numbers)
    if not numbers or not whole or list(numbers) != sorted(set(numbers)):
        raise ValueError(f"spacings must be ascending integers of at least 2, got {list(numbers)}")
    return numbers


def split_patches(patches: PatchSet, seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Patch indices: "held_out" cases (only where there are classes to judge), "valid" and "train" cases.

    "learn" is "train" and "valid" together. A single case is split by patches; a single patch serves as both.
    """
    everything = np.arange(len(patches.cases))
    rest, held_out = (
        split_cases(patches.labels, HELD_OUT, seed) if patches.labelled else (everything, everything[:0])
    )
    train, valid = split_cases(patches.labels, VALIDATION, seed + 1, among=rest)
    parts = {
        name: patches.of_cases(cases)
        for name, cases in (("train", train), ("valid", valid), ("held_out", held_out))
    }
    learn = patches.of_cases(rest)
    if not len(parts["valid"]):
        mixed = np.random.default_rng(seed).permutation(learn)
        count = max(1, round(VALIDATION * len(mixed)))
        parts["valid"] = np.sort(mixed[:count])
        parts["train"] = np.sort(mixed[count:]) if len(mixed) > 1 else learn
    return parts | {"learn": learn}
