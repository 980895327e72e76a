// Point clouds in the memory of a CUDA device, as the kernels take them from the bindings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace mk::cuda {

// [size, dimensions] of float or double, row by row.
struct DevicePoints {
  const void* values;
  int64_t size, dimensions;
};

// Where a call works: its device, the stream on which its arrays are ready, and memory for the time of the call.
struct Workplace {
  int device;
  void* stream;
  std::function<void*(size_t)> allocate;
};

}  // namespace mk::cuda
