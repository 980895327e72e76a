"""Derivatives of births and deaths, in PyTorch and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import medkernels as mk
from tests.topology.clouds import circle, clouds

METRICS = ["euclidean", "manhattan", "chebyshev"]


def generic(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=shape)).requires_grad_()


def finite(diagrams: list[Tensor]) -> Tensor:
    """All births and deaths but the infinite ones."""
    return torch.cat([diagram[torch.isfinite(diagram)] for diagram in diagrams])


def matrix(entries: Tensor) -> Tensor:
    """A matrix of distances from any square matrix."""
    return (entries + entries.T).abs().triu(1) + (entries + entries.T).abs().triu(1).T


@pytest.mark.parametrize("metric", METRICS)
def test_gradcheck_of_points(metric: str) -> None:
    def of_points(points: Tensor) -> Tensor:
        return finite(mk.topology.vietoris_rips(points, max_dim=2, metric=metric))

    assert torch.autograd.gradcheck(of_points, [generic(9, 3)])
    assert torch.autograd.gradgradcheck(of_points, [generic(6, 2)])


def test_gradcheck_of_distances_and_lists() -> None:
    def of_distances(entries: Tensor) -> Tensor:
        return finite(mk.topology.vietoris_rips(distances=matrix(entries), max_dim=2, threshold=2.0))

    assert torch.autograd.gradcheck(of_distances, [generic(7, 7)])
    assert torch.autograd.gradgradcheck(of_distances, [generic(5, 5)])

    def of_lists(*items: Tensor) -> Tensor:
        return torch.cat([finite(item) for item in mk.topology.vietoris_rips(list(items))])

    assert torch.autograd.gradcheck(of_lists, [generic(5, 3), generic(1, 2), generic(6, 2), generic(4, 3)])
    batch = generic(2, 5, 2)
    assert torch.autograd.gradcheck(lambda b: of_lists(*b), [batch])


@given(points=clouds(8), metric=st.sampled_from(METRICS))
def test_gradients_of_points_and_of_their_distances_agree(points: Any, metric: str) -> None:
    """At ties and for degenerate clouds too: what goes to a distance goes to its two points."""
    leaf = torch.from_numpy(points).requires_grad_()
    diagrams, generators = mk.topology.vietoris_rips(leaf, max_dim=2, metric=metric, return_generators=True)
    weights = [torch.linspace(1, 2, 2 * len(d), dtype=torch.float64).reshape(-1, 2) for d in diagrams]
    (found,) = torch.autograd.grad(
        sum(
            (torch.where(torch.isfinite(d), d, 0.0) * w).sum() for d, w in zip(diagrams, weights, strict=True)
        ),
        leaf,
        allow_unused=True,
        materialize_grads=True,
    )
    wanted = torch.zeros_like(leaf)
    for edges, weight in zip(generators, weights, strict=True):
        for row, (w_birth, w_death) in zip(edges.tolist(), weight.tolist(), strict=True):
            for i, j, w in ((*row[:2], w_birth), (*row[2:], w_death)):
                gap = leaf[i].detach() - leaf[j].detach()
                if i == j or not gap.any():
                    continue
                if metric == "euclidean":
                    pull = gap / gap.norm()
                elif metric == "manhattan":
                    pull = gap.sign()
                else:
                    pull = torch.zeros_like(gap)
                    pull[gap.abs().argmax()] = gap[gap.abs().argmax()].sign()
                wanted[i] += w * pull
                wanted[j] -= w * pull
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_has_no_derivative_passes_none() -> None:
    """Whatever arrives for births of components and for deaths that never come, even NaN."""
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    components, loops = mk.topology.vietoris_rips(points, threshold=1.0)
    assert components.tolist() == [[0, torch.inf], [0, torch.inf]]
    assert loops.shape == (0, 2)
    components.square().sum().backward()
    assert points.grad is not None
    assert points.grad.tolist() == [[0, 0]] * 3
    components, _ = mk.topology.vietoris_rips(points)
    (grad,) = torch.autograd.grad(
        (components * torch.tensor([[torch.nan, 2.0], [1.0, torch.nan]])).sum(), points
    )
    # One of the two equal points is chosen.
    assert grad[2].tolist() == [1.2, 1.6]
    assert grad[:2].sum(0).tolist() == [-1.2, -1.6]


def test_tiny_and_huge_edges_have_unit_gradients() -> None:
    for scale in (1e-140, 1e140):
        points = (scale * torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)).requires_grad_()
        (components,) = mk.topology.vietoris_rips(points, max_dim=0)
        (grad,) = torch.autograd.grad(components[0, 1], points)
        torch.testing.assert_close(grad[1], torch.tensor([0.6, 0.8], dtype=torch.float64))


def test_gradients_do_not_depend_on_threads() -> None:
    batch = generic(4, 60, 3)
    before = mk.get_num_threads(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            torch.set_num_threads(threads)
            loss = sum(finite(item).square().sum() for item in mk.topology.vietoris_rips(batch, max_dim=2))
            found.append(torch.autograd.grad(loss, batch)[0])
    finally:
        mk.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_opcheck() -> None:
    mk.topology.vietoris_rips(generic(4, 2))
    operator = torch.ops.medkernels.vietoris_rips.default
    torch.library.opcheck(operator, ([generic(8, 3), generic(5, 2)], "points", "euclidean", 2, float("inf")))
    distances = matrix(generic(7, 7)).detach().requires_grad_()
    torch.library.opcheck(operator, ([distances], "distances", "euclidean", 1, 1.5))


def test_compile_without_graph_break() -> None:
    def loss(points: Tensor) -> Tensor:
        components, loops = mk.topology.vietoris_rips(points)
        deaths = torch.where(torch.isfinite(components[:, 1]), components[:, 1], 0.0)
        return deaths.square().sum() + (loops[:, 1] - loops[:, 0]).sum()

    points = generic(10, 2)
    wanted = loss(points)
    found = torch.compile(loss, fullgraph=True, backend="aot_eager")(points)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, points), torch.autograd.grad(wanted, points))


def test_same_numbers_as_numpy() -> None:
    batch = generic(3, 20, 2)
    for dtype in (torch.float32, torch.float64):
        tensors = batch.detach().to(dtype)
        ours, edges = mk.topology.vietoris_rips(tensors, return_generators=True)
        wanted, wanted_edges = mk.topology.vietoris_rips(tensors.numpy(), return_generators=True)
        for item, item_edges, plain, plain_edges in zip(ours, edges, wanted, wanted_edges, strict=True):
            for a, b, c, d in zip(item, item_edges, plain, plain_edges, strict=True):
                assert a.dtype == dtype
                assert b.dtype == torch.int64
                np.testing.assert_array_equal(a.numpy(), c)
                np.testing.assert_array_equal(b.numpy(), d)
    assert mk.topology.vietoris_rips(batch[:0]) == []
    assert [d.shape for d in mk.topology.vietoris_rips(batch[0, :0])] == [(0, 2), (0, 2)]


@pytest.mark.parametrize("metric", METRICS)
def test_jax(metric: str) -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    with jax.enable_x64(True):
        points = generic(8, 2)
        array = jnp.asarray(points.detach().numpy())

        def loss(array: Any, where: Any) -> Any:
            diagrams = mk.topology.vietoris_rips(array, metric=metric)
            return sum((where(abs(d) < 1e300, d, 0.0) ** 3).sum() for d in diagrams)

        for ours, theirs in zip(
            mk.topology.vietoris_rips(array, metric=metric),
            mk.topology.vietoris_rips(points, metric=metric),
            strict=True,
        ):
            np.testing.assert_array_equal(np.asarray(ours), theirs.detach().numpy())
        (wanted,) = torch.autograd.grad(loss(points, torch.where), points)
        found = jax.grad(loss)(array, jnp.where)
        assert isinstance(found, jax.Array)
        np.testing.assert_allclose(np.asarray(found), wanted.numpy(), rtol=1e-12, atol=1e-13)
        if metric != "euclidean":  # the others have no curvature
            return
        # Second derivatives, by forward mode over reverse mode.
        _, curved = jax.jvp(lambda a: jax.grad(loss)(a, jnp.where), (array,), (array[::-1],))
        along = torch.autograd.functional.hvp(lambda p: loss(p, torch.where), points, points.detach().flip(0))
        np.testing.assert_allclose(np.asarray(curved), along[1].numpy(), rtol=1e-10, atol=1e-10)


def test_jax_distances_and_what_cannot_be_traced() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    distances = matrix(generic(7, 7)).detach().float().requires_grad_()
    array = jnp.asarray(distances.detach().numpy())

    def loss(array: Any) -> Any:
        return mk.topology.vietoris_rips(distances=array)[0][:-1, 1].sum()

    (wanted,) = torch.autograd.grad(loss(distances), distances)
    np.testing.assert_array_equal(np.asarray(jax.grad(loss)(array)), wanted.numpy())
    diagrams, generators = mk.topology.vietoris_rips(distances=[array, array], return_generators=True)
    assert all(isinstance(a, jax.Array) for part in (diagrams, generators) for item in part for a in item)
    for traced in (jax.jit(loss), jax.grad(jax.jit(loss)), lambda a: jax.vmap(loss)(a[None])):
        with pytest.raises(TypeError, match=r"vietoris_rips cannot be traced by jax\.jit or jax\.vmap"):
            traced(array)
    with pytest.raises(ValueError, match="distances must equal its transpose"):
        loss(array.at[0, 1].add(1.0))
    with pytest.raises(TypeError, match="points must be float32 or float64, not bfloat16"):
        mk.topology.vietoris_rips(jnp.ones((3, 2), "bfloat16"))


def test_a_noisy_circle_becomes_clean() -> None:
    points = torch.from_numpy(circle(np.random.default_rng(0), 40, noise=0.15)).requires_grad_()
    optimizer = torch.optim.Adam([points], lr=0.02)
    persistence = []
    for _ in range(40):
        components, loops = mk.topology.vietoris_rips(points)
        lengths = loops[:, 1] - loops[:, 0]
        loss = components[:-1, 1].sum() / 20 - 2 * lengths.max() + lengths.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        persistence.append(lengths.max().item())
    assert persistence[-1] > persistence[0] + 0.3
