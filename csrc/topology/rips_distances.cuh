// Distances of the pairs of points of a batch of clouds, and the ranks of these pairs once they are sorted.
#pragma once

#include "topology/rips_items.cuh"

namespace mk::cuda {

// Lengths as keys: bits of non-negative numbers are in the order of the numbers.
template <class T>
struct SortKey;
template <>
struct SortKey<float> {
  using Bits = uint32_t;
  static constexpr float greatest = std::numeric_limits<float>::max();
  __device__ static Bits of(float length) { return __float_as_uint(length); }
};
template <>
struct SortKey<double> {
  using Bits = unsigned long long;
  static constexpr double greatest = std::numeric_limits<double>::max();
  __device__ static Bits of(double length) { return static_cast<Bits>(__double_as_longlong(length)); }
};

// Each operation is rounded by itself and in the order of the CPU's code, so that both find the same numbers.
template <class T>
__device__ T distance(const T* a, const T* b, int64_t dim, CloudKind kind) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) {
    const double gap = fabs(__dsub_rn(static_cast<double>(b[d]), static_cast<double>(a[d])));
    if (kind == CloudKind::euclidean)
      sum = __dadd_rn(sum, __dmul_rn(gap, gap));
    else if (kind == CloudKind::manhattan)
      sum = __dadd_rn(sum, gap);
    else
      sum = fmax(sum, gap);
  }
  return static_cast<T>(kind == CloudKind::euclidean ? __dsqrt_rn(sum) : sum);
}

constexpr int kRowThreads = 128;

// A block a point: its distances to later points go to `lengths`, `keys` and `order`, the greatest of all its
// distances to `farthest`; clouds with values that must not be are marked in `bad`.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    distance_rows(const Item* items, int count, int64_t rows, CloudKind kind, T largest, T* lengths,
                  typename SortKey<T>::Bits* keys, uint32_t* order, T* farthest, int* bad) {
  __shared__ T reached[kRowThreads / kWarp];
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int cloud = owner(items, count, &Item::row_first, row);
    const Item item = items[cloud];
    const T* const values = static_cast<const T*>(item.values);
    const int64_t n = item.size, i = row - item.row_first;
    const int64_t first = item.pair_first + i * (2 * n - i - 1) / 2 - (i + 1);
    T reach = 0;
    bool good = true;
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
      T length = 0;
      if (kind == CloudKind::distances) {
        length = values[i * n + j];
        good = good && length >= 0 && length == values[j * n + i] && (i != j || length == 0);
        length += T(0);  // -0 becomes 0
      } else if (i != j) {
        length = distance(values + i * item.dim, values + j * item.dim, item.dim, kind);
      } else {
        for (int64_t d = 0; d < item.dim; ++d) good = good && fabs(values[i * item.dim + d]) <= largest;
      }
      reach = length > reach ? length : reach;
      if (j <= i) continue;
      lengths[first + j] = length;
      keys[first + j] = SortKey<T>::of(length);
      order[first + j] = static_cast<uint32_t>(first + j);
    }
    reach = warp_greatest(reach);
    if (threadIdx.x % kWarp == 0) reached[threadIdx.x / kWarp] = reach;
    if (!good) atomicExch(bad + cloud, 1);
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int warp = 1; warp < kRowThreads / kWarp; ++warp) reach = reached[warp] > reach ? reached[warp] : reach;
      farthest[row] = reach;
    }
    __syncthreads();  // until all has been read
  }
}

// A warp a cloud: the greatest length that an edge can have, from the threshold and the enclosing radius, the least
// distance within which one point reaches all: from there on the complex is a cone and nothing changes.
template <class T>
__global__ void length_limits(const Item* items, int count, double threshold, const T* farthest, double* limits) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t cloud = thread_index() / kWarp; cloud < count; cloud += thread_count() / kWarp) {
    T radius = SortKey<T>::greatest;  // infinity is no length
    for (int64_t i = lane; i < items[cloud].size; i += kWarp) {
      const T reach = farthest[items[cloud].row_first + i];
      radius = reach < radius ? reach : radius;
    }
    radius = warp_least(radius);
    if (lane == 0) limits[cloud] = fmin(threshold, static_cast<double>(radius));
  }
}

// The cloud of each pair, to sort by.
__global__ void cloud_keys(const Item* items, int count, int64_t pairs, const uint32_t* order, uint32_t* keys) {
  for (int64_t k = thread_index(); k < pairs; k += thread_count())
    keys[k] = static_cast<uint32_t>(owner(items, count, &Item::pair_first, order[k]));
}

// How many pairs of each cloud are within its limit; `order` lists the pairs of one cloud after another by length.
template <class T>
__global__ void count_edges(const Item* items, int count, const uint32_t* order, const T* lengths, const double* limits,
                            uint32_t* kept) {
  for (int64_t cloud = thread_index(); cloud < count; cloud += thread_count()) {
    const Item item = items[cloud];
    int64_t low = 0, high = item.size * (item.size - 1) / 2;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (static_cast<double>(lengths[order[item.pair_first + middle]]) <= limits[cloud])
        low = middle + 1;
      else
        high = middle;
    }
    kept[cloud] = static_cast<uint32_t>(low);
  }
}

// The pair u < v in place `at` of the pairs of n points in order of u, then v. Counted from the end, the pairs with
// the t-th last u begin at t (t + 1) / 2.
__device__ inline int2 pair_at(int64_t at, int64_t n) {
  const int64_t back = n * (n - 1) / 2 - 1 - at;
  int64_t t = static_cast<int64_t>((sqrt(8.0 * static_cast<double>(back) + 1) - 1) / 2);
  while (t * (t + 1) / 2 > back) --t;
  while ((t + 1) * (t + 2) / 2 <= back) ++t;
  return make_int2(static_cast<int>(n - 2 - t), static_cast<int>(n - 1 - (back - t * (t + 1) / 2)));
}

// Edges and their lengths by rank, and the matrix of ranks: 0 on the diagonal, kAbsent beyond the limit.
template <class T>
__global__ void rank_edges(const Item* items, int count, int64_t pairs, const uint32_t* order, const T* lengths,
                           const uint32_t* kept, int2* edges, T* edge_lengths, uint32_t* matrix) {
  for (int64_t k = thread_index(); k < pairs; k += thread_count()) {
    const int cloud = owner(items, count, &Item::pair_first, k);
    const Item item = items[cloud];
    const int2 edge = pair_at(order[k] - item.pair_first, item.size);
    const uint32_t place = static_cast<uint32_t>(k - item.pair_first), rank = place < kept[cloud] ? place : kAbsent;
    edges[k] = edge;
    edge_lengths[k] = lengths[order[k]];
    uint32_t* const ranks = matrix + item.matrix_first;
    ranks[edge.x * item.size + edge.y] = rank;
    ranks[edge.y * item.size + edge.x] = rank;
  }
}

}  // namespace mk::cuda
