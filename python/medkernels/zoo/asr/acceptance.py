"""The acceptance check on the stand-in: ASR's tree against the same tree on a plain autoencoder's features.

Run it with ``python -m medkernels.zoo.asr.acceptance``; it prints one row a seed.
``--variant structures`` and ``--epochs`` change the network and the training.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.zoo.asr.data import Patches, PatchSet, from_arrays
from medkernels.zoo.asr.model import CODE, ConvAutoencoder
from medkernels.zoo.asr.splits import split_cases
from medkernels.zoo.asr.standin import CLASSES, stand_in
from medkernels.zoo.asr.system import DEFAULTS, ASRSystem
from medkernels.zoo.asr.tree import learn_tree, macro_f1
from medkernels.zoo.engine import FitOptions, fit

PICTURES = 180
HELD_OUT = 0.4
SPACINGS = (8, 16, 24)
EPOCHS = 20  # of 9 steps of 12 pictures
BATCH = 12
RATE = 2e-3


def pooled_code(model: ConvAutoencoder, images: Tensor) -> npt.NDArray[np.float64]:
    """The baseline's features: mean and standard deviation of its code over cells, [N, 2 CODE]."""
    model.eval()
    with torch.no_grad():
        code = model.encode(images).flatten(2)
    return torch.cat([code.mean(dim=2), code.std(dim=2)], dim=1).double().numpy()


def compare(seed: int, work: Path, *, variant: str = "published", epochs: int = EPOCHS) -> dict[str, float]:
    """Train both networks with equal data and steps, and judge the trees on held-out pictures.

    Parameters
    ----------
    seed : of data, weights and batches.
    work : folder for checkpoints.
    variant : of `ASRSystem`.
    epochs : passes over the 108 training pictures, the same for both.

    Returns
    -------
    dict
        Macro-F1 and pixel error of both on held-out pictures, and seconds taken.
    """
    started = time.perf_counter()
    pictures, labels = stand_in(PICTURES, seed)
    patches = from_arrays(pictures, labels, CLASSES)
    learn, held_out = split_cases(labels, HELD_OUT, seed)
    options: dict[str, Any] = {
        "max_epochs": epochs,
        "batch_size": BATCH,
        "lr": RATE,
        "seed": seed,
        "tensorboard": False,
    }
    system = ASRSystem(variant=variant, spacings=SPACINGS, init_seed=seed)
    system.train_network(patches, learn, learn[:BATCH], work / "asr", FitOptions(**options))
    torch.manual_seed(seed)
    baseline = ConvAutoencoder(SPACINGS)
    train_baseline(baseline, patches, learn, work / "baseline", FitOptions(**options))
    features = {
        "asr": system.attributes(patches),
        "baseline": pooled_code(baseline, patches.batch(range(len(patches)))),
    }
    images = patches.batch(held_out)
    with torch.no_grad():
        errors = {
            "asr": F.mse_loss(system.module(images)[0], images),
            "baseline": F.mse_loss(baseline(images), images),
        }
    result: dict[str, float] = {"seed": seed}
    for name, table in features.items():
        names = system.attribute_names if name == "asr" else [f"code_{i}" for i in range(2 * CODE)]
        tree = learn_tree(table[learn], labels[learn], names, CLASSES, seed=seed)
        result[f"{name}_macro_f1"] = macro_f1(labels[held_out], tree.predict(table[held_out]))
        result[f"{name}_mse"] = float(errors[name])
    return result | {"seconds": time.perf_counter() - started}


def train_baseline(
    model: ConvAutoencoder, patches: PatchSet, indices: npt.NDArray[Any], run_dir: Path, options: FitOptions
) -> None:
    """Train the plain autoencoder on pixel error."""

    def loss(module: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(module(batch), batch)}

    train = Patches(patches, indices, turn=True)
    fit(model, train, None, run_dir, options, loss=loss)


def main() -> None:
    """Compare for three seeds and print the table."""
    parser = argparse.ArgumentParser(description="ASR against a plain autoencoder on the stand-in")
    parser.add_argument("--variant", choices=sorted(DEFAULTS), default="published")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    for seed in range(3):
        with tempfile.TemporaryDirectory() as work:
            row = compare(seed, Path(work), variant=given.variant, epochs=given.epochs)
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
