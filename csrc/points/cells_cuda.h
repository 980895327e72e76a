// Points and cubic grids of cells, as the kernels between them take them from the bindings.
#pragma once

#include <cstdint>
#include <span>

#include "points/clouds_cuda.h"

namespace mk::cuda {

// Points [count, 3] of all items in device memory, one item after the other, and grids of `resolution` cells along each
// edge.
template <class T>
struct DevicePointItems {
  const T* points;
  std::span<const int64_t> starts;  // in host memory, [items + 1]: the first point of each item, and their number
  int64_t resolution;
  bool subtract_mean;

  int64_t items() const { return static_cast<int64_t>(starts.size()) - 1; }
  int64_t count() const { return starts.back(); }
};

// Bytes of device memory that the points of cells take while they are sorted, at most.
int64_t cells_memory(int64_t items, int64_t points, int64_t resolution);

}  // namespace mk::cuda
