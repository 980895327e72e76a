// Neighbours on a CUDA device, as the bindings ask for them.
#pragma once

#include <cstdint>
#include <span>

#include "points/clouds_cuda.h"

namespace mk::cuda {

struct NeighbourRequest {
  std::span<const DevicePoints> points;
  std::span<const DevicePoints> queries;  // none: the points are their own
  bool doubles;                           // of double, not of float
  int64_t k;
  int64_t* indices;  // [queries of all clouds, k] in device memory; -1 where there are fewer than k
  void* squared;     // of the type of the points; infinite where there are fewer than k
  Workplace place;
};

// Bytes of device memory that a search allocates.
int64_t neighbour_memory(const NeighbourRequest& request);

}  // namespace mk::cuda
