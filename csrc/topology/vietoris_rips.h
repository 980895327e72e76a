// Persistent homology of Vietoris-Rips filtrations over Z/2.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mk::topology {

enum class Metric { euclidean, manhattan, chebyshev };

// The bars of one homology dimension, sorted by birth, then death.
template <class T>
struct Diagram {
  std::vector<T> intervals;    // [n, 2]: birth, death (infinity where a class never dies)
  std::vector<int32_t> edges;  // [n, 4]: the edges i, j whose lengths are birth and death; a birth at zero is the
                               // vertex (i, i), a death that never comes is (-1, -1)
};

// One cloud of points [size, dim], or one symmetric matrix of distances [size, size] (dim is then size).
template <class T>
struct Cloud {
  std::span<const T> values;
  int64_t size, dim;
};

// A graph of weighted edges rows[e] < cols[e]: distances that are not listed are infinite.
template <class T>
struct Graph {
  int64_t size;
  std::span<const int32_t> rows, cols;
  std::span<const T> lengths;
};

// Edges longer than `threshold` are left out; infinity takes all that can matter.
struct RipsOptions {
  int max_dim;
  double threshold;
};

// Diagrams of dimensions 0 .. max_dim of every cloud; threads go over the clouds, or into a single large one.
template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_points(std::span<const Cloud<T>> clouds, Metric metric,
                                                    const RipsOptions& options);
template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_distances(std::span<const Cloud<T>> matrices, const RipsOptions& options);
template <class T>
std::vector<Diagram<T>> rips_of_graph(const Graph<T>& graph, const RipsOptions& options);

// What another device has found of the filtrations of clouds; the reduction is left to do. Ranks are places in the
// order of all edges: by length, then u, then v.

// The edges, in any order, of a smaller graph with the same persistence. For dimension 0 alone any graph will do that
// holds the edges that join components.
template <class T>
struct RipsCore {
  int64_t size;
  std::span<const int32_t> ends;    // [k, 4]: of the edge, and of the edge in whose place it enters
  std::span<const uint32_t> ranks;  // [k, 2]: of both
  std::span<const T> lengths;       // of the second
};

// All edges by rank, and the ranks of those that are the longest edge of no triangle, in any order.
template <class T>
struct SortedRips {
  int64_t size;
  std::span<const int32_t> ends;  // [n, 2]
  std::span<const T> lengths;
  std::span<const uint32_t> open;
};

template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_cores(std::span<const RipsCore<T>> cores, int max_dim);
template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_sorted(std::span<const SortedRips<T>> graphs, int max_dim);

}  // namespace mk::topology
