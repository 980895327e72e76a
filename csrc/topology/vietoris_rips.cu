// Vietoris-Rips filtrations of a batch of clouds on a CUDA device.
//
// One pipeline goes over all clouds: distances, limits, a stable sort by length and then by cloud, matrices of ranks.
// Then, for loops, a warp an edge finds the edges without an apparent pair (Bauer 2021); for higher dimensions a block
// a cloud collapses edges (Glisse and Pritam 2022). What is left goes to the host in one piece.
// Time O(P^2 log P) and O(P^3) for the edges in practice, memory O(P^2) for each cloud of P points.
#include <algorithm>
#include <bit>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "common/launch.cuh"
#include "common/primitives.h"
#include "topology/rips_distances.cuh"
#include "topology/rips_edges.cuh"
#include "topology/vietoris_rips_cuda.h"

namespace mk::cuda {

namespace {

constexpr int64_t kPairsAtOnce = int64_t{1} << 26;  // bounds memory, of the host too, and still fills the device
constexpr double kMemoryShare = 0.9;                // of what can be allocated: not all may be in one piece
constexpr size_t kSharedScratch = 46 << 10;         // bytes; with the static part what every device has

// Items of clouds, and the total numbers of their points, pairs u < v and pairs of points.
struct Batch {
  std::vector<Item> items;
  int64_t rows = 0, pairs = 0, entries = 0, largest = 0;

  void add(const DeviceCloud& cloud) {
    items.push_back({cloud.values, cloud.size, cloud.dim, rows, pairs, entries});
    rows += cloud.size;
    pairs += cloud.size * (cloud.size - 1) / 2;
    entries += cloud.size * cloud.size;
    largest = std::max(largest, cloud.size);
  }
  int count() const { return static_cast<int>(items.size()); }
  size_t scratch_bytes() const { return sizeof(uint32_t) * 2 * kCollapseWarps * largest; }  // of the largest cloud
};

// Arrays in device memory. `listed` takes the place of the keys once these are sorted.
template <class T>
struct Work {
  using Bits = typename SortKey<T>::Bits;

  Item* items;
  T *farthest, *lengths, *edge_lengths;
  double* limits;
  int* bad;
  uint32_t *kept, *found, *matrix, *scratch;
  Bits* keys[2];
  uint32_t* order[2];
  uint2* listed;
  int2* edges;
  char* sort_space;
  size_t sort_bytes;

  Work(Arena& arena, const Batch& batch, size_t bytes_to_sort) : sort_bytes(bytes_to_sort) {
    const int64_t count = batch.count(), pairs = batch.pairs;
    items = arena.take<Item>(count);
    farthest = arena.take<T>(batch.rows);
    limits = arena.take<double>(count);
    bad = arena.take<int>(count);
    kept = arena.take<uint32_t>(count);
    found = arena.take<uint32_t>(count);
    lengths = arena.take<T>(pairs);
    edge_lengths = arena.take<T>(pairs);
    edges = arena.take<int2>(pairs);
    matrix = arena.take<uint32_t>(batch.entries);
    scratch = arena.take<uint32_t>(2 * kCollapseWarps * batch.rows);
    for (uint32_t*& each : order) each = arena.take<uint32_t>(pairs);
    char* const both_keys = arena.take<char>(2 * pairs * static_cast<int64_t>(sizeof(Bits)));
    keys[0] = reinterpret_cast<Bits*>(both_keys);
    keys[1] = keys[0] + pairs;
    listed = reinterpret_cast<uint2*>(both_keys);
    sort_space = arena.take<char>(static_cast<int64_t>(bytes_to_sort));
  }
};

template <class T>
constexpr int kLengthBits = 8 * sizeof(T) - 1;  // there is no sign

// The second sort is by cloud, and only where there are several.
int cloud_bits(int clouds) { return std::bit_width(static_cast<unsigned>(clouds - 1)); }

template <class T>
size_t bytes_to_sort(int64_t pairs, int clouds) {
  typename SortKey<T>::Bits* keys[2] = {};
  uint32_t *words[2] = {}, *values[2] = {};
  size_t by_length = 0, by_cloud = 0;
  sort_pairs(nullptr, by_length, keys, values, pairs, kLengthBits<T>, nullptr);
  if (clouds > 1) sort_pairs(nullptr, by_cloud, words, values, pairs, cloud_bits(clouds), nullptr);
  return std::max(by_length, by_cloud);
}

// Fills lengths, keys, order, farthest and limits; returns the first cloud with values that must not be, or -1.
template <class T>
int64_t measure(const Batch& batch, const Work<T>& work, const RipsRequest& request, cudaStream_t stream) {
  const int count = batch.count();
  upload(work.items, batch.items, stream);
  check(cudaMemsetAsync(work.bad, 0, count * sizeof(int), stream), "clearing marks");
  if (batch.rows > 0) {
    distance_rows<T><<<static_cast<int>(std::min(batch.rows, kMostBlocks)), kRowThreads, 0, stream>>>(
        work.items, count, batch.rows, request.kind, static_cast<T>(request.largest), work.lengths, work.keys[0],
        work.order[0], work.farthest, work.bad);
    launched("computing distances");
  }
  length_limits<T><<<blocks_for(count, kWarp), kThreads, 0, stream>>>(work.items, count, request.threshold,
                                                                      work.farthest, work.limits);
  launched("finding enclosing radii");
  const std::vector<int> bad = download<int>(work.bad, count, stream);
  const auto first = std::find(bad.begin(), bad.end(), 1);
  return first == bad.end() ? -1 : first - bad.begin();
}

// Orders the pairs of each cloud by length; fills kept, edges, their lengths and the matrices.
template <class T>
void rank(const Batch& batch, Work<T>& work, cudaStream_t stream) {
  const int count = batch.count();
  check(cudaMemsetAsync(work.matrix, 0, batch.entries * sizeof(uint32_t), stream), "clearing ranks");
  sort_pairs(work.sort_space, work.sort_bytes, work.keys, work.order, batch.pairs, kLengthBits<T>, stream);
  if (count > 1) {
    uint32_t* words[2] = {reinterpret_cast<uint32_t*>(work.keys[0]), reinterpret_cast<uint32_t*>(work.keys[1])};
    cloud_keys<<<blocks_for(batch.pairs), kThreads, 0, stream>>>(work.items, count, batch.pairs, work.order[0],
                                                                 words[0]);
    launched("finding clouds of pairs");
    sort_pairs(work.sort_space, work.sort_bytes, words, work.order, batch.pairs, cloud_bits(count), stream);
  }
  count_edges<T><<<blocks_for(count), kThreads, 0, stream>>>(work.items, count, work.order[0], work.lengths,
                                                             work.limits, work.kept);
  launched("counting edges");
  rank_edges<T><<<blocks_for(batch.pairs), kThreads, 0, stream>>>(work.items, count, batch.pairs, work.order[0],
                                                                  work.lengths, work.kept, work.edges,
                                                                  work.edge_lengths, work.matrix);
  launched("ranking edges");
}

template <class T>
void list_edges(const Batch& batch, const Work<T>& work, bool collapse, cudaStream_t stream) {
  check(cudaMemsetAsync(work.found, 0, batch.count() * sizeof(uint32_t), stream), "clearing counts");
  if (collapse) {
    const size_t bytes = batch.scratch_bytes();
    const bool shared = bytes <= kSharedScratch;
    collapse_edges<<<batch.count(), kCollapseWarps * kWarp, shared ? bytes : 0, stream>>>(
        work.items, work.edges, work.kept, work.matrix, shared ? nullptr : work.scratch, work.listed, work.found);
    launched("collapsing edges");
  } else {
    list_open_edges<<<blocks_for(batch.pairs, kWarp), kThreads, 0, stream>>>(
        work.items, batch.count(), batch.pairs, work.edges, work.kept, work.matrix, work.listed, work.found);
    launched("looking for apparent pairs");
  }
}

// Element k of the result is element k - first[c] of the cloud c in the arrays over pairs.
__device__ int64_t source(const Item* items, int count, const int64_t* first, int64_t k, int64_t& cloud_first) {
  const int cloud = owner(first, count, k);
  cloud_first = items[cloud].pair_first;
  return cloud_first + k - first[cloud];
}

template <class T>
__global__ void gather_core(const Item* items, int count, const int64_t* first, int64_t total, const uint2* listed,
                            const int2* edges, const T* lengths, int4* ends, uint2* ranks, T* entry_lengths) {
  for (int64_t k = thread_index(); k < total; k += thread_count()) {
    int64_t cloud_first;
    const uint2 found = listed[source(items, count, first, k, cloud_first)];
    const int2 edge = edges[cloud_first + found.x], entry = edges[cloud_first + found.y];
    ends[k] = make_int4(edge.x, edge.y, entry.x, entry.y);
    ranks[k] = found;
    entry_lengths[k] = lengths[cloud_first + found.y];
  }
}

template <class T>
__global__ void gather_edges(const Item* items, int count, const int64_t* first, int64_t total, const int2* edges,
                             const T* lengths, int2* ends, T* edge_lengths) {
  for (int64_t k = thread_index(); k < total; k += thread_count()) {
    int64_t cloud_first;
    const int64_t from = source(items, count, first, k, cloud_first);
    ends[k] = edges[from];
    edge_lengths[k] = lengths[from];
  }
}

__global__ void gather_ranks(const Item* items, int count, const int64_t* first, int64_t total, const uint2* listed,
                             uint32_t* ranks) {
  for (int64_t k = thread_index(); k < total; k += thread_count()) {
    int64_t cloud_first;
    ranks[k] = listed[source(items, count, first, k, cloud_first)].x;
  }
}

std::vector<int64_t> offsets(const std::vector<uint32_t>& counts) {
  std::vector<int64_t> first(counts.size() + 1, 0);
  for (size_t c = 0; c < counts.size(); ++c) first[c + 1] = first[c] + counts[c];
  return first;
}

template <class T>
void take_core(const RipsRequest& request, const Batch& batch, const Work<T>& work, cudaStream_t stream,
               RipsParts<T>& parts) {
  const int count = batch.count();
  parts.first = offsets(download<uint32_t>(work.found, count, stream));
  const int64_t total = parts.first.back();
  if (total == 0) return;
  const auto layout = [&](Arena& arena) {
    return std::tuple(arena.take<int64_t>(count + 1), arena.take<int4>(total), arena.take<uint2>(total),
                      arena.take<T>(total));
  };
  const auto [first, ends, ranks, lengths] = take_arrays(request.allocate, layout);
  upload(first, parts.first, stream);
  gather_core<T><<<blocks_for(total), kThreads, 0, stream>>>(work.items, count, first, total, work.listed, work.edges,
                                                             work.edge_lengths, ends, ranks, lengths);
  launched("gathering edges");
  parts.edges = download<int32_t>(ends, 4 * total, stream);
  parts.ranks = download<uint32_t>(ranks, 2 * total, stream);
  parts.lengths = download<T>(lengths, total, stream);
}

template <class T>
void take_sorted(const RipsRequest& request, const Batch& batch, const Work<T>& work, cudaStream_t stream,
                 RipsParts<T>& parts) {
  const int count = batch.count();
  parts.first = offsets(download<uint32_t>(work.kept, count, stream));
  parts.open_first = offsets(download<uint32_t>(work.found, count, stream));
  const int64_t total = parts.first.back(), open = parts.open_first.back();
  if (total == 0) return;
  const auto layout = [&](Arena& arena) {
    return std::tuple(arena.take<int64_t>(count + 1), arena.take<int64_t>(count + 1), arena.take<int2>(total),
                      arena.take<T>(total), arena.take<uint32_t>(open));
  };
  const auto [first, open_first, ends, lengths, ranks] = take_arrays(request.allocate, layout);
  upload(first, parts.first, stream);
  upload(open_first, parts.open_first, stream);
  gather_edges<T><<<blocks_for(total), kThreads, 0, stream>>>(work.items, count, first, total, work.edges,
                                                              work.edge_lengths, ends, lengths);
  launched("gathering edges");
  gather_ranks<<<blocks_for(open), kThreads, 0, stream>>>(work.items, count, open_first, open, work.listed, ranks);
  launched("gathering ranks");
  parts.edges = download<int32_t>(ends, 2 * total, stream);
  parts.lengths = download<T>(lengths, total, stream);
  parts.open = download<uint32_t>(ranks, open, stream);
}

// As many of the first clouds as can be worked on at once, at least one.
template <class T>
Batch first_batch(const RipsRequest& request) {
  const int64_t memory = static_cast<int64_t>(kMemoryShare * static_cast<double>(request.memory));
  Batch batch;
  int64_t needed = 0;
  for (const DeviceCloud& cloud : request.clouds) {
    if (cloud.size > kMostPoints) throw std::invalid_argument("a cloud has too many points for 32-bit ranks");
    needed += rips_memory<T>(cloud.size);
    const int64_t pairs = batch.pairs + cloud.size * (cloud.size - 1) / 2;
    if (batch.count() > 0 && (needed > memory || pairs > kPairsAtOnce)) break;
    batch.add(cloud);
  }
  return batch;
}

}  // namespace

template <class T>
int64_t rips_memory(int64_t size) {
  const int64_t pairs = size * (size - 1) / 2;
  // Work, then the result; half a byte a pair is more than the space to sort in.
  const int64_t a_pair =
      2 * sizeof(T) + sizeof(int2) + 2 * sizeof(uint32_t) + 2 * sizeof(T) + sizeof(int4) + sizeof(uint2) + sizeof(T);
  const int64_t a_point = sizeof(T) + 2 * kCollapseWarps * sizeof(uint32_t);
  const int64_t a_cloud = sizeof(Item) + 64;
  return pairs * a_pair + pairs / 2 + size * size * static_cast<int64_t>(sizeof(uint32_t)) + size * a_point + a_cloud;
}

template <class T>
RipsParts<T> vietoris_rips(const RipsRequest& request) {
  RipsParts<T> parts;
  if (request.clouds.empty()) return parts;
  const DeviceScope scope(request.device);
  const cudaStream_t stream = static_cast<cudaStream_t>(request.stream);
  const Batch batch = first_batch<T>(request);
  const int count = batch.count();

  const size_t sorting = batch.pairs > 0 ? bytes_to_sort<T>(batch.pairs, count) : 0;
  const auto layout = [&](Arena& arena) { return Work<T>(arena, batch, sorting); };
  Work<T> work = take_arrays(request.allocate, layout);

  parts.bad = measure(batch, work, request, stream);
  if (parts.bad >= 0) return parts;
  parts.done = count;
  if (batch.pairs == 0) {
    parts.first.assign(count + 1, 0);
    parts.open_first.assign(count + 1, 0);
    return parts;
  }
  rank(batch, work, stream);
  list_edges(batch, work, request.max_dim > 1, stream);
  if (request.max_dim == 1)
    take_sorted(request, batch, work, stream, parts);
  else
    take_core(request, batch, work, stream, parts);
  return parts;
}

template RipsParts<float> vietoris_rips(const RipsRequest&);
template RipsParts<double> vietoris_rips(const RipsRequest&);
template int64_t rips_memory<float>(int64_t);
template int64_t rips_memory<double>(int64_t);

}  // namespace mk::cuda
