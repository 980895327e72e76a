// Persistent cohomology over Z/2 of the clique complexes of a filtered graph.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "topology/ranks.h"

namespace mk::topology {

// A class: the ranks of the edges that give it birth and death.
struct Bar {
  static constexpr uint32_t never = std::numeric_limits<uint32_t>::max();
  uint32_t birth, death;
};

// Components of a filtered graph: a vertex that stands for each, and the edge that joins it to an older one.
struct Components {
  std::vector<int32_t> vertices;
  std::vector<uint32_t> deaths;  // ranks, Bar::never for the components that stay
  std::vector<bool> joining;     // for each edge whether it joins two components
};
// Edges that are the longest of no triangle are `open`: in order, or empty if they are not known. Only they can join
// components or begin loops.
Components components(int64_t size, const std::vector<Edge>& edges, std::span<const uint32_t> open = {});

// Bars of the dimensions 1 .. max_dim (1 to 3) of a DenseGraph or SparseGraph; bars that are born and die at one edge
// are left out. Bauer 2021, "Ripser: efficient computation of Vietoris-Rips persistence barcodes".
template <class Graph>
std::vector<std::vector<Bar>> cohomology(const Graph& graph, const std::vector<Edge>& edges,
                                         const std::vector<bool>& joining, std::span<const uint32_t> open, int max_dim);

}  // namespace mk::topology
