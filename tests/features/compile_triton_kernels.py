"""Compile the Triton kernels of `match` for a GPU that need not be there; print what each one uses.

Runs in a process of its own, because kernels that run in the interpreter cannot be compiled.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from medkernels.kernels import match
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.render.compile_triton_kernels import usage

POINTERS = {
    "tasks": "*i64",
    "indices": "*i64",
    "margins": "*fp64",
    "nearest": "*i64",
    "distances": "*fp64",
    "seconds": "*fp64",
    "unsure": "*i8",
    "rows": "*i64",
    "bounds": "*i64",
}
BYTES = {"BYTES": True, "NONE": -(2**31)}
NUMBERS = {"BYTES": False, "NONE": float("-inf")}


def compile_kernel(
    kernel: triton.JITFunction,
    choices: dict[str, Any],
    types: dict[str, str],
    capability: int,
    fuse: bool,
    warps: int,
) -> dict[str, int | str]:
    known = POINTERS | types | dict.fromkeys(choices, "constexpr")
    signature = {name: known.get(name, "i32") for name in kernel.arg_names}
    # What the launcher finds out: memory starts at multiples of 16 bytes, rows are padded to 16 numbers.
    aligned = [i for i, (n, t) in enumerate(signature.items()) if t.startswith("*") or n == "width"]
    compiled = triton.compile(
        ASTSource(
            fn=kernel,
            signature=signature,
            constexprs=choices,
            attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
        ),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps, "enable_fp_fusion": fuse},
    )
    fused = compiled.asm["ptx"].count("fma.rn.f64")
    return {"kernel": kernel.__name__, "fused": fused, **types, **usage(compiled.asm["cubin"])}


def main(capability: int, names: list[str]) -> None:
    block = {"ROWS": match.QUERIES, "COLUMNS": match.TARGETS}
    wanted = []
    for kind, dtype, score, depth, warps in (
        (BYTES, "*i8", "*i32", match.DEPTH_BYTES, match.WARPS_BYTES),
        (NUMBERS, "*fp32", "*fp32", match.DEPTH_NUMBERS, match.WARPS_NUMBERS),
    ):
        sets = {"queries": dtype, "targets": dtype, "scores": score, "biases": score}
        choices = {**kind, **block, "DEPTH": depth}
        wanted.append((match.best_scores, choices, sets, True, warps))
    for kind, dtype, score in (
        (BYTES, "*u8", "*i32"),
        (NUMBERS, "*fp32", "*fp32"),
        (NUMBERS, "*fp64", "*fp32"),
    ):
        sets = {"queries": dtype, "targets": dtype, "scores": score}
        choices = {**kind, "ROWS": match.QUERIES}
        wanted.append((match.decide, choices, sets, False, 4))
    sets = {"queries": "*fp64", "targets": "*fp64"}
    wanted.append((match.compare_all, {"COLUMNS": match.TARGETS}, sets, False, 4))
    results = [
        compile_kernel(kernel, choices, types, capability, fuse, warps)
        for kernel, choices, types, fuse, warps in wanted
        if kernel.__name__ in names
    ]
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
