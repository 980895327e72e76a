// What every kernel is launched with, and where a thread stands among all of its launch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/cuda.h"

namespace mk::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = 1 << 16;

// Blocks for loops over `count` elements, each of which a group of threads works on.
inline int blocks_for(int64_t count, int group = 1) {
  return static_cast<int>(std::clamp<int64_t>((count * group + kThreads - 1) / kThreads, 1, kMostBlocks));
}

inline void launched(const char* what) { check(cudaGetLastError(), what); }

template <class V>
void upload(V* to, const std::vector<V>& from, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from.data(), from.size() * sizeof(V), cudaMemcpyHostToDevice, stream),
        "copying to the device");
}

// Waits for the stream.
template <class V>
std::vector<V> download(const void* from, int64_t count, cudaStream_t stream) {
  std::vector<V> to(count);
  if (count == 0) return to;
  check(cudaMemcpyAsync(to.data(), from, count * sizeof(V), cudaMemcpyDeviceToHost, stream), "copying from the device");
  check(cudaStreamSynchronize(stream), "waiting for the device");
  return to;
}

// One piece of memory for all arrays that `layout` takes from an arena. `allocate` is asked for its bytes.
template <class Allocate, class Layout>
auto take_arrays(const Allocate& allocate, const Layout& layout) {
  Arena sizes;
  layout(sizes);
  Arena arena(allocate(sizes.bytes()));
  return layout(arena);
}

__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return int64_t(gridDim.x) * blockDim.x; }

}  // namespace mk::cuda
