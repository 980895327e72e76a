"""ASR as a zoo system: trained on a folder of histology images, it explains, measures and classifies them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medkernels.zoo import register
from medkernels.zoo.asr.apply import judge, predict
from medkernels.zoo.asr.attributes import attribute_names
from medkernels.zoo.asr.data import Patches, PatchSet, check_cutting, from_arrays, load_folder
from medkernels.zoo.asr.losses import KINDS, Objective, objective
from medkernels.zoo.asr.model import ASR, Explanation
from medkernels.zoo.asr.refine import refine
from medkernels.zoo.asr.report import write_report
from medkernels.zoo.asr.splits import split_patches
from medkernels.zoo.asr.tables import write_csv
from medkernels.zoo.asr.tree import Tree, learn_tree, load_tree, macro_f1
from medkernels.zoo.engine import FitOptions, FitResult, Fitted, HubSystem, fit
from medkernels.zoo.engine.files import write_text
from medkernels.zoo.engine.logs import Row

PAPER = (
    "Autoassociative Learning of Structural Representations for Modeling "
    "and Classification in Medical Imaging, "
    "arXiv 2411.12070"
)
PRICE_STARTS, PRICE_FULL = 0.5, 0.8  # when in training the price of ellipses sets in, as shares of the steps
TRAINING: dict[str, Any] = {
    "max_epochs": 30,
    "batch_size": 12,
    "lr": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 100,
    "patience": 10,
}
EPOCH_STEPS = 50  # least steps of an epoch
CROP = 128
DEFAULTS: dict[str, dict[str, Any]] = {
    "structures": {
        "spacings": (8, 14, 48),
        "composition": "over",
        "layers": 1.0,
        "price": 0.5,
        "network": {"offsets": True, "fading": True, "initial": (0.6, 0.45), "blocks": 2, "top_down": True},
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
    init_seed : int
        Of the network's first weights.
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
        init_seed: int = 0,
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
        with torch.random.fork_rng():
            torch.manual_seed(init_seed)
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

    def fit(self, data: Data, run_dir: str | Path, *, crop: int | None = None, **options: Any) -> Fitted:
        """Train network and tree; write model, metrics, attributes and report into `run_dir`.

        Parameters
        ----------
        data : path or PatchSet
            A folder as `medkernels.zoo.asr.data` describes it, or patches.
        run_dir : path
        crop : int, optional
            Side of the random crops that are trained on; 128, or the whole patch if that is smaller, if None.
        **options
            Of `FitOptions`; here 30 epochs of at least 50 batches of 12, the patches of a small cohort
            recurring in one epoch, at a learning rate that falls from 0.003, ended after 10 epochs without
            gain.

        Returns
        -------
        Fitted

        Raises
        ------
        FileNotFoundError, NotADirectoryError, ValueError
            As `load_folder` and `FitOptions`.
        """
        settings = FitOptions(**(TRAINING | options))
        patches, folder = self.load(data), Path(run_dir)
        side = min(patches.pixels.shape[1:3])
        crop = min(CROP, side) if crop is None else crop
        if not 1 <= crop <= side:
            raise ValueError(f"crop must lie between 1 and the patch size of {side}, got {crop}")
        split = split_patches(patches, settings.seed)
        recurring = math.ceil(EPOCH_STEPS * settings.batch_size / len(split["train"]))
        train = np.tile(split["train"], max(1, recurring))
        result = self.train_network(patches, train, split["valid"], folder, settings, crop=crop)
        metrics: dict[str, Any] = {
            "cases": len(patches.cases),
            "patches": len(patches),
            "skipped_files": len(patches.skipped),
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
        }
        report, model = folder / "report.html", folder / "model"
        done = Fitted(metrics, report, model, result.seconds, result.rank, patches.skipped)
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
        return judge(self, patches, np.arange(len(patches)))[1]

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
        return predict(self, self.load(inputs), None if out_dir is None else Path(out_dir))

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
        metrics, features = judge(self, patches, np.arange(len(patches)))
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

    def _finish(
        self, patches: PatchSet, split: Mapping[str, npt.NDArray[Any]], history: list[Row], done: Fitted
    ) -> None:
        """Learn the tree, judge on the held-out cases and write everything."""
        features = self.attributes(patches)
        for name, part in (("train", split["learn"]), ("held_out", split["held_out"])):
            if len(part):
                done.metrics[name] = judge(self, patches, part)[0]
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
