#include "common/cuda.h"

#include <stdexcept>

namespace mk::cuda {

void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next check does not meet it again
  const std::string message = std::string(doing) + " failed: " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) throw OutOfMemory{message};
  throw std::runtime_error(message);
}

Buffer::Buffer(size_t bytes) {
  // No address at all would look like a failure to those who check for one.
  check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), "allocating device memory");
}

DeviceScope::DeviceScope(int device) {
  check(cudaGetDevice(&before_), "asking for the current device");
  check(cudaSetDevice(device), "choosing a device");
}

int64_t free_memory(int device) {
  const DeviceScope scope(device);
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the free device memory");
  return static_cast<int64_t>(free);
}

}  // namespace mk::cuda
