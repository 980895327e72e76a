// The first points within a radius: the limit stays, and a list keeps the lowest numbers.
#include "points/ball_query_cuda.h"
#include "points/neighbours.cuh"

namespace mk::cuda {

namespace {

using namespace clouds;

struct Within {
  using E = Entry<int32_t, double>;
  double reach;  // squared

  __device__ E end() const { return {kNoNumber, kInfinity}; }
  __device__ E entry(int32_t number, double squared) const { return {number, squared}; }
  __device__ int32_t number(const E& entry) const { return entry.key; }
  __device__ double squared(const E& entry) const { return entry.other; }
  __device__ bool skips_self() const { return false; }
  __device__ double limit(const E&) const { return reach; }
  // Tiles come in the order of numbers: nothing enters a list that is full.
  template <class T>
  __device__ T sum_limit(const E& worst) const {
    if (worst.key != kNoNumber) return T(-1);
    if constexpr (std::is_same_v<T, float>) return float_limit(reach);
    return reach;
  }
};

}  // namespace

int64_t ball_query(const NeighbourRequest& request, double radius) {
  const DeviceScope scope(request.place.device);
  const Within rank{radius * radius};
  if (request.doubles) return NeighbourSearch<double, Within>(request, rank).run();
  return NeighbourSearch<float, Within>(request, rank).run();
}

}  // namespace mk::cuda
