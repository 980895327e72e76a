// Where each cloud of a batch lies in the arrays that all clouds share, and loops over these.
#pragma once

#include <cstdint>
#include <limits>

#include "common/launch.cuh"
#include "topology/vietoris_rips_cuda.h"

namespace mk::cuda {

struct Item {
  const void* values;
  int64_t size, dim;
  int64_t row_first, pair_first, matrix_first;  // in arrays over points, pairs u < v, and pairs of points
};

constexpr uint32_t kAbsent = std::numeric_limits<uint32_t>::max();  // the rank of an edge that is not there

// The last of `count` items whose `first` is at most `at`; items without elements come before the one that has them.
__device__ inline int owner(const Item* items, int count, int64_t Item::* first, int64_t at) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (items[middle].*first <= at)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

__device__ inline int owner(const int64_t* first, int count, int64_t at) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (first[middle] <= at)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// The same value in every lane: the least, or the greatest, of all lanes.
template <class V>
__device__ V warp_least(V value) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const V other = __shfl_xor_sync(kAllLanes, value, apart);
    value = other < value ? other : value;
  }
  return value;
}

template <class V>
__device__ V warp_greatest(V value) {
  for (int apart = kWarp / 2; apart > 0; apart /= 2) {
    const V other = __shfl_xor_sync(kAllLanes, value, apart);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace mk::cuda
