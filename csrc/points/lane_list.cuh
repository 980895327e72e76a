// Lists of the least entries that a warp has seen, a lane an entry of each 32: what J. Johnson, M. Douze and H. Jegou
// (2017), "Billion-scale similarity search with GPUs", do in registers, with few entries put in one by one and many
// sorted first (K. E. Batcher 1968, "Sorting networks and their applications").
#pragma once

#include <cstdint>
#include <limits>

#include "common/launch.cuh"

namespace mk::cuda::clouds {

// What neighbours rank by, and what goes with it; equal keys rank by the latter.
template <class Key, class Other>
struct Entry {
  Key key;
  Other other;

  __device__ bool before(const Entry& than) const { return key < than.key || (key == than.key && other < than.other); }
  __device__ Entry of_lane(int lane) const {
    return {__shfl_sync(kAllLanes, key, lane), __shfl_sync(kAllLanes, other, lane)};
  }
  __device__ Entry of_lane_before() const {
    return {__shfl_up_sync(kAllLanes, key, 1), __shfl_up_sync(kAllLanes, other, 1)};
  }
  // With lanes whose numbers differ by the bit `apart`: the lesser entry to the one of both that asks for it.
  __device__ Entry exchanged(int apart, bool lesser) const {
    const Entry there{__shfl_xor_sync(kAllLanes, key, apart), __shfl_xor_sync(kAllLanes, other, apart)};
    return there.before(*this) == lesser ? there : *this;
  }
};

// Entries of all lanes that rise and then fall, or fall and then rise, become sorted.
template <class E>
__device__ E settled(E own, int lane) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) own = own.exchanged(apart, (lane & apart) == 0);
  return own;
}

template <class E>
__device__ E sorted(E own, int lane) {
#pragma unroll
  for (int run = 2; run <= kWarp; run *= 2)
#pragma unroll
    for (int apart = run / 2; apart > 0; apart /= 2)
      own = own.exchanged(apart, ((lane & apart) == 0) == ((lane & run) == 0));
  return own;
}

// The `most` least entries, sorted. Only the lane that put an entry into memory reads it.
template <class E>
class LaneList {
 public:
  // memory: kWarp entries for every kWarp that the list holds.
  __device__ LaneList(E* memory, int most, E end) : memory_(memory), most_(most), end_(end), worst_(end) {}

  __device__ static int blocks(int most) { return (most + kWarp - 1) / kWarp; }

  __device__ void clear() {
    const int lane = threadIdx.x % kWarp;
    for (int block = 0; block < blocks(most_); ++block) memory_[block * kWarp + lane] = end_;
    worst_ = end_;
  }
  // Goes on with what is in memory.
  __device__ void resume() { keep_worst((most_ - 1) / kWarp, entry((most_ - 1) / kWarp)); }
  // The last of `most` entries: what does not come before it is not taken.
  __device__ const E& worst() const { return worst_; }
  // The entry at rank block * kWarp + lane.
  __device__ E entry(int block) const { return memory_[block * kWarp + threadIdx.x % kWarp]; }

  // Takes the entries of the lanes that offer one.
  __device__ void add(const E& own, bool offered) {
    const int lane = threadIdx.x % kWarp;
    unsigned lanes = __ballot_sync(kAllLanes, offered && own.before(worst_));
    if (__popc(lanes) > kFew) {
      merge(sorted((lanes >> lane & 1) != 0 ? own : end_, lane), lane);
      return;
    }
    while (lanes != 0) {
      const int next = __ffs(static_cast<int>(lanes)) - 1;
      insert(own.of_lane(next), lane);
      lanes &= ~(1u << next) & __ballot_sync(kAllLanes, own.before(worst_));
    }
  }

 private:
  static constexpr int kFew = 12;  // from about so many entries on sorting and merging takes fewer instructions

  __device__ void insert(E entry, int lane) {
    for (int block = 0; block < blocks(most_); ++block) {
      E held = memory_[block * kWarp + lane];
      const int place = __popc(__ballot_sync(kAllLanes, held.before(entry)));
      if (place < kWarp) {
        const E before = held.of_lane_before(), last = held.of_lane(kWarp - 1);
        if (lane >= place) memory_[block * kWarp + lane] = held = lane == place ? entry : before;
        entry = last;
      }
      keep_worst(block, held);
    }
  }

  __device__ void merge(E entries, int lane) {
    for (int block = 0; block < blocks(most_); ++block) {
      const E held = memory_[block * kWarp + lane], mirrored = entries.of_lane(kWarp - 1 - lane);
      const bool stays = held.before(mirrored);
      const E lesser = settled(stays ? held : mirrored, lane);
      entries = settled(stays ? mirrored : held, lane);
      memory_[block * kWarp + lane] = lesser;
      keep_worst(block, lesser);
    }
  }

  __device__ void keep_worst(int block, const E& held) {
    if (block == (most_ - 1) / kWarp) worst_ = held.of_lane((most_ - 1) % kWarp);
  }

  E* memory_;
  int most_;
  E end_, worst_;
};

}  // namespace mk::cuda::clouds
