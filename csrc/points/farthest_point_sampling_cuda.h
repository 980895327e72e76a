// Farthest point sampling on a CUDA device. The picks are those of points/farthest_point_sampling.h.
#pragma once

#include <cstdint>
#include <span>

#include "points/clouds_cuda.h"

namespace mk::cuda {

struct SamplingRequest {
  std::span<const DevicePoints> clouds;
  bool doubles;  // of double, not of float
  int64_t start;
  std::span<const int64_t> counts;  // picks of each cloud
  int64_t* picks;                   // of all clouds, in device memory
  Workplace place;
};

// The number of the first cloud with a coordinate that is not finite or too large, or -1.
int64_t farthest_point_sampling(const SamplingRequest& request);

// Bytes of device memory that it allocates.
int64_t sampling_memory(const SamplingRequest& request);

}  // namespace mk::cuda
