#include <algorithm>

#include "common/cuda.h"
#include "common/machine.h"

namespace mk::cuda {

namespace {

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "creating an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record() { check(cudaEventRecord(event_), "recording an event"); }
  double seconds_since(const Event& start) const {
    check(cudaEventSynchronize(event_), "waiting for the device");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "reading an event");
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

__global__ void copy_kernel(const float4* __restrict__ from, float4* __restrict__ to, int64_t count) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = from[i];
}

// Eight independent chains a thread hide the latency of the fused multiply-add.
constexpr int kChains = 8;
constexpr int kSteps = 4096;
constexpr int kThreads = 256;

__global__ void fma_kernel(float* sink, float scale, float shift) {
  float chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = 1.0f + 0.0625f * i + threadIdx.x;
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) chain[i] = fmaf(chain[i], scale, shift);
  }
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += chain[i];
  sink[int64_t(blockIdx.x) * blockDim.x + threadIdx.x] = total;
}

}  // namespace

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

Device device(int index) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "reading device properties");
  Device result{};
  std::copy(std::begin(properties.name), std::end(properties.name), result.name);
  result.major = properties.major;
  result.minor = properties.minor;
  result.multiprocessors = properties.multiProcessorCount;
  result.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  check(cudaDriverGetVersion(&result.driver_version), "reading the driver version");
  check(cudaRuntimeGetVersion(&result.runtime_version), "reading the runtime version");
  return result;
}

double copy_bandwidth(int64_t megabytes, int repeats) {
  const int64_t bytes = std::max<int64_t>(1, megabytes) << 20;
  const int64_t count = bytes / static_cast<int64_t>(sizeof(float4));
  const Buffer from(bytes), to(bytes);
  check(cudaMemset(from.as<void>(), 1, bytes), "filling device memory");
  const int blocks = static_cast<int>(std::min<int64_t>((count + kThreads - 1) / kThreads, 1 << 16));
  double best = 1e30;
  for (int i = 0; i <= std::max(1, repeats); ++i) {
    Event start, stop;
    start.record();
    copy_kernel<<<blocks, kThreads>>>(from.as<float4>(), to.as<float4>(), count);
    check(cudaGetLastError(), "launching the copy");
    stop.record();
    const double seconds = stop.seconds_since(start);
    if (i > 0) best = std::min(best, seconds);
  }
  return 2.0 * static_cast<double>(bytes) / best;
}

double fma_rate(double seconds) {
  cudaDeviceProp properties;
  int index = 0;
  check(cudaGetDevice(&index), "asking for the current device");
  check(cudaGetDeviceProperties(&properties, index), "reading device properties");
  const int blocks = properties.multiProcessorCount * 16;
  const Buffer sink(sizeof(float) * blocks * kThreads);
  const double flops = 2.0 * kChains * kSteps * kThreads * blocks;
  double best = 1e30, spent = 0;
  do {
    Event start, stop;
    start.record();
    fma_kernel<<<blocks, kThreads>>>(sink.as<float>(), 0.999f, 0.001f);
    check(cudaGetLastError(), "launching the multiply-adds");
    stop.record();
    const double once = stop.seconds_since(start);
    best = std::min(best, once);
    spent += once;
  } while (spent < seconds);
  return flops / best;
}

}  // namespace mk::cuda
