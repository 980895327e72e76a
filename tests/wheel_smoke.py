"""Try an installed medkernels: every op with NumPy, with torch too when it is there, and `medkernels info`.

Needs NumPy only: ``python tests/wheel_smoke.py`` in the environment to try.
``make wheel`` and cibuildwheel do so.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RED, WHITE = [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]


def ellipses(array: Callable[[Any], Any]) -> Any:
    """A red ellipse on white."""
    import medkernels as mk

    image = mk.render.ellipses(
        array([[[16.0, 12.0]]]),
        array([[[8.0, 4.0]]]),
        array([[0.5]]),
        array([[RED]]),
        array([WHITE]),
        size=(24, 32),
    )
    assert tuple(image.shape) == (1, 3, 24, 32)
    assert np.allclose(plain(image)[0, :, 12, 16], RED, atol=0.01)
    assert np.allclose(plain(image)[0, :, 0, 0], WHITE)
    return image


def ellipsoids(array: Callable[[Any], Any]) -> Any:
    """A red ball on white."""
    import medkernels as mk

    volume = mk.render.ellipsoids(
        array([[[8.0, 6.0, 4.0]]]),
        array([[[3.0, 3.0, 3.0]]]),
        array([[[1.0, 0.0, 0.0, 0.0]]]),
        array([[RED]]),
        array([WHITE]),
        size=(9, 13, 17),
    )
    assert tuple(volume.shape) == (1, 3, 9, 13, 17)
    assert np.allclose(plain(volume)[0, :, 4, 6, 8], RED, atol=0.01)
    assert np.allclose(plain(volume)[0, :, 0, 0, 0], WHITE)
    return volume


#: One call of each public op, by domain and name; each checks its result and returns it.
CALLS = {("render", "ellipses"): ellipses, ("render", "ellipsoids"): ellipsoids}


def plain(array: Any) -> Any:
    """The values, as a NumPy array."""
    return array.detach().numpy() if hasattr(array, "detach") else array


def try_numpy() -> None:
    """Every op with NumPy arrays."""
    for call in CALLS.values():
        assert type(call(np.array)) is np.ndarray


def try_torch() -> None:
    """Every op with torch tensors: the same values, and gradients."""
    torch = importlib.import_module("torch")
    for call in CALLS.values():
        leaves: list[Any] = []

        def leaf(values: Any, leaves: list[Any] = leaves) -> Any:
            leaves.append(torch.tensor(values, dtype=torch.float64, requires_grad=True))
            return leaves[-1]

        result = call(leaf)
        assert np.array_equal(plain(result), call(np.array))
        result.square().sum().backward()
        assert all(bool(torch.isfinite(each.grad).all()) for each in leaves)


def try_command() -> None:
    """`medkernels info`, for people and for machines; other commands say what they lack."""
    command = Path(sysconfig.get_path("scripts")) / "medkernels"
    text = subprocess.run([command, "info"], check=True, capture_output=True, text=True).stdout
    version = importlib.import_module("medkernels").__version__
    assert version in text, text
    found = json.loads(
        subprocess.run([command, "info", "--json"], check=True, capture_output=True, text=True).stdout
    )
    assert found["version"] == version, found
    if importlib.util.find_spec("typer") is None:
        refused = subprocess.run([command, "zoo", "list"], check=False, capture_output=True, text=True)
        assert refused.returncode != 0
        assert "pip install" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr, refused.stderr


def main() -> int:
    """Run everything; any failure ends with a traceback."""
    start = time.perf_counter()
    import medkernels

    seconds = time.perf_counter() - start
    try_numpy()
    with_torch = importlib.util.find_spec("torch") is not None
    if with_torch:
        try_torch()
    else:
        others = {name.partition(".")[0] for name in sys.modules} & {"torch", "triton", "jax", "cupy"}
        assert not others, others
    try_command()
    numpy = np.__version__
    beside = f"torch {sys.modules['torch'].__version__}" if with_torch else "nothing else"
    python = sys.version.split()[0]
    print(f"medkernels {medkernels.__version__} works on Python {python} with NumPy {numpy} and {beside}")
    print(f"import medkernels: {1e3 * seconds:.0f} ms beyond NumPy")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
