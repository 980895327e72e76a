// Numbers sorted by keys on a CUDA device, those of one key in their order, and where each key's are.
#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>

#include "common/launch.cuh"
#include "common/primitives.h"

namespace mk::cuda {

// The places of one key; of a key that does not occur both are 0.
struct Run {
  uint32_t begin, end;
  __host__ __device__ uint32_t count() const { return end - begin; }
};

// Numbers of a part: of longer runs the whole parts are summed side by side, so that no thread has very much to do.
constexpr uint32_t kPart = 512;

__device__ inline bool is_long(const Run& run) { return run.count() > 2 * kPart; }

// The long run that a part of the sorted keys lies within, or a run of nothing.
template <class Key>
__device__ inline Run long_run_of(const Key* sorted, uint32_t part, Key keys, const Run* runs) {
  const Key key = sorted[part * kPart];
  const bool within = key < keys && key == sorted[part * kPart + kPart - 1] && is_long(runs[key]);
  return within ? runs[key] : Run{0, 0};
}

// Calls add_numbers(begin, end) for what of a run is in no whole part of a long run, and add_part(part) for those, in
// their order.
template <class AddNumbers, class AddPart>
__device__ inline void for_parts(const Run& run, const AddNumbers& add_numbers, const AddPart& add_part) {
  if (!is_long(run)) return add_numbers(run.begin, run.end);
  const uint32_t first = (run.begin + kPart - 1) / kPart, last = run.end / kPart;
  add_numbers(run.begin, first * kPart);
  for (uint32_t part = first; part < last; ++part) add_part(part);
  add_numbers(last * kPart, run.end);
}

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
    if (count > INT32_MAX) throw std::invalid_argument("a GPU takes fewer than 2^31 points, atoms or edges at a time");
    for (Key*& buffer : key_buffers) buffer = arena.take<Key>(count);
    for (uint32_t*& buffer : number_buffers) buffer = arena.take<uint32_t>(count);
    runs = arena.take<Run>(keys);
    sort_pairs(nullptr, space_bytes, key_buffers, number_buffers, count, bits(), nullptr);
    space = arena.take<char>(static_cast<int64_t>(space_bytes));
  }

  int64_t parts() const { return count / kPart; }
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
