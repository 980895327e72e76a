#include "topology/vietoris_rips.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>

#include "common/parallel.h"
#include "topology/cohomology.h"
#include "topology/collapse.h"
#include "topology/filtration.h"
#include "topology/rank_graphs.h"

namespace mk::topology {

namespace {

template <class T>
void append_bar(Diagram<T>& diagram, T birth, Edge from, T death, Edge to) {
  diagram.intervals.insert(diagram.intervals.end(), {birth, death});
  diagram.edges.insert(diagram.edges.end(), {from.u, from.v, to.u, to.v});
}

constexpr Edge kNoEdge{-1, -1};

// Bars of dimension 0 come with increasing deaths. `entry` is the rank in the filtration at which each edge enters.
template <class T, class Entry>
Diagram<T> diagram_of(const Components& components, const Filtration<T>& filtration, const Entry& entry) {
  Diagram<T> result;
  for (size_t c = 0; c < components.vertices.size(); ++c) {
    const Edge vertex{components.vertices[c], components.vertices[c]};
    if (components.deaths[c] == Bar::never) {
      append_bar(result, T(0), vertex, std::numeric_limits<T>::infinity(), kNoEdge);
      continue;
    }
    const uint32_t death = entry(components.deaths[c]);
    if (filtration.lengths[death] > T(0))
      append_bar(result, T(0), vertex, filtration.lengths[death], filtration.edges[death]);
  }
  return result;
}

// The order of bars with the same birth and death depends on their ranks alone, not on how they were found.
template <class T, class Entry>
Diagram<T> diagram_of(std::vector<Bar> bars, const Filtration<T>& filtration, const Entry& entry) {
  const auto length = [&](uint32_t rank) {
    return rank == Bar::never ? std::numeric_limits<T>::infinity() : filtration.lengths[rank];
  };
  for (Bar& bar : bars) bar = {entry(bar.birth), bar.death == Bar::never ? Bar::never : entry(bar.death)};
  std::erase_if(bars, [&](const Bar& bar) { return length(bar.birth) == length(bar.death); });
  std::sort(bars.begin(), bars.end(), [&](const Bar& a, const Bar& b) {
    return std::tuple(length(a.birth), length(a.death), a.birth, a.death) <
           std::tuple(length(b.birth), length(b.death), b.birth, b.death);
  });
  Diagram<T> result;
  for (const Bar& bar : bars)
    append_bar(result, length(bar.birth), filtration.edges[bar.birth], length(bar.death),
               bar.death == Bar::never ? kNoEdge : filtration.edges[bar.death]);
  return result;
}

template <class R>
RankMatrix<R> rank_matrix(int64_t size, const std::vector<Edge>& edges) {
  RankMatrix<R> ranks(size);
  for (size_t e = 0; e < edges.size(); ++e) ranks.set(edges[e], static_cast<R>(e));
  return ranks;
}

// A matrix of ranks where it is small, or a good part of it is filled; lists of neighbours otherwise.
constexpr int64_t kSmallMatrix = 4096;
constexpr int64_t kEntriesForAnEdge = 64;

bool fits_matrix(int64_t size, const std::vector<Edge>& edges) {
  return size <= kSmallMatrix || size * size <= kEntriesForAnEdge * static_cast<int64_t>(edges.size());
}

// Sixteen bits a rank where they do: half the memory to go through.
bool fits_short_ranks(const std::vector<Edge>& edges) { return edges.size() < RankMatrix<uint16_t>::absent; }

// `open` are the edges that are the longest of no triangle, if they are known; see cohomology.h.
std::vector<std::vector<Bar>> higher_bars(int64_t size, const std::vector<Edge>& edges, const Components& parts,
                                          std::span<const uint32_t> open, int max_dim) {
  const auto in_matrix = [&]<class R>(R) {
    const RankMatrix<R> ranks = rank_matrix<R>(size, edges);
    return cohomology(DenseGraph<R>(ranks), edges, parts.joining, open, max_dim);
  };
  if (!fits_matrix(size, edges))
    return cohomology(SparseGraph<uint32_t>(size, edges), edges, parts.joining, open, max_dim);
  return fits_short_ranks(edges) ? in_matrix(uint16_t{}) : in_matrix(uint32_t{});
}

// Diagrams of the graph `edges`, which enter the filtration at the ranks that `entry` tells.
template <class T, class Entry>
std::vector<Diagram<T>> diagrams_of(const Filtration<T>& filtration, const std::vector<Edge>& edges, const Entry& entry,
                                    std::span<const uint32_t> open, int max_dim) {
  const Components parts = components(filtration.size, edges, open);
  std::vector<Diagram<T>> diagrams{diagram_of(parts, filtration, entry)};
  if (max_dim == 0) return diagrams;
  for (auto& bars : higher_bars(filtration.size, edges, parts, open, max_dim))
    diagrams.push_back(diagram_of(std::move(bars), filtration, entry));
  return diagrams;
}

template <class T>
std::vector<Diagram<T>> diagrams_of(const Filtration<T>& filtration, std::span<const uint32_t> open, int max_dim) {
  return diagrams_of(filtration, filtration.edges, std::identity(), open, max_dim);
}

template <class T>
std::vector<Diagram<T>> diagrams_of(const Filtration<T>& filtration, const Collapsed& core, int max_dim) {
  return diagrams_of(filtration, core.edges, [&](uint32_t e) { return core.entry[e]; }, {}, max_dim);
}

template <class R>
Collapsed collapse_of(int64_t size, const std::vector<Edge>& edges) {
  RankMatrix<R> ranks = rank_matrix<R>(size, edges);
  for (int64_t i = 0; i < size; ++i) ranks.row(i)[i] = 0;
  return collapse(ranks, edges);
}

// Below this dimension a collapse costs more than it saves.
constexpr int kCollapseFrom = 2;

template <class T>
std::vector<Diagram<T>> diagrams_of(const Filtration<T>& filtration, int max_dim) {
  const std::vector<Edge>& edges = filtration.edges;
  if (max_dim < kCollapseFrom || !fits_matrix(filtration.size, edges))
    return diagrams_of(filtration, std::span<const uint32_t>(), max_dim);
  const Collapsed core = fits_short_ranks(edges) ? collapse_of<uint16_t>(filtration.size, edges)
                                                 : collapse_of<uint32_t>(filtration.size, edges);
  return diagrams_of(filtration, core, max_dim);
}

// The edges in whose place others enter are the filtration: its ranks are then without gaps.
template <class T>
std::vector<Diagram<T>> diagrams_of(const RipsCore<T>& given, int max_dim) {
  const auto rank = [&](uint32_t e) { return given.ranks[2 * e]; };
  const auto entry = [&](uint32_t e) { return given.ranks[2 * e + 1]; };
  std::vector<uint32_t> order(given.lengths.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return std::tuple(entry(a), rank(a)) < std::tuple(entry(b), rank(b)); });
  Filtration<T> filtration{given.size, {}, {}};
  Collapsed core;
  uint32_t last = Bar::never;
  for (const uint32_t e : order) {
    const int32_t* ends = given.ends.data() + 4 * e;
    if (entry(e) != last) {
      filtration.edges.push_back({ends[2], ends[3]});
      filtration.lengths.push_back(given.lengths[e]);
    }
    last = entry(e);
    core.edges.push_back({ends[0], ends[1]});
    core.entry.push_back(static_cast<uint32_t>(filtration.edges.size() - 1));
  }
  return diagrams_of(filtration, core, max_dim);
}

template <class T>
std::vector<Diagram<T>> diagrams_of(const SortedRips<T>& given, int max_dim) {
  Filtration<T> filtration{
      given.size, std::vector<Edge>(given.lengths.size()), {given.lengths.begin(), given.lengths.end()}};
  for (size_t e = 0; e < given.lengths.size(); ++e) filtration.edges[e] = {given.ends[2 * e], given.ends[2 * e + 1]};
  std::vector<uint32_t> open(given.open.begin(), given.open.end());
  std::sort(open.begin(), open.end());
  return diagrams_of(filtration, open, max_dim);
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

template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_cores(std::span<const RipsCore<T>> cores, int max_dim) {
  std::vector<std::vector<Diagram<T>>> result(cores.size());
  parallel_for(static_cast<int64_t>(cores.size()), [&](int64_t i) { result[i] = diagrams_of(cores[i], max_dim); });
  return result;
}

template <class T>
std::vector<std::vector<Diagram<T>>> rips_of_sorted(std::span<const SortedRips<T>> graphs, int max_dim) {
  std::vector<std::vector<Diagram<T>>> result(graphs.size());
  parallel_for(static_cast<int64_t>(graphs.size()), [&](int64_t i) { result[i] = diagrams_of(graphs[i], max_dim); });
  return result;
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
template std::vector<std::vector<Diagram<float>>> rips_of_cores(std::span<const RipsCore<float>>, int);
template std::vector<std::vector<Diagram<double>>> rips_of_cores(std::span<const RipsCore<double>>, int);
template std::vector<std::vector<Diagram<float>>> rips_of_sorted(std::span<const SortedRips<float>>, int);
template std::vector<std::vector<Diagram<double>>> rips_of_sorted(std::span<const SortedRips<double>>, int);

}  // namespace mk::topology
