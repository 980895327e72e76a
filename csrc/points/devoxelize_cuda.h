// Features of grids at points, and the gradients, on a CUDA device, as on the CPU.
#pragma once

#include <cstdint>

#include "points/cells_cuda.h"

namespace mk::cuda {

// As in points/devoxelize.h; all arrays are in device memory. Whether all points are finite and not too large; waits
// for the device to know that.
template <class T>
bool devoxelize(const T* grids, const DevicePointItems<T>& items, int64_t channels, T* features,
                const Workplace& place);

// Does not wait.
template <class T>
void devoxelize_backward(const T* grads, const T* grids, const DevicePointItems<T>& items, int64_t channels,
                         T* grad_grids, T* grad_points, const Workplace& place);

}  // namespace mk::cuda
