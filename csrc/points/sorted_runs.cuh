// Numbers sorted by keys on a CUDA device, those of one key in their order, and where each key's are.
#pragma once

#include <bit>
#include <cstdint>
#include <utility>

#include "common/launch.cuh"
#include "common/primitives.h"

namespace mk::cuda {

// The places of one key; of a key that does not occur both are 0.
struct Run {
  uint32_t begin, end;
  __host__ __device__ uint32_t count() const { return end - begin; }
};

// Keys from `keys` on have no run.
template <class Key>
__global__ void find_runs(const Key* sorted, int64_t count, Key keys, Run* runs) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const Key key = sorted[i];
    if (key >= keys) continue;
    if (i == 0 || sorted[i - 1] != key) runs[key].begin = static_cast<uint32_t>(i);
    if (i + 1 == count || sorted[i + 1] != key) runs[key].end = static_cast<uint32_t>(i + 1);
  }
}

// Memory to sort `count` numbers, fewer than 2^31, by keys from 0 to `keys`; the last one is for those that are left
// out. keys_of and numbers are to be filled, and are sorted after `sort`.
template <class Key>
struct SortedRuns {
  int64_t count, keys;
  Key* key_buffers[2];
  uint32_t* number_buffers[2];
  Run* runs;
  void* space;
  size_t space_bytes = 0;

  SortedRuns(Arena& arena, int64_t number_count, int64_t key_count) : count(number_count), keys(key_count) {
    for (Key*& buffer : key_buffers) buffer = arena.take<Key>(count);
    for (uint32_t*& buffer : number_buffers) buffer = arena.take<uint32_t>(count);
    runs = arena.take<Run>(keys);
    sort_pairs(nullptr, space_bytes, key_buffers, number_buffers, count, bits(), nullptr);
    space = arena.take<char>(static_cast<int64_t>(space_bytes));
  }

  Key* keys_of() const { return key_buffers[0]; }
  uint32_t* numbers() const { return number_buffers[0]; }

  void sort(cudaStream_t stream) {
    check(cudaMemsetAsync(runs, 0, keys * sizeof(Run), stream), "clearing runs");
    if (count == 0) return;
    sort_pairs(space, space_bytes, key_buffers, number_buffers, count, bits(), stream);
    find_runs<<<blocks_for(count), kThreads, 0, stream>>>(keys_of(), count, static_cast<Key>(keys), runs);
    launched("finding runs of keys");
  }

 private:
  int bits() const { return std::bit_width(static_cast<uint64_t>(keys)); }
};

}  // namespace mk::cuda
