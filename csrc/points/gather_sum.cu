// Sums over the neighbours of a table on a CUDA device, in the order of the CPU: results are the same, digit by digit,
// but for nodes that very many edges come from.
//
// A thread sums some channels of a node, over its row of the table. On the way back edges are sorted by the node that
// they come from, and a thread sums those of one node; where these are very many, parts of them are summed side by side
// first. Products of both ends: eight threads an edge and head. O(B M k H C); the way back needs 16 bytes an edge.
#include <stdexcept>
#include <tuple>

#include "points/gather_sum_cuda.h"
#include "points/sorted_runs.cuh"
#include "points/value_checks.cuh"

namespace mk::cuda {

namespace {

constexpr int kAhead = 4;          // edges whose rows are on their way at once
constexpr int kPartialSums = 8;    // of products, as on the CPU
constexpr size_t kPackBytes = 16;  // that a thread reads at once

// Some channels of a row.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T values[kWidth]{};
};

// Division of numbers that are hardly ever beyond 32 bits, which takes far longer.
__device__ inline int64_t divided(int64_t a, int64_t b) {
  return (a | b) >> 32 == 0 ? static_cast<int64_t>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b)) : a / b;
}

__host__ __device__ inline int64_t width_of(const DeviceGraph& graph) { return graph.heads * graph.channels; }

__device__ inline bool is_source(const DeviceGraph& graph, int64_t index) {
  return static_cast<uint64_t>(index) < static_cast<uint64_t>(graph.sources);
}

template <class T, int kWidth, bool kWeighted>
__device__ inline void add(Pack<T, kWidth>& sum, const Pack<T, kWidth>& values, T weight) {
#pragma unroll
  for (int c = 0; c < kWidth; ++c) sum.values[c] += kWeighted ? weight * values.values[c] : values.values[c];
}

template <class T, int kWidth, bool kWeighted>
__global__ void sum_rows(DeviceGraph graph, const T* features, const T* weights, T* sums) {
  using P = Pack<T, kWidth>;
  const int64_t packs = width_of(graph) / kWidth, count = graph.batch * graph.rows * packs;
  for (int64_t at = thread_index(); at < count; at += thread_count()) {
    const int64_t row = divided(at, packs), pack = at - row * packs, item = divided(row, graph.rows);
    const int64_t head = kWeighted ? divided(pack * kWidth, graph.channels) : 0;
    const int64_t* const table = graph.neighbours + row * graph.k;
    const P* const from = reinterpret_cast<const P*>(features) + item * graph.sources * packs + pack;
    P sum;
    for (int64_t first = 0; first < graph.k; first += kAhead) {
      bool present[kAhead];
      P values[kAhead];
      T factors[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int64_t source = first + a < graph.k ? table[first + a] : -1;
        present[a] = is_source(graph, source);
        if (!present[a]) continue;
        values[a] = from[source * packs];
        factors[a] = kWeighted ? weights[(row * graph.k + first + a) * graph.heads + head] : T(1);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a)
        if (present[a]) add<T, kWidth, kWeighted>(sum, values[a], factors[a]);
    }
    reinterpret_cast<P*>(sums)[at] = sum;
  }
}

// Edges with the node, in one numbering over the batch, that they come from; absent ones follow all nodes.
__global__ void number_edges(DeviceGraph graph, int64_t edges, uint32_t* nodes, uint32_t* numbers) {
  const int64_t item_edges = graph.rows * graph.k;
  for (int64_t edge = thread_index(); edge < edges; edge += thread_count()) {
    const int64_t source = graph.neighbours[edge];
    const int64_t node =
        is_source(graph, source) ? divided(edge, item_edges) * graph.sources + source : graph.batch * graph.sources;
    nodes[edge] = static_cast<uint32_t>(node);
    numbers[edge] = static_cast<uint32_t>(edge);
  }
}

template <class T>
struct Sorted {
  DeviceGraph graph;
  const T *sums, *weights;
  const uint32_t *nodes, *edges;
  int64_t count;
  const Run* runs;
};

template <class T, int kWidth, bool kWeighted>
__device__ inline void add_edges(const Sorted<T>& sorted, uint32_t begin, uint32_t end, int64_t packs, int64_t pack,
                                 Pack<T, kWidth>& sum) {
  using P = Pack<T, kWidth>;
  const DeviceGraph& graph = sorted.graph;
  const P* const from = reinterpret_cast<const P*>(sorted.sums) + pack;
  const int64_t head = kWeighted ? divided(pack * kWidth, graph.channels) : 0;
  for (uint32_t first = begin; first < end; first += kAhead) {
    P values[kAhead];
    T factors[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (first + a >= end) continue;
      const uint32_t edge = sorted.edges[first + a];
      values[a] = from[divided(edge, graph.k) * packs];
      factors[a] = kWeighted ? sorted.weights[edge * graph.heads + head] : T(1);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a)
      if (first + a < end) add<T, kWidth, kWeighted>(sum, values[a], factors[a]);
  }
}

// The sums of those parts of the sorted edges that lie within a long run.
template <class T, int kWidth, bool kWeighted>
__global__ void add_parts(Sorted<T> sorted, uint32_t absent, T* partial) {
  const int64_t packs = width_of(sorted.graph) / kWidth, count = sorted.count / kPart * packs;
  for (int64_t at = thread_index(); at < count; at += thread_count()) {
    const auto part = static_cast<uint32_t>(divided(at, packs));
    if (long_run_of(sorted.nodes, part, absent, sorted.runs).count() == 0) continue;
    Pack<T, kWidth> sum;
    add_edges<T, kWidth, kWeighted>(sorted, part * kPart, (part + 1) * kPart, packs, at - part * packs, sum);
    reinterpret_cast<Pack<T, kWidth>*>(partial)[at] = sum;
  }
}

template <class T, int kWidth, bool kWeighted>
__global__ void add_runs(Sorted<T> sorted, const T* partial, T* features) {
  using P = Pack<T, kWidth>;
  const int64_t packs = width_of(sorted.graph) / kWidth, count = sorted.graph.batch * sorted.graph.sources * packs;
  for (int64_t at = thread_index(); at < count; at += thread_count()) {
    const int64_t node = divided(at, packs), pack = at - node * packs;
    P sum;
    for_parts(
        sorted.runs[node],
        [&](uint32_t begin, uint32_t end) { add_edges<T, kWidth, kWeighted>(sorted, begin, end, packs, pack, sum); },
        [&](uint32_t part) {
          add<T, kWidth, false>(sum, reinterpret_cast<const P*>(partial)[part * packs + pack], T(1));
        });
    reinterpret_cast<P*>(features)[at] = sum;
  }
}

template <class T>
__global__ void multiply_rows(DeviceGraph graph, const T* features, const T* sums, T* weights) {
  const int64_t width = width_of(graph), count = graph.batch * graph.rows * graph.k * graph.heads;
  const int lane = threadIdx.x % kPartialSums, place = threadIdx.x % kWarp / kPartialSums;
  constexpr int in_warp = kWarp / kPartialSums;
  // All lanes of a warp stay in the loop, as they exchange partial sums.
  for (int64_t first = thread_index() / kWarp * in_warp; first < count; first += thread_count() / kWarp * in_warp) {
    const int64_t at = first + place;
    T partial = 0;
    if (at < count) {
      const int64_t edge = divided(at, graph.heads), head = at - edge * graph.heads, row = divided(edge, graph.k);
      const int64_t source = graph.neighbours[edge];
      if (is_source(graph, source)) {
        const int64_t node = divided(row, graph.rows) * graph.sources + source;
        const T* const a = features + node * width + head * graph.channels;
        const T* const b = sums + row * width + head * graph.channels;
        for (int64_t c = lane; c < graph.channels; c += kPartialSums) partial += a[c] * b[c];
      }
    }
    for (int half = kPartialSums / 2; half > 0; half /= 2) partial += __shfl_xor_sync(kAllLanes, partial, half);
    if (at < count && lane == 0) weights[at] = partial;
  }
}

// Calls run(width of packs, whether there are weights) with what fits rows of the graph and the arrays.
template <class T, class Run>
void with_packs(const DeviceGraph& graph, const T* a, const T* b, const T* weights, const Run& run) {
  constexpr int wide = static_cast<int>(kPackBytes / sizeof(T));
  const int64_t whole = weights ? graph.channels : width_of(graph);
  const bool aligned = (reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) % kPackBytes == 0;
  const auto of_width = [&]<int kWidth>() {
    weights ? run.template operator()<kWidth, true>() : run.template operator()<kWidth, false>();
  };
  aligned&& whole % wide == 0 ? of_width.template operator()<wide>() : of_width.template operator()<1>();
}

using SortedEdges = SortedRuns<uint32_t>;

// Sorted edges, and sums of their parts.
auto take_edges(Arena& arena, int64_t edges, int64_t sources, int64_t row_bytes) {
  const SortedEdges sorted(arena, edges, sources);
  return std::tuple(sorted, arena.take<char>(sorted.parts() * row_bytes));
}

}  // namespace

template <class T>
bool gather_sum(const DeviceGraph& graph, const T* features, const T* weights, T* sums, const Workplace& place) {
  const int64_t rows = graph.batch * graph.rows, width = width_of(graph);
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const Checks checks(place);
  checks.start(graph.neighbours, rows * graph.k, 0, AreIndices{-1, graph.sources});
  if (rows * width > 0) {
    with_packs(graph, features, sums, weights, [&]<int kWidth, bool kWeighted>() {
      const int blocks = blocks_for(rows * width / kWidth);
      sum_rows<T, kWidth, kWeighted><<<blocks, kThreads, 0, stream>>>(graph, features, weights, sums);
    });
    launched("summing over neighbours");
  }
  return checks.found() < 0;
}

template <class T>
void gather_sum_transposed(const DeviceGraph& graph, const T* sums, const T* weights, T* features,
                           const Workplace& place) {
  const int64_t nodes = graph.batch * graph.sources, edges = graph.batch * graph.rows * graph.k;
  const int64_t width = width_of(graph);
  if (edges > INT32_MAX || nodes >= int64_t{UINT32_MAX})
    throw std::invalid_argument("gradients of gather_sum on a GPU are for fewer than 2^31 edges and 2^32 - 1 sources");
  if (nodes * width == 0) return;
  const DeviceScope scope(place.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  if (edges == 0) {
    check(cudaMemsetAsync(features, 0, nodes * width * sizeof(T), stream), "clearing gradients");
    return;
  }
  auto [by_node, memory] = take_arrays(place.allocate, [&](Arena& arena) {
    return take_edges(arena, edges, nodes, width * static_cast<int64_t>(sizeof(T)));
  });
  number_edges<<<blocks_for(edges), kThreads, 0, stream>>>(graph, edges, by_node.keys_of(), by_node.numbers());
  launched("numbering edges");
  by_node.sort(stream);
  const auto absent = static_cast<uint32_t>(nodes);
  const Sorted<T> sorted{graph, sums, weights, by_node.keys_of(), by_node.numbers(), edges, by_node.runs};
  T* const partial = reinterpret_cast<T*>(memory);
  with_packs(graph, features, sums, weights, [&]<int kWidth, bool kWeighted>() {
    if (by_node.parts() > 0) {
      const int blocks = blocks_for(by_node.parts() * width / kWidth);
      add_parts<T, kWidth, kWeighted><<<blocks, kThreads, 0, stream>>>(sorted, absent, partial);
    }
    const int blocks = blocks_for(nodes * width / kWidth);
    add_runs<T, kWidth, kWeighted><<<blocks, kThreads, 0, stream>>>(sorted, partial, features);
  });
  launched("summing back over edges");
}

template <class T>
void gather_sum_products(const DeviceGraph& graph, const T* features, const T* sums, T* weights,
                         const Workplace& place) {
  const int64_t count = graph.batch * graph.rows * graph.k * graph.heads;
  if (count == 0) return;
  const DeviceScope scope(place.device);
  multiply_rows<<<blocks_for(count, kPartialSums), kThreads, 0, static_cast<cudaStream_t>(place.stream)>>>(
      graph, features, sums, weights);
  launched("multiplying both ends of edges");
}

template bool gather_sum(const DeviceGraph&, const float*, const float*, float*, const Workplace&);
template bool gather_sum(const DeviceGraph&, const double*, const double*, double*, const Workplace&);
template void gather_sum_transposed(const DeviceGraph&, const float*, const float*, float*, const Workplace&);
template void gather_sum_transposed(const DeviceGraph&, const double*, const double*, double*, const Workplace&);
template void gather_sum_products(const DeviceGraph&, const float*, const float*, float*, const Workplace&);
template void gather_sum_products(const DeviceGraph&, const double*, const double*, double*, const Workplace&);

}  // namespace mk::cuda
