// The first k points within a radius of each query on a CUDA device: those of points/ball_query.h.
#pragma once

#include "points/neighbours_cuda.h"

namespace mk::cuda {

// The number of the first cloud, of points and then queries, with a coordinate that is not finite or too large, or -1.
int64_t ball_query(const NeighbourRequest& request, double radius);

}  // namespace mk::cuda
