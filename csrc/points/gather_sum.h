// Sums over the neighbours of a table of fixed width, out_i = sum_j w_ij x_n(i,j), as of graph networks in which every
// node has k incoming edges, and what their derivatives need. Absent neighbours (-1) are skipped.
// Sums run over j, and back over the edges in their order, so results do not depend on the number of threads. The way
// back sorts edges by blocks of nodes, each of which one thread sums: no atomics. O(B M k H C); the way back needs
// O(B M k) memory.
#pragma once

#include <cstdint>
#include <span>

namespace mk::points {

// features [batch, sources, heads, channels]; neighbours [batch, rows, k], indices of sources; weights
// [batch, rows, k, heads], none for ones; sums [batch, rows, heads, channels].
struct Graph {
  std::span<const int64_t> neighbours;
  int64_t batch = 0, rows = 0, k = 0, sources = 0, heads = 0, channels = 0;
  int64_t width() const { return heads * channels; }
};

template <class T>
void gather_sum(const Graph& graph, std::span<const T> features, std::span<const T> weights, std::span<T> sums);

// The transposed: features_j = sum of w_e sums_i over the edges e from j to i.
template <class T>
void gather_sum_transposed(const Graph& graph, std::span<const T> sums, std::span<const T> weights,
                           std::span<T> features);

// weights_e = x_j . s_i for each edge e from j to i, head by head; 0 for absent neighbours.
template <class T>
void gather_sum_products(const Graph& graph, std::span<const T> features, std::span<const T> sums,
                         std::span<T> weights);

}  // namespace mk::points
