// Edge collapse of a filtered graph: edges that the persistent homology of its clique complexes can spare.
#pragma once

#include <vector>

#include "topology/ranks.h"

namespace mk::topology {

// A smaller filtered graph with the same persistence: edges in a new order, and for each the rank in the old order at
// which it now enters (never earlier than its own).
struct Collapsed {
  std::vector<Edge> edges;
  std::vector<uint32_t> entry;
};

// `ranks` holds the ranks of `edges`, with zeros on the diagonal; it is changed on the way.
// Glisse and Pritam 2022, "Swap, Shift and Trim to Edge Collapse a Filtration".
template <class R>
Collapsed collapse(RankMatrix<R>& ranks, const std::vector<Edge>& edges);

}  // namespace mk::topology
