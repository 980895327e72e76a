"""One sample of a patient: its events, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Sample:
    """Events of one sample, ready for a network.

    Attributes
    ----------
    name : str
    features : float32 [n,F]
        What the network reads of each event.
    labels : int8 [n] or None
        1 for blasts.
    space : float32 [n,G] or None
        Where the k-NN graph is built; `features` if None.
    rows : int64 [n] or None
        Places of the events in the file; all in their order if None.
    total : int or None
        Events in the file.
    part : str or None
        "train", "valid" or "test", where the data say so.
    """

    name: str
    features: Floats
    labels: Labels | None = None
    space: Floats | None = None
    rows: npt.NDArray[np.int64] | None = None
    total: int | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        """Check the arrays."""
        for name, array in (("features", self.features), ("space", self.space)):
            if array is None and name == "space":
                continue
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2:
                raise TypeError(f"{name} of sample {self.name}: want a float32 array [n, channels]")
            if array.shape[1] == 0 or len(array) != len(self.features):
                raise ValueError(
                    f"{name} of sample {self.name}: want {len(self.features)} rows with channels, "
                    f"got shape {array.shape}"
                )
        for name, values in (("labels", self.labels), ("rows", self.rows)):
            if values is not None and values.shape != (len(self.features),):
                raise ValueError(
                    f"{name} of sample {self.name}: want {len(self.features)} values, "
                    f"got shape {values.shape}"
                )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def graph_space(self) -> Floats:
        """Where the k-NN graph is built."""
        return self.features if self.space is None else self.space

    @property
    def events(self) -> int:
        """Events in the file."""
        return len(self) if self.total is None else self.total
