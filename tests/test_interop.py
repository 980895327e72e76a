"""Arrays of every framework in and out, without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medkernels import _interop
from tests.foreign import Foreign


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_views_share_memory() -> None:
    base = np.arange(12.0).reshape(3, 4)
    assert address(_interop.numpy_view(base, "x")) == address(base)
    tensor = torch.arange(12.0)
    assert address(_interop.numpy_view(tensor.requires_grad_(), "x")) == tensor.data_ptr()
    assert address(_interop.numpy_view(Foreign(base), "x")) == address(base)
    assert address(_interop.numpy_view(memoryview(base), "x")) == address(base)


def test_jax_view_shares_memory() -> None:
    jax = pytest.importorskip("jax")
    array = jax.numpy.arange(1024.0)
    assert address(_interop.numpy_view(array, "x")) == array.unsafe_buffer_pointer()


def test_results_share_memory() -> None:
    result = np.arange(6.0)
    assert _interop.restorer(torch.zeros(1))(result).data_ptr() == address(result)
    assert _interop.restorer(np.zeros(1))(result) is result
    assert address(_interop.restorer(Foreign(result))(result).array) == address(result)


def test_copies_only_when_it_must() -> None:
    base = np.arange(24.0).reshape(4, 6)
    read_only = base.view()
    read_only.flags.writeable = False
    assert address(_interop.kernel_array(base, np.float64)) == address(base)
    assert address(_interop.kernel_array(read_only, np.float64)) == address(base)
    for other in (base.T, base[:, ::2], base[::-1], base.astype(">f8")):
        ready = _interop.kernel_array(other, np.float64)
        assert ready.flags.c_contiguous
        assert ready.dtype.isnative
        np.testing.assert_array_equal(ready, other)


def test_recognises_frameworks() -> None:
    assert _interop.framework_of(np.zeros(1)) == "numpy"
    assert _interop.framework_of(np.float32(1)) == "numpy"
    assert _interop.framework_of(torch.zeros(1)) == "torch"
    assert _interop.framework_of(torch.nn.Parameter(torch.zeros(1))) == "torch"
    assert _interop.framework_of([1.0, 2.0]) == "python"
    assert _interop.framework_of(Foreign(np.zeros(1))) == "dlpack"


def test_recognises_jax_arrays_and_tracers() -> None:
    jax = pytest.importorskip("jax")
    seen = []
    jax.jit(lambda x: seen.append(_interop.framework_of(x)) or x)(jax.numpy.zeros(2))
    assert [*seen, _interop.framework_of(jax.numpy.zeros(2))] == ["jax", "jax"]


def test_mixing_is_refused() -> None:
    with pytest.raises(TypeError, match="b is a torch array, but a is a numpy array: use one kind"):
        _interop.common_framework({"n": 1.0, "a": np.zeros(1), "b": torch.zeros(1)})
    assert _interop.common_framework({"a": 1.0, "b": [2]}) == "numpy"


@pytest.mark.parametrize(
    "bad", [object(), "text", None, [[1], [1, 2]], np.array(["a"]), np.array([1j]), np.array([True])]
)
def test_not_numbers(bad: Any) -> None:
    with pytest.raises(TypeError, match="x must be an array of numbers"):
        _interop.numpy_view(bad, "x")


def test_foreign_arrays_come_back_in_kind() -> None:
    import medkernels as mk

    arrays = [
        np.full((1, 1, 2), 4.0),
        np.ones((1, 1, 2)),
        np.zeros((1, 1)),
        np.ones((1, 1, 3)),
        np.zeros((1, 3)),
    ]
    image = mk.render.ellipses(*map(Foreign, arrays), (8, 9))
    assert isinstance(image, Foreign)
    np.testing.assert_array_equal(image.array, mk.render.ellipses(*arrays, (8, 9)))
