"""Compile the Triton kernels of attention for a GPU that need not be there; print what each one uses.

Runs in a process of its own, because kernels that run in the interpreter cannot be compiled. The ops are
called on tensors of the CPU; whatever they launch is compiled with the types and constants of the launch.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import torch
import triton
from medkernels.kernels import channel, knn_memory, prob_sparse, set_attention
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from tests.render.compile_triton_kernels import usage

TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


def compile_launch(kernel: JITFunction, capability: int, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """As the launcher does: integers that are 1 are constants, multiples of 16 are known as such."""
    options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
    given = inspect.signature(kernel.fn).bind(*args, **kwargs).arguments
    signature, constants, aligned = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        value = given[parameter.name]
        multiple = isinstance(value, torch.Tensor)
        if parameter.is_constexpr or (type(value) is int and value == 1):
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        elif isinstance(value, int):
            signature[parameter.name] = "i32" if value < 2**31 else "i64"
            multiple = value % 16 == 0
        else:
            signature[parameter.name] = "fp32"
        if multiple:
            aligned[(place,)] = [["tt.divisibility", 16]]
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )
    choices = {name: value for name, value in constants.items() if name.isupper()}
    memory = {"dynamic_shared": compiled.metadata.shared}  # which the launch asks for
    return {"kernel": kernel.fn.__name__, **choices, **usage(compiled.asm["cubin"]), **memory}


def call_all(dtype: torch.dtype, dims: int, value_dims: int) -> None:
    """Forward and backward passes; long loops are shared out."""

    def zeros(*lengths: tuple[int, int]) -> list[torch.Tensor]:
        return [torch.zeros(2, 2, *shape, dtype=dtype) for shape in lengths]

    q, k, v, grad = zeros((40, dims), (3000, dims), (3000, value_dims), (40, value_dims))
    for op, options in ((set_attention, (0.3,)), (knn_memory, (33, 0.3))):
        op.backward(grad, [q, k, v], op.forward([q, k, v], options), options)
    prob_sparse.rate_all(k, k, 45, 2**40, 3000)
    results = channel.forward([k, k, k], (0.3,))
    channel.backward(k, [k, k, k], results, (0.3,))


def main(capability: int, cases: list[str]) -> None:
    """Cases are written as a dtype, D and E: float32,32,24."""
    results: dict[str, dict[str, Any]] = {}

    def run(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        found = compile_launch(kernel, capability, args, kwargs)
        results[json.dumps(found)] = {"dtype": name, **found}

    JITFunction.run = run
    for case in cases:
        name, dims, value_dims = case.split(",")
        call_all(getattr(torch, name), int(dims), int(value_dims))
    print(json.dumps(list(results.values())))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
