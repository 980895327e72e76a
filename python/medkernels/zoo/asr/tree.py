"""A small decision tree as plain data: learned by scikit-learn; saved, applied and drawn without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.metrics import f1_score
from sklearn.tree import DecisionTreeClassifier

from medkernels.zoo.asr.attributes import describe_attribute

MAX_DEPTH = 4
MIN_LEAF = 3


@dataclass(frozen=True)
class Node:
    """A question (``attribute``, ``threshold``, ``low`` and ``high``) or, without children, an answer."""

    counts: tuple[int, ...]  # training cases of each class that arrive here
    attribute: int = -1
    threshold: float = 0.0
    low: Node | None = None  # where the attribute is at most the threshold
    high: Node | None = None

    @property
    def answer(self) -> int:
        """The most frequent class."""
        return int(np.argmax(self.counts))


@dataclass(frozen=True)
class Tree:
    """A decision tree with the names it needs to be read."""

    root: Node
    attributes: tuple[str, ...]
    classes: tuple[str, ...]

    def predict(self, features: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """features [N, attributes] -> class numbers [N]."""
        return np.array([_walk(self.root, row).answer for row in np.atleast_2d(features)], dtype=np.int64)

    def export(self) -> dict[str, Any]:
        """JSON-ready form; `load_tree` reads it back."""
        return {
            "attributes": list(self.attributes),
            "classes": list(self.classes),
            "root": _export(self.root),
        }

    def used(self) -> list[str]:
        """Names of the attributes asked for, the first question first."""
        return list(dict.fromkeys(self.attributes[node.attribute] for node in _nodes(self.root) if node.low))


def learn_tree(
    features: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    attributes: Sequence[str],
    classes: Sequence[str],
    *,
    seed: int = 0,
) -> Tree:
    """Learn a tree of depth at most 4 with at least 3 cases in a leaf.

    Parameters
    ----------
    features : [N, attributes]
    labels : [N] class numbers.
    attributes, classes : names.
    seed : breaks ties between equally good questions.
    """
    learner = DecisionTreeClassifier(max_depth=MAX_DEPTH, min_samples_leaf=MIN_LEAF, random_state=seed)
    learner.fit(features, labels)
    grown = learner.tree_

    def node(index: int, members: npt.NDArray[Any]) -> Node:
        counts = tuple(int(n) for n in np.bincount(labels[members], minlength=len(classes)))
        if grown.children_left[index] < 0:
            return Node(counts)
        attribute, threshold = int(grown.feature[index]), float(grown.threshold[index])
        below = (
            features[members, attribute].astype(np.float32) <= threshold
        )  # scikit-learn compares in float32
        return Node(
            counts,
            attribute,
            threshold,
            node(grown.children_left[index], members[below]),
            node(grown.children_right[index], members[~below]),
        )

    return Tree(node(0, np.arange(len(labels))), tuple(attributes), tuple(classes))


def load_tree(content: dict[str, Any]) -> Tree:
    """Read what `Tree.export` wrote."""
    return Tree(_load(content["root"]), tuple(content["attributes"]), tuple(content["classes"]))


def macro_f1(labels: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float:
    """F1 averaged over the classes that occur, each weighing the same."""
    return float(f1_score(labels, predicted, average="macro", zero_division=0.0))


def draw_tree(tree: Tree) -> Figure:
    """The tree with its questions in words, and in each box the training cases of each class."""
    places: dict[int, tuple[float, float]] = {}
    leaves = _place(tree.root, 0, 0.0, places)
    depth = max(-y for _, y in places.values())
    figure = Figure(figsize=(max(6.0, 2.3 * leaves), 1.6 * depth + 1.6))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    palette = ["#dbe9f6", "#fbe3cf", "#dcefdc", "#eadcf0", "#f6dbe0", "#e8e8d8"]
    for node in _nodes(tree.root):
        x, y = places[id(node)]
        counts = ", ".join(f"{n} {name}" for n, name in zip(node.counts, tree.classes, strict=True) if n)
        if node.low is None or node.high is None:
            text, color = f"{tree.classes[node.answer]}\n({counts})", palette[node.answer % len(palette)]
        else:
            question = describe_attribute(tree.attributes[node.attribute]).replace(", at", "\nat")
            text, color = f"{question}\n≤ {node.threshold:.3g} ?\n({counts})", "white"
            for child, answer in ((node.low, "yes"), (node.high, "no")):
                to = places[id(child)]
                axes.plot([x, to[0]], [y, to[1]], color="#777777", linewidth=1, zorder=1)
                axes.text(
                    (x + to[0]) / 2, (y + to[1]) / 2, answer, fontsize=8, ha="center", backgroundcolor="white"
                )
        box = {"boxstyle": "round,pad=0.4", "facecolor": color, "edgecolor": "#555555"}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    axes.set_xlim(-0.6, leaves - 0.4)
    axes.set_ylim(-depth - 0.5, 0.5)
    return figure


def _walk(node: Node, row: npt.NDArray[Any]) -> Node:
    while node.low is not None and node.high is not None:
        node = node.low if np.float32(row[node.attribute]) <= node.threshold else node.high
    return node


def _nodes(node: Node) -> list[Node]:
    if node.low is None or node.high is None:
        return [node]
    return [node, *_nodes(node.low), *_nodes(node.high)]


def _place(node: Node, depth: int, first: float, places: dict[int, tuple[float, float]]) -> float:
    """Put leaves side by side, and questions above the middle of theirs; returns the next leaf's place."""
    if node.low is None or node.high is None:
        places[id(node)] = (first, -float(depth))
        return first + 1
    middle = _place(node.low, depth + 1, first, places)
    last = _place(node.high, depth + 1, middle, places)
    places[id(node)] = ((places[id(node.low)][0] + places[id(node.high)][0]) / 2, -float(depth))
    return last


def _export(node: Node) -> dict[str, Any]:
    content: dict[str, Any] = {"counts": list(node.counts)}
    if node.low is not None and node.high is not None:
        content |= {
            "attribute": node.attribute,
            "threshold": node.threshold,
            "low": _export(node.low),
            "high": _export(node.high),
        }
    return content


def _load(content: dict[str, Any]) -> Node:
    counts = tuple(content["counts"])
    if "low" not in content:
        return Node(counts)
    return Node(
        counts, content["attribute"], content["threshold"], _load(content["low"]), _load(content["high"])
    )
