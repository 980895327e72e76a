// Errors, memory and devices of the CUDA runtime, for host code.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace mk::cuda {

struct OutOfMemory {
  std::string message;
};

// Throws OutOfMemory or std::runtime_error if a call has failed. `doing` completes "... failed".
void check(cudaError_t status, const char* doing);

// Device memory that frees itself.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

// Divides one piece of memory into arrays. Without memory it counts the bytes that they need.
class Arena {
 public:
  explicit Arena(const Buffer* buffer = nullptr) : Arena(buffer ? buffer->as<void>() : nullptr) {}
  explicit Arena(void* memory) : base_(static_cast<char*>(memory)) {}

  template <class T>
  T* take(int64_t count) {
    char* const at = base_ ? base_ + bytes_ : nullptr;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(at);
  }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 256;
  char* base_;
  size_t bytes_ = 0;
};

// The device that calls of this thread go to, until the end of the scope.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope() { cudaSetDevice(before_); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
};

// Bytes that can be allocated on a device now.
int64_t free_memory(int device);

}  // namespace mk::cuda
