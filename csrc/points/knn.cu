// The k nearest points: a list keeps the nearest so far, and its last entry is how near others have to be.
#include "points/knn_cuda.h"
#include "points/neighbours.cuh"

namespace mk::cuda {

namespace {

using namespace clouds;

// Nearest first; of equally near points that with the lower number.
struct Nearest {
  using E = Entry<double, int32_t>;
  bool skip;  // the query itself

  __device__ E end() const { return {kInfinity, kNoNumber}; }
  __device__ E entry(int32_t number, double squared) const { return {squared, number}; }
  __device__ int32_t number(const E& entry) const { return entry.other; }
  __device__ double squared(const E& entry) const { return entry.key; }
  __device__ bool skips_self() const { return skip; }
  // What squared distances must not exceed, and, where they are sums of a tile, in T.
  __device__ double limit(const E& worst) const { return worst.key; }
  template <class T>
  __device__ T sum_limit(const E& worst) const {
    if constexpr (std::is_same_v<T, float>) return float_limit(worst.key);
    return worst.key;
  }
};

}  // namespace

int64_t knn(const NeighbourRequest& request, bool include_self) {
  const DeviceScope scope(request.place.device);
  const Nearest rank{request.queries.empty() && !include_self};
  if (request.doubles) return NeighbourSearch<double, Nearest>(request, rank).run();
  return NeighbourSearch<float, Nearest>(request, rank).run();
}

int64_t neighbour_memory(const NeighbourRequest& request) {
  const DeviceScope scope(request.place.device);
  if (request.doubles) return NeighbourSearch<double, Nearest>(request, {}).memory();
  return NeighbourSearch<float, Nearest>(request, {}).memory();
}

}  // namespace mk::cuda
