#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <utility>

#include "common/cuda.h"
#include "common/primitives.h"

namespace mk::cuda {

template <class Key>
void sort_pairs(void* space, size_t& bytes, Key* (&keys)[2], uint32_t* (&values)[2], int64_t count, int bits,
                cudaStream_t stream) {
  cub::DoubleBuffer<Key> key_buffer(keys[0], keys[1]);
  cub::DoubleBuffer<uint32_t> value_buffer(values[0], values[1]);
  check(
      cub::DeviceRadixSort::SortPairs(space, bytes, key_buffer, value_buffer, static_cast<int>(count), 0, bits, stream),
      "sorting");
  if (value_buffer.selector != 0) std::swap(values[0], values[1]);
  if (key_buffer.selector != 0) std::swap(keys[0], keys[1]);
}

template void sort_pairs(void*, size_t&, uint32_t* (&)[2], uint32_t* (&)[2], int64_t, int, cudaStream_t);
template void sort_pairs(void*, size_t&, unsigned long long* (&)[2], uint32_t* (&)[2], int64_t, int, cudaStream_t);

void add_up(void* space, size_t& bytes, uint32_t* numbers, int64_t count, cudaStream_t stream) {
  check(cub::DeviceScan::InclusiveSum(space, bytes, numbers, count, stream), "adding up");
}

}  // namespace mk::cuda
