// Eight numbers for each neighbour of a centre that do not change when the cloud is turned, on a CUDA device.
#pragma once

#include <cstdint>
#include <vector>

#include "points/neighbourhoods_cuda.h"

namespace mk::cuda {

// What goes with a cloud, in device memory: its axes [size, 3], and for the rows of its table the centres [rows], the
// results [rows, k, 8] and [rows, k].
template <class T>
struct DeviceFeatures {
  const T* axes;
  const int64_t* centers;
  T* features;
  int64_t* ordered;
};

constexpr int64_t kMostNeighbours = (int64_t{1} << 22) - 1;

// Of arrays numbered 0, 1, 2, ... for the points, then the axes, the centres and the neighbours of the clouds, the
// first with a bad value, or -1; waits for the device. k is at most kMostNeighbours.
template <class T>
int64_t rotation_invariant_features(const std::vector<DeviceNeighbourhoods>& clouds,
                                    const std::vector<DeviceFeatures<T>>& features, const Workplace& place);

}  // namespace mk::cuda
