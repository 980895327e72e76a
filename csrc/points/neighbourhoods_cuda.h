// Clouds with tables of neighbours, as the kernels on neighbourhoods take them from the bindings.
#pragma once

#include <cstdint>

#include "points/clouds_cuda.h"

namespace mk::cuda {

// A cloud [size, 3] of float or double in device memory, and rows [rows, k] of indices of its points, -1 where there is
// none.
struct DeviceNeighbourhoods {
  const void* points;
  int64_t size;
  const int64_t* neighbours;
  int64_t rows, k;
};

}  // namespace mk::cuda
