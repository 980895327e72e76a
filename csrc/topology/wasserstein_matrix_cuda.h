// Wasserstein distances between all pairs of persistence diagrams, on a CUDA device.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "topology/bar_cost.h"

namespace mk::cuda {

// Prepared diagrams in host memory, as topology/wasserstein_matrix.h packs them.
struct PackedDiagrams {
  std::span<const double> birth, death;
  std::span<const int64_t> first;
  std::span<const uint8_t> one_birth;
  std::span<const double> endless;
  std::span<const int64_t> endless_first;

  int64_t count() const { return static_cast<int64_t>(one_birth.size()); }
};

struct WassersteinRequest {
  PackedDiagrams diagrams, others;
  bool symmetric;  // others are the diagrams themselves
  topology::Ground ground;
  double scale;       // that the diagrams have been multiplied by
  double* distances;  // device memory, [diagrams, others]
  int device;
  void* stream;
  int64_t memory;                         // bytes that can be allocated
  std::function<void*(size_t)> allocate;  // device memory for the time of the call, aligned for any type
};

// Distances of order 1. One block of threads a pair; memory beyond the result is that of the diagrams and of the pairs
// that are under way.
void wasserstein_matrix(const WassersteinRequest& request);

}  // namespace mk::cuda
