// What the CUDA kernels on point clouds share: clouds in device memory, the check of their values, and a float32 test
// that spares float64.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/launch.cuh"
#include "points/clouds.h"
#include "points/clouds_cuda.h"

namespace mk::cuda::clouds {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kAxes = 3;  // of clouds that boxes and registers hold; those with fewer coordinates have zeros

template <class T>
struct Rows {
  const T* values;
  int32_t size, dimensions;

  __device__ const T* row(int64_t i) const { return values + i * dimensions; }
  // The same axis of a point with kAxes coordinates.
  __device__ T coordinate(int64_t i, int axis) const { return axis < dimensions ? row(i)[axis] : T(0); }
};

template <class T>
Rows<T> rows_of(const DevicePoints& cloud) {
  return {static_cast<const T*>(cloud.values), static_cast<int32_t>(cloud.size),
          static_cast<int32_t>(cloud.dimensions)};
}

// A grid whose second dimension goes over clouds, the first over `count` units of the largest, each of a `group` of
// threads.
inline dim3 grid_over(int64_t clouds, int64_t count, int group = 1) {
  constexpr int64_t most_clouds = 65535, most_blocks = 4096;
  return dim3(static_cast<unsigned>(std::min<int64_t>(blocks_for(count, group), most_blocks)),
              static_cast<unsigned>(std::clamp<int64_t>(clouds, 1, most_clouds)));
}

constexpr int kNoneBad = std::numeric_limits<int>::max();

// Finds the first cloud with a value that is not finite or too large for squared distances to be.
template <class T>
__global__ void find_bad(const Rows<T>* clouds, int count, T most, int* bad) {
  for (int i = blockIdx.y; i < count; i += gridDim.y) {
    const int64_t size = int64_t{clouds[i].size} * clouds[i].dimensions;
    bool good = true;
    for (int64_t j = thread_index(); j < size; j += thread_count()) {
      const T value = clouds[i].values[j];
      good &= value <= most && value >= -most;
    }
    if (!good) atomicMin(bad, i);
  }
}

// Starts the check of all clouds; `bad` is in device memory.
template <class T>
void start_check(const std::vector<Rows<T>>& clouds, Rows<T>* on_device, int* bad, cudaStream_t stream) {
  upload(on_device, clouds, stream);
  upload(bad, std::vector<int>{kNoneBad}, stream);
  int64_t largest = 1;
  for (const Rows<T>& cloud : clouds) largest = std::max(largest, int64_t{cloud.size} * cloud.dimensions);
  const auto count = static_cast<int>(clouds.size());
  find_bad<T><<<grid_over(count, largest), kThreads, 0, stream>>>(on_device, count, mk::points::kMost<T>, bad);
  launched("checking coordinates");
}

// Waits for the stream. The number of the first bad cloud, or -1.
inline int64_t found_bad(const int* bad, cudaStream_t stream) {
  const int found = download<int>(bad, 1, stream).front();
  return found == kNoneBad ? -1 : found;
}

// A sum of up to 64 squares of differences of floats, taken in float32, is above this only if the one in float64 is
// above `squared`: each step is wrong by 2^-24 of its result or by half the least float.
__device__ inline float float_limit(double squared) {
  constexpr double relative = 1e-5, absolute = 1e-42;  // twice (64 + 2) 2^-24, and more than 64 times 2^-150
  return static_cast<float>(squared * (1 + relative) + absolute);
}

}  // namespace mk::cuda::clouds
