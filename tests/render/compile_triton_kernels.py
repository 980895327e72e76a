"""Compile the Triton kernels of the renderer for a GPU that need not be there; print what each one uses.

Runs in a process of its own, because kernels that run in the interpreter cannot be compiled.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from medkernels.kernels import (
    quadric_checks,
    quadric_frames,
    quadric_pixels,
    quadric_pixels_backward,
    quadric_tiles,
)
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = {
    "slots": "*i64",
    "bounds": "*i32",
    "primitives": "*i32",
    "boxes": "*i32",
    "ends": "*i64",
    "counts": "*i64",
    "state": "*i64",
    "flag": "*i64",
    "keys": "*i32",
    "sums": "*fp64",
}
TENSORS = {
    "centers",
    "axes",
    "turns",
    "colors",
    "opacity",
    "background",
    "image",
    "grad_image",
    "grad_background",
}
COMPUTED = {"frames", "rows", "values", "d_centers", "d_axes", "d_turns", "d_colors", "d_opacity"}
# Integers that equal 1 become constants at launch: those of one flat grey image, a smallest case.
ONES = (
    "channels",
    "depth",
    "tiles_x",
    "tiles_y",
    "tiles_z",
    "background_b",
    "background_c",
    "groups",
    "total",
    "per_image",
)
FLOATS = {"reach", "reach_squared", "reach_squared_rest", "sharpness", "sharpness_rest"}


def signature(kernel: triton.JITFunction, choices: dict[str, int | bool], dtype: str) -> dict[str, str]:
    """Types of the arguments by their names; the only integers are sizes."""
    types = {}
    for name in kernel.arg_names:
        if name in choices:
            types[name] = "constexpr"
        elif name in POINTERS:
            types[name] = POINTERS[name]
        elif name in FLOATS:
            types[name] = "fp32"
        elif name in COMPUTED:
            types[name] = "*fp64" if dtype == "fp64" else "*fp32"
        else:
            types[name] = f"*{dtype}" if name in TENSORS else "i32"
    return types


def compile_kernel(
    kernel: triton.JITFunction,
    choices: dict[str, int | bool],
    warps: int,
    capability: int,
    dtype: str = "fp32",
    smallest: bool = False,
) -> dict[str, int | str]:
    if smallest:
        choices = choices | {name: 1 for name in ONES if name in kernel.arg_names}
    types = signature(kernel, choices, dtype)
    # What the launcher finds out about torch tensors: their memory starts at a multiple of 16 bytes.
    aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(types.values()) if t.startswith("*")}
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=types, constexprs=choices, attrs=aligned),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps, "enable_fp_fusion": True},
    )
    return {"kernel": kernel.__name__, "dtype": dtype, **choices, **usage(compiled.asm["cubin"])}


def usage(cubin: bytes) -> dict[str, int]:
    """Registers, stack (spills) and shared memory, as cuobjdump tells them; only the size without it."""
    shipped = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    tool = str(shipped) if shipped.exists() else shutil.which("cuobjdump")
    found = {"bytes": len(cubin)}
    if tool is not None:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True).stdout
        found |= {k.lower(): int(v) for k, v in re.findall(r"(REG|STACK|SHARED):(\d+)", text)}
    return found


def main(capability: int, dtypes: list[str]) -> None:
    results = []
    for dim, tile, composition, channels, dtype in (
        (2, (16, 16, 1), "union", 3, "fp32"),
        (2, (16, 16, 1), "over", 1, "bf16"),
        (3, (8, 8, 4), "over", 4, "fp32"),
        (3, (8, 8, 4), "union", 2, "fp64"),
    ):
        if dtype not in dtypes:
            continue
        place = {"DIM": dim, "ROW": 8 if dim == 2 else 16, "TX": tile[0], "TY": tile[1], "TZ": tile[2]}
        look = {**place, "UNION": composition == "union", "SIGMOID": channels > 1, "CHANNELS": channels}
        for kernel, choices, warps in (
            (quadric_frames.set_up, {**place, "BLOCK": 64}, 2),
            (quadric_pixels.render, look, 1),
            (quadric_pixels_backward.render_backward, {**look, "FLAT": channels > 2}, 1),
            (quadric_frames.chain_rule, {"DIM": dim, "CHANNELS": channels, "BLOCK": 64}, 2),
        ):
            results.append(compile_kernel(kernel, choices, warps, capability, dtype, smallest=channels == 1))
    for smallest in (False, True):
        for kernel, choices, warps in (
            (quadric_tiles.emit, {"STEP": 32}, 1),
            (quadric_tiles.sum_slots, {"STEP": 32, "COLUMNS": 16}, 1),
            (quadric_checks.flag_not_finite, {"BLOCK": 4096}, 4),
        ):
            results.append(compile_kernel(kernel, choices, warps, capability, smallest=smallest))
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
