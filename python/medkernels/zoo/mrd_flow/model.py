"""The networks: a graph layer and attention induced by sampled events, and the baselines beside them.

Source: "On the Importance of Local and Global Feature Learning for Automated Measurable Residual Disease
Detection in Flow Cytometry Data", ICPR 2024. What the paper leaves open, and how it is settled here, stands
in card.md.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medkernels.zoo.mrd_flow.attention import ISAB, FPSBlock
from medkernels.zoo.mrd_flow.blocks import in_blocks
from medkernels.zoo.mrd_flow.graph import gathered, neighbour_softmax, neighbour_sum

WIDTH = 32
HEADS = 4
LAYERS = 4
SLOPE = 0.2  # of the leaky ReLU in GAT


class Network(nn.Module):
    """What all networks share: which structures of a sample they ask for.

    Attributes
    ----------
    graph, induced : bool
        Whether `forward` needs neighbours, and whether it needs picked events.
    """

    graph: ClassVar[bool] = False
    induced: ClassVar[bool] = False


class MLP(Network):
    """Each event on its own: four times linear, GELU and batch normalisation, then a linear head."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for layer in range(LAYERS):
            layers += [nn.Linear(WIDTH if layer else inputs, WIDTH), nn.GELU(), nn.BatchNorm1d(WIDTH)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, neighbours: Tensor | None = None, picks: Tensor | None = None) -> Tensor:
        """Events [B,n,F] -> logits [B,n]."""

        def judge(part: Tensor) -> Tensor:
            logits: Tensor = self.head(self.layers(part.flatten(0, 1)))
            return logits.view(*part.shape[:2], 1)

        return in_blocks(judge, x).squeeze(2)


class ST(Network):
    """Set transformer: four blocks of attention induced by learnt points."""

    def __init__(self, inputs: int, points: int = 16) -> None:
        super().__init__()
        sizes = [inputs] + [WIDTH] * (LAYERS - 1)
        self.blocks = nn.ModuleList(ISAB(size, WIDTH, HEADS, points) for size in sizes)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, neighbours: Tensor | None = None, picks: Tensor | None = None) -> Tensor:
        """Events [B,n,F] -> logits [B,n]."""
        for block in self.blocks:
            x = block(x)
        return in_blocks(self.head, x).squeeze(2)


class STFPS(Network):
    """Set transformer whose inducing points are events of the sample, picked by farthest point sampling."""

    induced = True

    def __init__(self, inputs: int) -> None:
        super().__init__()
        sizes = [inputs] + [WIDTH] * (LAYERS - 1)
        self.blocks = nn.ModuleList(FPSBlock(size, WIDTH, HEADS) for size in sizes)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, neighbours: Tensor | None, picks: Tensor) -> Tensor:
        """Events [B,n,F] and picks [B,m] -> logits [B,n]."""
        for block in self.blocks:
            x = block(x, picks)
        return in_blocks(self.head, x).squeeze(2)


class GINConv(nn.Module):
    """Graph isomorphism layer: ``MLP(x_i + sum of x_j over the neighbours j of i)``."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(inputs, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """[B,n,F], [B,n,k] -> [B,n,32]."""
        return in_blocks(lambda own, table: self.mlp(own + neighbour_sum(x, table)), x, neighbours)


class GATConv(nn.Module):
    """Graph attention layer with self loops; the heads stand side by side in the output.

    ``e_ij = LeakyReLU(a [W x_i, W x_j])``, ``h_i = sum_j softmax_j(e_ij) W x_j + b``.
    """

    def __init__(self, inputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.lin = nn.Linear(inputs, WIDTH, bias=False)
        self.att_src = nn.Parameter(torch.empty(HEADS, WIDTH // HEADS))
        self.att_dst = nn.Parameter(torch.empty(HEADS, WIDTH // HEADS))
        self.bias = nn.Parameter(torch.zeros(WIDTH))
        for weight in (self.lin.weight, self.att_src, self.att_dst):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """[B,n,F], [B,n,k] -> [B,n,32]."""
        values: Tensor = in_blocks(self.lin, x)
        values = values.view(*x.shape[:2], HEADS, -1)  # [B,n,4,8]
        source, target = (values * self.att_src).sum(3), (values * self.att_dst).sum(3)  # [B,n,4]
        own = torch.arange(x.shape[1], device=x.device)[None, :, None].expand(len(x), -1, -1)

        def attend(pull: Tensor, itself: Tensor, others: Tensor) -> Tensor:
            table = torch.cat([itself, others], dim=2)  # [B,q,1+k]
            scores = F.leaky_relu(gathered(source, table) + pull[:, :, None], SLOPE)  # [B,q,1+k,4]
            weights = F.dropout(neighbour_softmax(scores, table), self.dropout, self.training)
            return neighbour_sum(values, table, weights).flatten(2) + self.bias

        return in_blocks(attend, target, own, neighbours)


class GraphSTFPS(Network):
    """A graph layer for what is near, attention induced by sampled events for what is far.

    Parameters
    ----------
    inputs : int
        Markers F.
    graph_layer : GINConv or GATConv
    """

    graph = True
    induced = True

    def __init__(self, inputs: int, graph_layer: GINConv | GATConv) -> None:
        super().__init__()
        self.graph_layer = graph_layer
        sizes = [inputs + WIDTH] + [WIDTH] * (LAYERS - 2)
        self.blocks = nn.ModuleList(FPSBlock(size, WIDTH, HEADS) for size in sizes)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, neighbours: Tensor, picks: Tensor) -> Tensor:
        """Events [B,n,F], neighbours [B,n,k], picks [B,m] -> logits [B,n]."""
        x = torch.cat([x, F.gelu(self.graph_layer(x, neighbours))], dim=2)  # [B,n,F+32]
        for block in self.blocks:
            x = block(x, picks)
        return in_blocks(self.head, x).squeeze(2)


MODELS = ("gin-st-fps", "gat-st-fps", "st-fps", "st", "mlp")


def build(name: str, inputs: int, *, points: int = 16, dropout: float = 0.2, seed: int = 0) -> Network:
    """A network by name, its first weights drawn from the seed; global generators stay as they are.

    Parameters
    ----------
    name : one of `MODELS`.
    inputs : markers F.
    points : that "st" learns.
    dropout : on the attention of the graph layer of "gat-st-fps".
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "mlp":
            return MLP(inputs)
        if name == "st":
            return ST(inputs, points)
        if name == "st-fps":
            return STFPS(inputs)
        return GraphSTFPS(inputs, GINConv(inputs) if name == "gin-st-fps" else GATConv(inputs, dropout))
