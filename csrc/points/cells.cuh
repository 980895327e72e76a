// Points in a cubic grid of cells on a CUDA device, where points/cells.h puts them.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "points/cells_cuda.h"
#include "points/item_sums.cuh"
#include "points/value_checks.cuh"

namespace mk::cuda {

// What a thread works on: some channels of a point or cell.
constexpr int kChannelsTogether = 8;

inline int64_t channel_blocks(int64_t channels) { return (channels + kChannelsTogether - 1) / kChannelsTogether; }

// The item of a row among those that begin at `starts` [items + 1].
__device__ inline int64_t item_of(const int64_t* starts, int64_t items, int64_t row) {
  int64_t low = 0, high = items;  // starts[low] <= row < starts[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (starts[middle] <= row ? low : high) = middle;
  }
  return low;
}

template <class T>
struct PlacedPoints {
  const T* points;
  const int64_t* starts;
  int64_t count, items, resolution;
  const RowSums* sums;  // of items, from which their means follow; none where these are not subtracted

  __host__ __device__ int64_t cells() const { return resolution * resolution * resolution; }
  __device__ int64_t item(int64_t point) const { return item_of(starts, items, point); }
  __device__ double last() const { return static_cast<double>(resolution - 1); }
  // Within the grid, also what is NaN, as points are placed before it is known that all are finite.
  __device__ double held(double place) const { return place >= 0 ? min(place, last()) : 0; }

  // In cells from the middle of the first one, not yet held within the grid.
  __device__ void find(int64_t point, int64_t own_item, double (&place)[3]) const {
    double mean[3] = {0, 0, 0};
    if (sums != nullptr) {
      const auto share = static_cast<double>(starts[own_item + 1] - starts[own_item]);
      const RowSums& own = sums[own_item];
      mean[0] = own.x / share;
      mean[1] = own.y / share;
      mean[2] = own.z / share;
    }
    for (int axis = 0; axis < 3; ++axis)
      place[axis] =
          (static_cast<double>(points[point * 3 + axis]) - mean[axis] + 1) / 2 * static_cast<double>(resolution);
  }
};

inline int64_t longest_item(std::span<const int64_t> starts) {
  int64_t longest = 0;
  for (size_t i = 1; i < starts.size(); ++i) longest = std::max(longest, starts[i] - starts[i - 1]);
  return longest;
}

// Rows of items that stand one after the other.
template <class V>
std::vector<ItemRows<V>> rows_of_items(const V* values, std::span<const int64_t> starts) {
  std::vector<ItemRows<V>> rows;
  for (size_t i = 1; i < starts.size(); ++i) rows.push_back({values + starts[i - 1] * 3, starts[i] - starts[i - 1]});
  return rows;
}

// Sums over the rows of items that stand one after the other; `values` are [rows, 3].
template <class V>
const RowSums* add_items(const V* values, std::span<const int64_t> starts, const Workplace& place) {
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  const int64_t items = static_cast<int64_t>(starts.size()) - 1;
  const auto [space, rows] = take_arrays(place.allocate, [&](Arena& arena) {
    return std::pair(SumSpace(arena, items, longest_item(starts)), arena.take<ItemRows<V>>(items));
  });
  upload(rows, rows_of_items(values, starts), stream);
  add_rows(rows, space, stream);
  return space.sums;
}

template <class T>
PlacedPoints<T> place_points(const DevicePointItems<T>& items, const Workplace& place) {
  const cudaStream_t stream = static_cast<cudaStream_t>(place.stream);
  auto* const starts = static_cast<int64_t*>(place.allocate(items.starts.size() * sizeof(int64_t)));
  upload(starts, std::vector<int64_t>(items.starts.begin(), items.starts.end()), stream);
  const RowSums* const sums = items.subtract_mean ? add_items(items.points, items.starts, place) : nullptr;
  return {items.points, starts, items.count(), items.items(), items.resolution, sums};
}

}  // namespace mk::cuda
