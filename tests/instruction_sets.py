"""The same program with each instruction set that kernels choose from."""

from __future__ import annotations

import os
import subprocess
import sys


def printed_with_each(code: str) -> set[str]:
    """What Python code prints, in a process for each level; levels that the processor lacks are lowered."""
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"MEDKERNELS_SIMD": level},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for level in ("baseline", "avx2", "avx512")
    }
