from typing import Any

version: str
compiler: str
attention: Any
features: Any
points: Any
regions: Any
render: Any
segmentation: Any
topology: Any

def simd_level() -> str: ...
def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def copy_bandwidth(megabytes: int, repeats: int) -> float: ...
def fma_rate(seconds: float, double_precision: bool) -> float: ...
