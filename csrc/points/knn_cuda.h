// The k nearest points of each query on a CUDA device: those of points/knn.h.
#pragma once

#include "points/neighbours_cuda.h"

namespace mk::cuda {

// The number of the first cloud, of points and then queries, with a coordinate that is not finite or too large, or -1.
int64_t knn(const NeighbourRequest& request, bool include_self);

}  // namespace mk::cuda
