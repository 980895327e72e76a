"""A sample of flow cytometry judged event by event: GIN-ST-FPS of the zoo beside the same in plain PyTorch.

From the table of a sample to a logit for every event: the graph of the ten nearest events, the events that
attention is induced by (one in 2000, by farthest point sampling), and the network. All run the same weights,
as they are first drawn: what is learned takes no other time. The peers build the graph with FAISS or SciPy
and pick events with fpsample; sums over neighbours are an index and a sum, attention is torch's fused one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from medkernels.benchmarks.runner.cases import FORWARD, Case, Inputs, Outputs, Provider, Target, Work
from torch import Tensor

from medkernels import get_num_threads
from medkernels.zoo.mrd_flow.graph import induce, induced_count, neighbour_table
from medkernels.zoo.mrd_flow.model import build
from medkernels.zoo.mrd_flow.standin import CHANNELS, stand_in
from medkernels.zoo.mrd_flow.training import Structure

TITLE = "One sample judged by GIN-ST-FPS: events in ten channels to logits, float32"
UNITS = "events"
DIRECTIONS = (FORWARD,)
DEVICES = ("cpu",)

MIDDLE, LARGE = "1e5 events", "1e6 events"
STRUCTURE = Structure()
#: FAISS's guide: 4 to 16 times the root of the number of points.
LISTS_PER_ROOT = 4
#: Lists that are searched for a query. Of a sample of 1e5 events they hold 99.7 % of the true neighbours.
PROBES = 32
TOO_LONG = "minutes a run: a hundred times as many distances as of 1e5 events"
TREE_TOO_LONG = "minutes a run: in ten dimensions a k-d tree leaves out little"


def cases(sizes: str) -> list[Case]:
    """Two samples, then a curve over the events."""
    if sizes == "small":
        return [_case("500 events", 500), *(_case(f"events {n}", n, "events") for n in (300, 600))]
    return [
        _case(MIDDLE, 100_000),
        _case(LARGE, 1_000_000, excluded={"FAISS flat + torch": TOO_LONG, "SciPy + torch": TREE_TOO_LONG}),
        *(_case(f"events {n}", n, "events") for n in (10_000, 30_000, 100_000, 300_000)),
    ]


def _case(name: str, events: int, curve: str = "", excluded: dict[str, str] | None = None) -> Case:
    return Case(name, partial(_inputs, events), _work, curve, events if curve else 0, excluded=excluded or {})


def _inputs(events: int, device: str, seed: int) -> Inputs:
    return {"features": np.ascontiguousarray(stand_in(1, seed, events=events)[0].features)}


def _work(inputs: Inputs, backward: bool) -> Work:
    """How few distances suffice for the graph is not known."""
    return Work(len(inputs["features"]))


@cache
def _network() -> Any:
    return build("gin-st-fps", CHANNELS).eval()


def _picks(features: np.ndarray) -> int:
    return induced_count(len(features), STRUCTURE.ratio, STRUCTURE.picks)


def _ours(inputs: Inputs, backward: bool) -> Outputs:
    features = inputs["features"]
    neighbours = torch.from_numpy(neighbour_table(features, STRUCTURE.k))
    picks = torch.from_numpy(induce(features, _picks(features)))
    with torch.inference_mode():
        return {"result": _network()(torch.from_numpy(features)[None], neighbours[None], picks[None])[0]}


def _plain(graph: Callable[[np.ndarray], np.ndarray], inputs: Inputs, backward: bool) -> Outputs:
    """The network in plain PyTorch on a graph: rows of the nearest events, themselves among them."""
    import fpsample

    torch.set_num_threads(get_num_threads())
    features = inputs["features"]
    found = graph(features)
    itself = found == np.arange(len(found))[:, None]
    itself[~itself.any(axis=1), -1] = True  # hidden behind equal events
    neighbours = torch.from_numpy(found[~itself].reshape(len(found), -1).astype(np.int64))
    start = int(np.square(features - features.mean(axis=0)).sum(axis=1).argmin())
    # Its faster variants take eight dimensions at most.
    picks = fpsample.fps_sampling(features, _picks(features), start_idx=start).astype(np.int64)
    with torch.inference_mode():
        return {"result": _logits(torch.from_numpy(features), neighbours, torch.from_numpy(picks))}


def _logits(x: Tensor, neighbours: Tensor, picks: Tensor) -> Tensor:
    """[n,F], [n,k], [m] -> [n]."""
    network = _network()
    near = network.graph_layer.mlp(x + x[neighbours].sum(dim=1))
    x = torch.cat([x, F.gelu(near)], dim=1)
    for block in network.blocks:
        x = _attend(block.mab1, x, _attend(block.mab0, x[picks], x))
    logits: Tensor = network.head(x)
    return logits[:, 0]


def _attend(layer: Any, queries: Tensor, keys: Tensor) -> Tensor:
    """A multihead attention block: [q,F], [n,G] -> [q,32]."""
    q, k, v = layer.fc_q(queries), layer.fc_k(keys), layer.fc_v(keys)
    split = [rows.view(1, len(rows), layer.heads, -1).transpose(1, 2) for rows in (q, k, v)]
    heads = F.scaled_dot_product_attention(*split, scale=layer.scale)
    o = layer.ln0(q + heads.transpose(1, 2).flatten(2)[0])
    out: Tensor = layer.ln1(o + F.gelu(layer.fc_o(o)))
    return out


def _flat(features: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(get_num_threads())
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    return np.asarray(index.search(features, STRUCTURE.k + 1)[1])


def _lists(features: np.ndarray) -> np.ndarray:
    """Inverted lists: the nearest of those events whose list is among the nearest ones."""
    import faiss

    faiss.omp_set_num_threads(get_num_threads())
    lists = max(1, int(LISTS_PER_ROOT * math.sqrt(len(features))))
    quantizer = faiss.IndexFlatL2(features.shape[1])
    index = faiss.IndexIVFFlat(quantizer, features.shape[1], lists)
    index.cp.min_points_per_centroid = 1  # without a warning for small samples
    index.train(features)
    index.add(features)
    index.nprobe = PROBES
    return np.asarray(index.search(features, STRUCTURE.k + 1)[1])


def _tree(features: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(features).query(features, STRUCTURE.k + 1, workers=get_num_threads())[1])


PROVIDERS = (
    Provider("medkernels", _ours),
    # Where distances are equal up to rounding another event may be the tenth neighbour.
    Provider("FAISS flat + torch", partial(_plain, _flat), 1.0, 1e-3, library="faiss"),
    Provider("FAISS lists + torch", partial(_plain, _lists), 1.0, 1e-2, library="faiss"),
    Provider("SciPy + torch", partial(_plain, _tree), 1.0, 1e-3, library="scipy"),
)
TARGETS = (
    Target(MIDDLE, FORWARD, "FAISS flat + torch", 5),
    Target(LARGE, FORWARD, "FAISS lists + torch", 5),
)
