// Checks of the values of arrays in device memory: which array is the first with a bad one.
#pragma once

#include <algorithm>
#include <climits>
#include <vector>

#include "common/launch.cuh"
#include "points/clouds.h"
#include "points/clouds_cuda.h"

namespace mk::cuda {

// Coordinates whose squared distances are finite.
template <class T>
struct AreCoordinates {
  static constexpr int kGroup = 1;
  __device__ bool operator()(const T* value) const {
    return *value <= mk::points::kMost<T> && *value >= -mk::points::kMost<T>;
  }
};

struct AreIndices {
  static constexpr int kGroup = 1;
  int64_t least, end;
  __device__ bool operator()(const int64_t* index) const { return *index >= least && *index < end; }
};

// An array, its number, and what tells whether kGroup values from one on are good.
template <class V, class Good>
struct CheckedArray {
  const V* values;
  int64_t count;
  int number;
  Good good;
};

template <class V, class Good>
__device__ inline void check_array(const CheckedArray<V, Good>& array, int* bad) {
  bool all_good = true;
  for (int64_t i = thread_index(); i < array.count / Good::kGroup; i += thread_count())
    all_good &= array.good(array.values + i * Good::kGroup);
  if (!all_good) atomicMin(bad, array.number);
}

template <class V, class Good>
__global__ void find_bad_array(CheckedArray<V, Good> array, int* bad) {
  check_array(array, bad);
}

template <class V, class Good>
__global__ void find_bad_arrays(const CheckedArray<V, Good>* arrays, int64_t count, int* bad) {
  for (int64_t i = blockIdx.y; i < count; i += gridDim.y) check_array(arrays[i], bad);
}

// Blocks whose second dimension goes over arrays, the first over `most` units, each of a group of threads.
inline dim3 blocks_over(size_t arrays, int64_t most, int group = 1) {
  constexpr size_t most_arrays = 65535;
  return dim3(blocks_for(most, group), static_cast<unsigned>(std::clamp<size_t>(arrays, 1, most_arrays)));
}

// Collects what checks of arrays find; the lowest number counts.
class Checks {
 public:
  explicit Checks(const Workplace& place)
      : place_(place),
        bad_(static_cast<int*>(place.allocate(sizeof(int)))),
        stream_(static_cast<cudaStream_t>(place.stream)) {
    upload(bad_, std::vector<int>{kNone}, stream_);
  }

  template <class V, class Good>
  void start(const V* values, int64_t count, int number, const Good& good) const {
    if (count == 0) return;
    find_bad_array<<<blocks_for(count / Good::kGroup), kThreads, 0, stream_>>>(
        CheckedArray<V, Good>{values, count, number, good}, bad_);
    launched("checking values");
  }

  template <class V, class Good>
  void start(const std::vector<CheckedArray<V, Good>>& arrays) const {
    using Array = CheckedArray<V, Good>;
    int64_t most = 0;
    for (const Array& array : arrays) most = std::max(most, array.count / Good::kGroup);
    if (most == 0) return;
    auto* const on_device = static_cast<Array*>(place_.allocate(arrays.size() * sizeof(Array)));
    upload(on_device, arrays, stream_);
    find_bad_arrays<<<blocks_over(arrays.size(), most), kThreads, 0, stream_>>>(
        on_device, static_cast<int64_t>(arrays.size()), bad_);
    launched("checking values");
  }

  // Waits for the stream. The number of the first array with a bad value, or -1.
  int64_t found() const {
    const int found = download<int>(bad_, 1, stream_).front();
    return found == kNone ? -1 : found;
  }

 private:
  static constexpr int kNone = INT_MAX;
  const Workplace& place_;
  int* bad_;
  cudaStream_t stream_;
};

}  // namespace mk::cuda
