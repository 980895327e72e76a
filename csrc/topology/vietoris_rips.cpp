#include "topology/vietoris_rips.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "common/parallel.h"
#include "topology/cohomology.h"
#include "topology/collapse.h"
#include "topology/filtration.h"
#include "topology/rank_graphs.h"

namespace mk::topology {

namespace {

template <class T>
void sort_bars(Diagram<T>& diagram) {
  const size_t count = diagram.intervals.size() / 2;
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const T* x = diagram.intervals.data();
    return x[2 * a] != x[2 * b] ? x[2 * a] < x[2 * b] : x[2 * a + 1] < x[2 * b + 1];
  });
  Diagram<T> result;
  for (const size_t i : order) {
    result.intervals.insert(result.intervals.end(), diagram.intervals.begin() + 2 * i,
                            diagram.intervals.begin() + 2 * i + 2);
    result.edges.insert(result.edges.end(), diagram.edges.begin() + 4 * i, diagram.edges.begin() + 4 * i + 4);
  }
  diagram = std::move(result);
}

template <class T>
Diagram<T> diagram_of(const Components& components, const Filtration<T>& filtration) {
  Diagram<T> result;
  for (size_t c = 0; c < components.vertices.size(); ++c) {
    const uint32_t death = components.deaths[c];
    const bool stays = death == Bar::never;
    if (!stays && filtration.lengths[death] == T(0)) continue;
    const Edge edge = stays ? Edge{-1, -1} : filtration.edges[death];
    const int32_t v = components.vertices[c];
    result.intervals.insert(result.intervals.end(),
                            {T(0), stays ? std::numeric_limits<T>::infinity() : filtration.lengths[death]});
    result.edges.insert(result.edges.end(), {v, v, edge.u, edge.v});
  }
  return result;
}

// `entry` is the rank in the filtration at which each edge of the reduced graph enters.
template <class T, class Entry>
Diagram<T> diagram_of(const std::vector<Bar>& bars, const Filtration<T>& filtration, const Entry& entry) {
  Diagram<T> result;
  for (const Bar& bar : bars) {
    const uint32_t birth = entry(bar.birth);
    const bool stays = bar.death == Bar::never;
    const uint32_t death = stays ? Bar::never : entry(bar.death);
    if (!stays && filtration.lengths[birth] == filtration.lengths[death]) continue;
    const Edge from = filtration.edges[birth], to = stays ? Edge{-1, -1} : filtration.edges[death];
    result.intervals.insert(
        result.intervals.end(),
        {filtration.lengths[birth], stays ? std::numeric_limits<T>::infinity() : filtration.lengths[death]});
    result.edges.insert(result.edges.end(), {from.u, from.v, to.u, to.v});
  }
  return result;
}

template <class R>
RankMatrix<R> rank_matrix(int64_t size, const std::vector<Edge>& edges) {
  RankMatrix<R> ranks(size);
  for (size_t e = 0; e < edges.size(); ++e) ranks.set(edges[e], static_cast<R>(e));
  return ranks;
}

template <class R, class T>
std::vector<Diagram<T>> higher_diagrams(const Filtration<T>& filtration, const std::vector<bool>& joining,
                                        int max_dim) {
  std::vector<Diagram<T>> diagrams;
  RankMatrix<R> ranks = rank_matrix<R>(filtration.size, filtration.edges);
  if (max_dim == 1) {  // a collapse would cost more than it saves
    for (const auto& bars : cohomology(DenseGraph<R>(ranks), filtration.edges, joining, max_dim))
      diagrams.push_back(diagram_of(bars, filtration, [](uint32_t rank) { return rank; }));
    return diagrams;
  }
  for (int64_t i = 0; i < ranks.size(); ++i) ranks.row(i)[i] = 0;
  const Collapsed core = collapse(ranks, filtration.edges);
  ranks = rank_matrix<R>(filtration.size, core.edges);
  const Components parts = components(filtration.size, core.edges);
  for (const auto& bars : cohomology(DenseGraph<R>(ranks), core.edges, parts.joining, max_dim))
    diagrams.push_back(diagram_of(bars, filtration, [&](uint32_t rank) { return core.entry[rank]; }));
  return diagrams;
}

// A matrix of ranks where it is small, or a good part of it is filled; lists of neighbours otherwise.
constexpr int64_t kSmallMatrix = 4096;
constexpr int64_t kEntriesForAnEdge = 64;

template <class T>
std::vector<Diagram<T>> higher_diagrams_of(const Filtration<T>& filtration, const std::vector<bool>& joining,
                                           int max_dim) {
  const int64_t size = filtration.size, edges = static_cast<int64_t>(filtration.edges.size());
  if (size > kSmallMatrix && size * size > kEntriesForAnEdge * edges) {
    std::vector<Diagram<T>> diagrams;
    const SparseGraph<uint32_t> graph(size, filtration.edges);
    for (const auto& bars : cohomology(graph, filtration.edges, joining, max_dim))
      diagrams.push_back(diagram_of(bars, filtration, [](uint32_t rank) { return rank; }));
    return diagrams;
  }
  // Sixteen bits a rank where they do: half the memory to go through.
  if (edges < RankMatrix<uint16_t>::absent) return higher_diagrams<uint16_t>(filtration, joining, max_dim);
  return higher_diagrams<uint32_t>(filtration, joining, max_dim);
}

template <class T>
std::vector<Diagram<T>> diagrams_of(const Filtration<T>& filtration, int max_dim) {
  const Components parts = components(filtration.size, filtration.edges);
  std::vector<Diagram<T>> diagrams{diagram_of(parts, filtration)};
  if (max_dim > 0) {
    auto higher = higher_diagrams_of(filtration, parts.joining, max_dim);
    std::move(higher.begin(), higher.end(), std::back_inserter(diagrams));
  }
  for (Diagram<T>& diagram : diagrams) sort_bars(diagram);
  return diagrams;
}

}  // namespace

template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_points(std::span<const Cloud<T>> clouds, Metric metric,
                                                    const RipsOptions& options) {
  std::vector<std::vector<Diagram<T>>> result(clouds.size());
  parallel_for(static_cast<int64_t>(clouds.size()), [&](int64_t i) {
    result[i] = diagrams_of(filtration_of_points(clouds[i], metric, options.threshold), options.max_dim);
  });
  return result;
}

template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_distances(std::span<const Cloud<T>> matrices, const RipsOptions& options) {
  std::vector<std::vector<Diagram<T>>> result(matrices.size());
  parallel_for(static_cast<int64_t>(matrices.size()), [&](int64_t i) {
    result[i] = diagrams_of(filtration_of_distances(matrices[i], options.threshold), options.max_dim);
  });
  return result;
}

template <class T>
std::vector<Diagram<T>> rips_of_graph(const Graph<T>& graph, const RipsOptions& options) {
  return diagrams_of(filtration_of_graph(graph, options.threshold), options.max_dim);
}

template std::vector<std::vector<Diagram<float>>> rips_of_points(std::span<const Cloud<float>>, Metric,
                                                                 const RipsOptions&);
template std::vector<std::vector<Diagram<double>>> rips_of_points(std::span<const Cloud<double>>, Metric,
                                                                  const RipsOptions&);
template std::vector<std::vector<Diagram<float>>> rips_of_distances(std::span<const Cloud<float>>, const RipsOptions&);
template std::vector<std::vector<Diagram<double>>> rips_of_distances(std::span<const Cloud<double>>,
                                                                     const RipsOptions&);
template std::vector<Diagram<float>> rips_of_graph(const Graph<float>&, const RipsOptions&);
template std::vector<Diagram<double>> rips_of_graph(const Graph<double>&, const RipsOptions&);

}  // namespace mk::topology
