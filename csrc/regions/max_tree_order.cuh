// The order of elements by value, and by number where values are equal.
#pragma once

#include <cstdint>

#include "common/launch.cuh"

namespace mk::cuda {

// A value as an unsigned integer; these are ordered as the values are.
__device__ inline uint32_t key(uint8_t value) { return value; }
__device__ inline uint32_t key(uint16_t value) { return value; }
__device__ inline uint32_t key(int16_t value) { return static_cast<uint16_t>(value) ^ 0x8000u; }
__device__ inline uint32_t key(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);  // -0 and 0 are equal
  return bits >> 31 != 0 ? ~bits : bits | uint32_t{1} << 31;
}
__device__ inline unsigned long long key(double value) {
  const auto bits = static_cast<unsigned long long>(__double_as_longlong(value + 0.0));
  return bits >> 63 != 0 ? ~bits : bits | 1ull << 63;
}

template <class T>
struct Sortable {
  using Key = uint32_t;
};
template <>
struct Sortable<double> {
  using Key = unsigned long long;
};

template <class T>
__global__ void find_keys(int64_t count, const T* image, typename Sortable<T>::Key* keys, uint32_t* elements) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    keys[i] = key(image[i]);
    elements[i] = static_cast<uint32_t>(i);
  }
}

__global__ void find_items(int64_t count, uint32_t size, const uint32_t* elements, uint32_t* items) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) items[i] = elements[i] / size;
}

__global__ void find_ranks(int64_t count, uint32_t size, const uint32_t* elements, int32_t* order, int32_t* rank) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    order[i] = static_cast<int32_t>(elements[i] % size);
    rank[elements[i]] = static_cast<int32_t>(i);
  }
}

}  // namespace mk::cuda
