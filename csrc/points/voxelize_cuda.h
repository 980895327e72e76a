// Means of the features of points in cells, and their gradient, on a CUDA device, as on the CPU.
#pragma once

#include <cstdint>

#include "points/cells_cuda.h"

namespace mk::cuda {

// As in points/voxelize.h; all arrays are in device memory. Whether all points are finite and not too large; waits for
// the device to know that.
template <class T>
bool voxelize(const DevicePointItems<T>& items, const T* features, int64_t channels, T* grids, const Workplace& place);

// Does not wait.
template <class T>
void voxelize_backward(const T* grad_grids, const DevicePointItems<T>& items, int64_t channels, T* features,
                       const Workplace& place);

}  // namespace mk::cuda
