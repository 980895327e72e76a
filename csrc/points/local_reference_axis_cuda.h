// The direction in which the neighbours of a point spread least, on a CUDA device, as on the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "points/neighbourhoods_cuda.h"

namespace mk::cuda {

// Clouds of float or double, and axes [size, 3] for each, in device memory. Of arrays numbered 0, 1, 2, ... for the
// points and then the neighbours of the clouds, the first with a bad value, or -1; waits for the device.
template <class T>
int64_t local_reference_axis(const std::vector<DeviceNeighbourhoods>& clouds, bool weighted,
                             const std::vector<T*>& axes, const Workplace& place);

}  // namespace mk::cuda
