"""Compile the Triton kernels of segmentation for a GPU that need not be there; print what each one uses.

Runs in a process of its own, because kernels that run in the interpreter cannot be compiled.
"""

from __future__ import annotations

import json
import sys

import triton
from medkernels.kernels import upsample_argmax, upsample_dice_ce
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.render.compile_triton_kernels import usage

WEIGHTS = [f"{axis}_{side}" for axis in "xyz" for side in ("low", "high")]
PLACES = [f"{axis}_{table}" for axis in "xyz" for table in ("first", "starts")]
# Integers that equal 1 become constants at launch: those of a picture of one row, a smallest case.
ONES = ("classes", "depth", "height", "blocks", "stretches", "planes", "rows", "groups", "to_height")


def compile_kernel(
    kernel: triton.JITFunction,
    choices: dict[str, int],
    dtype: str,
    capability: int,
    fuse: bool = True,
    smallest: bool = False,
) -> dict[str, int | str]:
    computed = "*fp64" if dtype == "fp64" else "*fp32"
    types = dict.fromkeys(WEIGHTS, computed) | dict.fromkeys(PLACES, "*i32") | {"logits": f"*{dtype}"}
    types |= dict.fromkeys(("sums", "factors", "added", "gradient"), computed)
    types |= {"labels": "*u8" if kernel.__name__ == "choose" else "*i32", "entropies": "*fp64"}
    types |= {"results": "*fp64" if kernel.__name__ == "class_sums" else computed}
    if smallest:
        choices = choices | {name: 1 for name in ONES if name in kernel.arg_names}
    types |= dict.fromkeys(choices, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    # What the launcher finds out about torch tensors: their memory starts at a multiple of 16 bytes.
    aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(signature.values()) if t.startswith("*")}
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=choices, attrs=aligned),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 4, "enable_fp_fusion": fuse},
    )
    fused = compiled.asm["ptx"].count("fma.rn")
    return {"kernel": kernel.__name__, "dtype": dtype, "fused": fused, **usage(compiled.asm["cubin"])}


def main(capability: int, dtypes: list[str]) -> None:
    block = {"BLOCK": upsample_argmax.BLOCK}
    tiles = {**block, "TILES": upsample_dice_ce.TILES}
    nodes = {"NODES": upsample_dice_ce.NODES, "OUTPUTS": upsample_dice_ce.OUTPUTS}
    results = []
    for dtype in dtypes:
        small = dtype == "fp32"
        results += [
            compile_kernel(upsample_argmax.choose, block, dtype, capability, fuse=False),
            compile_kernel(upsample_argmax.choose, block, dtype, capability, fuse=False, smallest=small),
            compile_kernel(upsample_dice_ce.log_sums, block, dtype, capability),
            compile_kernel(upsample_dice_ce.class_sums, tiles, dtype, capability, smallest=small),
            compile_kernel(upsample_dice_ce.offsets, block, dtype, capability),
            compile_kernel(upsample_dice_ce.carry_back, nodes, dtype, capability),
            compile_kernel(upsample_dice_ce.carry_back, nodes, dtype, capability, smallest=small),
        ]
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
