#include "points/gather_sum.h"

#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "common/widest.h"

namespace mk::points {

namespace {

constexpr int64_t kRowsTogether = 128;    // rows of one piece of work
constexpr int64_t kAhead = 8;             // edges whose rows are fetched before they are needed
constexpr int64_t kLine = 64;             // bytes
constexpr int64_t kBlockBytes = 1 << 18;  // of sums, so that they stay in the cache of a core
constexpr int64_t kMostBlocks = 1 << 10;  // so that writing to all of them stays in the cache, too
constexpr int64_t kEdgesTogether = 1 << 15;
constexpr int64_t kPartialSums = 8;  // of products, always as many, so that results are the same everywhere

// The rows of one array that the edges of a table lead to.
template <class T>
[[gnu::always_inline]] inline void fetch(const T* row, int64_t width) {
  const char* bytes = reinterpret_cast<const char*>(row);
  for (int64_t at = 0; at < std::min<int64_t>(width * static_cast<int64_t>(sizeof(T)), 4 * kLine); at += kLine)
    __builtin_prefetch(bytes + at);
}

template <class T>
[[gnu::always_inline]] inline void add_row(const T* from, const T* weights, int64_t heads, int64_t channels, T* to) {
  if (weights == nullptr) {
#pragma GCC ivdep
    for (int64_t c = 0; c < heads * channels; ++c) to[c] += from[c];
    return;
  }
  for (int64_t h = 0; h < heads; ++h) {
    const T weight = weights[h];
#pragma GCC ivdep
    for (int64_t c = h * channels; c < (h + 1) * channels; ++c) to[c] += weight * from[c];
  }
}

// The row of features that each edge comes from, in one numbering over the batch; -1 if absent.
struct Sources {
  const Graph& graph;
  [[gnu::always_inline]] int64_t operator()(int64_t edge, int64_t item) const {
    const int64_t source = graph.neighbours[edge];
    return source < 0 ? -1 : item * graph.sources + source;
  }
};

template <class T>
[[gnu::always_inline]] inline void sum_rows(const Graph& graph, const T* features, const T* weights, int64_t begin,
                                            int64_t end, T* sums) {
  const int64_t width = graph.width(), k = graph.k;
  const Sources sources{graph};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t item = row / graph.rows;
    T* to = sums + row * width;
    std::fill_n(to, width, T(0));
    for (int64_t edge = row * k; edge < (row + 1) * k; ++edge) {
      if (edge + kAhead < (item + 1) * graph.rows * k)
        if (const int64_t next = sources(edge + kAhead, item); next >= 0) fetch(features + next * width, width);
      const int64_t source = sources(edge, item);
      if (source < 0) continue;
      add_row(features + source * width, weights ? weights + edge * graph.heads : nullptr, graph.heads, graph.channels,
              to);
    }
  }
}

template <class T>
[[gnu::always_inline]] inline T product(const T* a, const T* b, int64_t count) {
  T partial[kPartialSums]{};
  int64_t c = 0;
  for (; c + kPartialSums <= count; c += kPartialSums)
    for (int64_t lane = 0; lane < kPartialSums; ++lane) partial[lane] += a[c + lane] * b[c + lane];
  for (; c < count; ++c) partial[c % kPartialSums] += a[c] * b[c];
  for (int64_t half = kPartialSums / 2; half > 0; half /= 2)
    for (int64_t lane = 0; lane < half; ++lane) partial[lane] += partial[lane + half];
  return partial[0];
}

template <class T>
[[gnu::always_inline]] inline void multiply_rows(const Graph& graph, const T* features, const T* sums, int64_t begin,
                                                 int64_t end, T* weights) {
  const int64_t width = graph.width(), k = graph.k, channels = graph.channels;
  const Sources sources{graph};
  for (int64_t row = begin; row < end; ++row) {
    const int64_t item = row / graph.rows;
    for (int64_t edge = row * k; edge < (row + 1) * k; ++edge) {
      if (edge + kAhead < (item + 1) * graph.rows * k)
        if (const int64_t next = sources(edge + kAhead, item); next >= 0) fetch(features + next * width, width);
      const int64_t source = sources(edge, item);
      for (int64_t h = 0; h < graph.heads; ++h)
        weights[edge * graph.heads + h] =
            source < 0 ? T(0)
                       : product(features + source * width + h * channels, sums + row * width + h * channels, channels);
    }
  }
}

// Edges by blocks of the nodes that they come from; those of a block in their order.
struct EdgeBlocks {
  int64_t nodes = 0;            // of a block
  std::vector<int64_t> starts;  // of blocks among the edges, and their end
  std::vector<int64_t> edges;
};

EdgeBlocks sort_edges(const Graph& graph, int64_t node_bytes) {
  const int64_t nodes = graph.batch * graph.sources, edges = graph.batch * graph.rows * graph.k;
  EdgeBlocks result;
  result.nodes =
      std::max({int64_t{1}, kBlockBytes / std::max<int64_t>(node_bytes, 1), (nodes + kMostBlocks - 1) / kMostBlocks});
  const int64_t blocks = (nodes + result.nodes - 1) / result.nodes;
  const int64_t pieces = (edges + kEdgesTogether - 1) / kEdgesTogether, item_edges = graph.rows * graph.k;
  const Sources sources{graph};
  const auto each = [&](int64_t piece, const auto& take) {
    const int64_t end = std::min(edges, (piece + 1) * kEdgesTogether);
    for (int64_t edge = piece * kEdgesTogether; edge < end;) {
      const int64_t item = edge / item_edges;
      for (const int64_t stop = std::min(end, (item + 1) * item_edges); edge < stop; ++edge)
        if (const int64_t source = sources(edge, item); source >= 0) take(source / result.nodes, edge);
    }
  };
  // places[piece, block]: first how many edges, then where the next one goes.
  std::vector<int64_t> places(pieces * blocks);
  parallel_for(pieces, [&](int64_t piece) { each(piece, [&](int64_t b, int64_t) { ++places[piece * blocks + b]; }); });
  int64_t total = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    result.starts.push_back(total);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t count = places[piece * blocks + b];
      places[piece * blocks + b] = total;
      total += count;
    }
  }
  result.starts.push_back(total);
  result.edges.resize(total);
  parallel_for(pieces, [&](int64_t piece) {
    each(piece, [&](int64_t b, int64_t edge) { result.edges[places[piece * blocks + b]++] = edge; });
  });
  return result;
}

template <class T>
[[gnu::always_inline]] inline void spread_edges(const Graph& graph, const T* sums, const T* weights,
                                                std::span<const int64_t> edges, T* features) {
  const int64_t width = graph.width(), k = graph.k, item_edges = graph.rows * k;
  const int64_t count = static_cast<int64_t>(edges.size());
  const Sources sources{graph};
  for (int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) fetch(sums + edges[i + kAhead] / k * width, width);
    const int64_t edge = edges[i];
    add_row(sums + edge / k * width, weights ? weights + edge * graph.heads : nullptr, graph.heads, graph.channels,
            features + sources(edge, edge / item_edges) * width);
  }
}

template <class T>
const T* or_none(std::span<const T> values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace

template <class T>
void gather_sum(const Graph& graph, std::span<const T> features, std::span<const T> weights, std::span<T> sums) {
  const int64_t rows = graph.batch * graph.rows;
  parallel_for((rows + kRowsTogether - 1) / kRowsTogether, [&](int64_t piece) {
    const int64_t begin = piece * kRowsTogether, end = std::min(rows, begin + kRowsTogether);
    simd::with_widest([&]() __attribute__((always_inline)) {
      sum_rows(graph, features.data(), or_none(weights), begin, end, sums.data());
    });
  });
}

template <class T>
void gather_sum_transposed(const Graph& graph, std::span<const T> sums, std::span<const T> weights,
                           std::span<T> features) {
  const int64_t nodes = graph.batch * graph.sources, width = graph.width();
  const EdgeBlocks blocks = sort_edges(graph, width * static_cast<int64_t>(sizeof(T)));
  parallel_for(static_cast<int64_t>(blocks.starts.size()) - 1, [&](int64_t b) {
    const int64_t begin = b * blocks.nodes, end = std::min(nodes, begin + blocks.nodes);
    const auto edges = std::span(blocks.edges).subspan(blocks.starts[b], blocks.starts[b + 1] - blocks.starts[b]);
    std::fill(features.begin() + begin * width, features.begin() + end * width, T(0));
    simd::with_widest([&]() __attribute__((always_inline)) {
      spread_edges(graph, sums.data(), or_none(weights), std::span<const int64_t>(edges), features.data());
    });
  });
}

template <class T>
void gather_sum_products(const Graph& graph, std::span<const T> features, std::span<const T> sums,
                         std::span<T> weights) {
  const int64_t rows = graph.batch * graph.rows;
  parallel_for((rows + kRowsTogether - 1) / kRowsTogether, [&](int64_t piece) {
    const int64_t begin = piece * kRowsTogether, end = std::min(rows, begin + kRowsTogether);
    simd::with_widest([&]() __attribute__((always_inline)) {
      multiply_rows(graph, features.data(), sums.data(), begin, end, weights.data());
    });
  });
}

template void gather_sum(const Graph&, std::span<const float>, std::span<const float>, std::span<float>);
template void gather_sum(const Graph&, std::span<const double>, std::span<const double>, std::span<double>);
template void gather_sum_transposed(const Graph&, std::span<const float>, std::span<const float>, std::span<float>);
template void gather_sum_transposed(const Graph&, std::span<const double>, std::span<const double>, std::span<double>);
template void gather_sum_products(const Graph&, std::span<const float>, std::span<const float>, std::span<float>);
template void gather_sum_products(const Graph&, std::span<const double>, std::span<const double>, std::span<double>);

}  // namespace mk::points
