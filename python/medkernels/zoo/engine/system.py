"""What every zoo system offers, and how it is saved and loaded."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol, runtime_checkable

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors.torch import load_model
from torch import nn
from typing_extensions import Self

from medkernels.zoo.engine.checkpoint import write_weights
from medkernels.zoo.engine.files import write_text

WEIGHTS_FILE = "model.safetensors"
STATE_FILE = "state.json"


@dataclass(frozen=True)
class Fitted:
    """What `fit` of a system returns.

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
    skipped : tuple of (name, reason)
        What the data held that could not be used.
    """

    metrics: dict[str, Any]
    report: Path
    model: Path
    seconds: float
    rank: int
    skipped: tuple[tuple[str, str], ...] = ()


@runtime_checkable
class System(Protocol):
    """A published system, trained, applied, judged, shown, saved and loaded like all the others."""

    def fit(self, data: Any, run_dir: str | Path) -> Any:
        """Train on `data`; checkpoints, logs and the trained system go to `run_dir`."""

    def predict(self, inputs: Any) -> Any:
        """Apply the trained system."""

    def evaluate(self, data: Any) -> dict[str, float]:
        """Metrics on `data`, by name."""

    def demo(self, out_dir: str | Path) -> Path:
        """Show the whole job on a small data set; returns the path of the report."""

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Write the trained system to a folder."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> Any:
        """Load a trained system from a folder or the hub."""


class HubSystem(PyTorchModelHubMixin):
    """Mix-in that gives a system ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    A saved system is a folder: ``config.json`` (the arguments of ``__init__``, which must be JSON
    values), ``model.safetensors`` (the weights of ``self.module``), ``state.json`` (what
    ``export_state`` returns) and ``README.md`` (the model card). Nothing in it is pickled, so loading
    runs no code from it.

    The class sets ``self.module`` in ``__init__``; whatever was fitted beside the network (a decision
    tree, class names) goes through ``export_state`` and ``import_state``. A system in which no weights are
    learned says ``learned = False``: it has no ``module``, is saved without weights, and can be applied as
    it is created.
    """

    learned: ClassVar[bool] = True
    module: nn.Module

    def export_state(self) -> dict[str, Any]:
        """JSON-ready state beside the network's weights; empty unless overridden."""
        return {}

    def import_state(self, state: dict[str, Any]) -> None:
        """Take back what `export_state` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} has no place for the saved state {sorted(state)}")

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the system to a folder; files already there are replaced once all are written.

        Parameters
        ----------
        save_directory : path
            The folder; created if missing.
        **options
            As in huggingface_hub: ``push_to_hub``, ``repo_id`` and others.

        Returns
        -------
        str or None
            The address of the commit if it was pushed to the hub.

        Raises
        ------
        OSError
            If a file cannot be written; what was in the folder stays.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
            options.setdefault("repo_id", folder.name)
            address: str | None = super().save_pretrained(temporary, **options)
            for path in Path(temporary).iterdir():
                os.replace(path, folder / path.name)
        return address

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The hub's model card: the ``card.md`` beside the system's module, under the hub's header."""
        path = Path(inspect.getfile(type(self))).parent / "card.md"
        if not path.is_file():
            return super().generate_model_card(*args, **kwargs)
        header = self._hub_mixin_info.model_card_data.to_yaml()
        return ModelCard(f"---\n{header}\n---\n\n{path.read_text(encoding='utf-8')}")

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.learned:
            write_weights(save_directory / WEIGHTS_FILE, self.module)
        write_text(save_directory / STATE_FILE, json.dumps(self.export_state(), indent=2) + "\n")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        **options: Any,
    ) -> Self:
        def fetch(name: str) -> Path:
            if Path(model_id).is_dir():
                path = Path(model_id) / name
                if not path.is_file():
                    raise FileNotFoundError(f"{model_id} is not a saved {cls.__name__}: {name} is missing")
                return path
            return Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=name,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            )

        weights, state = fetch(WEIGHTS_FILE) if cls.learned else None, fetch(STATE_FILE)
        system = cls(**options)
        if weights is not None:
            load_model(system.module, weights, device=map_location)
            system.module.to(map_location).eval()
        system.import_state(json.loads(state.read_text(encoding="utf-8")))
        return system
