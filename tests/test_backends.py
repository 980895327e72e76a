"""Build information, threads, signals and memory limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import medkernels as mk
from medkernels import _backends, _checks, _core


def test_info_is_plain_data() -> None:
    info = json.loads(json.dumps(mk.info()))
    assert info["version"] == mk.__version__ == _core.version
    assert info["frameworks"]["numpy"] == np.__version__
    assert info["simd"] in {"AVX-512", "AVX2+FMA", "SSE2", "NEON", "scalar"}
    assert info["threads"] == mk.get_num_threads() >= 1


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_every_instruction_set_draws_the_same(level: str) -> None:
    """Runs the parity tests again with the run-time choice of instructions lowered."""
    environment = dict(os.environ, MEDKERNELS_SIMD=level, HYPOTHESIS_PROFILE="quick")
    tests = ["tests/render/test_ellipses.py", "-k", "definition"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads() -> None:
    before = mk.get_num_threads()
    try:
        mk.set_num_threads(3)
        assert mk.get_num_threads() == 3
    finally:
        mk.set_num_threads(before)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        mk.set_num_threads(0)
    with pytest.raises(TypeError, match="count must be an integer, not float"):
        mk.set_num_threads(2.0)  # type: ignore[arg-type]


def test_threadpoolctl_sets_the_threads() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(limits=1):
        assert mk.get_num_threads() == 1


def test_environment_sets_the_threads() -> None:
    command = [sys.executable, "-c", "import medkernels as mk; print(mk.get_num_threads())"]
    done = subprocess.run(
        command, env=dict(os.environ, OMP_NUM_THREADS="3"), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "3"


LONG_CALL = """
import numpy as np, medkernels as mk
rng = np.random.default_rng(0)
k = 4000
print("drawing", flush=True)
try:
    mk.render.ellipses(rng.uniform(0, 2000, (1, k, 2)), np.full((1, k, 2), 900.0), np.zeros((1, k)),
                       np.ones((1, k, 1)), np.zeros((1, 1)), (2000, 2000))
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_stops_a_long_call() -> None:
    """The call would take half a minute; an interrupt must end it long before."""
    with subprocess.Popen([sys.executable, "-c", LONG_CALL], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "drawing"
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert output.strip() == "stopped"


def test_gil_is_released() -> None:
    import threading

    count = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal count
        while not done.is_set():
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        before = count
        k = 2000
        mk.render.ellipses(
            np.full((1, k, 2), 300.0), np.full((1, k, 2), 200.0), np.zeros((1, k)), np.ones((1, k, 1)),
            np.zeros((1, 1)), (600, 600))  # fmt: skip
        assert count - before > 3
    finally:
        done.set()
        thread.join()


def test_memory_is_checked_before_allocating() -> None:
    available = _backends.available_memory()
    assert available is not None
    assert available > 0
    _checks.check_memory("size", available // 2, available)
    with pytest.raises(ValueError, match=r"size is too large: it needs about .* GiB"):
        _checks.check_memory("size", available * 2, available)


def test_missing_triton_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(mk.BackendError, match="ellipses on a GPU needs torch, which is not installed"):
        _backends.triton_kernels("ellipses")


def test_ceilings_are_positive() -> None:
    assert _core.copy_bandwidth(8, 2) > 0
    assert _core.fma_rate(0.02, False) > 0
    assert _core.fma_rate(0.02, True) > 0
