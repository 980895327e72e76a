// The edges of a Rips filtration in order of length.
#pragma once

#include <vector>

#include "topology/ranks.h"
#include "topology/vietoris_rips.h"

namespace mk::topology {

// Edges by increasing length (ties: by u, then v, u < v), and their lengths.
template <class T>
struct Filtration {
  int64_t size = 0;
  std::vector<Edge> edges;
  std::vector<T> lengths;
};

// Edges up to the threshold and the enclosing radius, the least distance within which one vertex reaches all:
// from there on the complex is a cone and nothing changes.
template <class T>
Filtration<T> filtration_of_points(const Cloud<T>& cloud, Metric metric, double threshold);
template <class T>
Filtration<T> filtration_of_distances(const Cloud<T>& matrix, double threshold);
template <class T>
Filtration<T> filtration_of_graph(const Graph<T>& graph, double threshold);

}  // namespace mk::topology
