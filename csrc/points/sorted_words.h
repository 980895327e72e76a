// Integers of 32 bits in ascending order, in registers: K. E. Batcher, "Sorting networks and their applications"
// (1968), with the second half of each merge turned round, so that all exchanges go one way.
#pragma once

#include <utility>

#include "common/simd.h"

namespace mk::points {

template <int kLanes>
using Words = typename simd::VectorTypes<float, kLanes>::Int;

// Lane l of what comes out is lane l ^ kBits of what goes in.
template <int kBits, int kLanes, int... kLane>
[[gnu::always_inline]] inline Words<kLanes> crossed(const Words<kLanes>& words, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(words, words, (kLane ^ kBits)...);
}

// Those of `low` where lanes lack the bit, else those of `high`.
template <int kBit, int kLanes, int... kLane>
[[gnu::always_inline]] inline Words<kLanes> merged(const Words<kLanes>& low, const Words<kLanes>& high,
                                                   std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(low, high, (kLane & kBit ? kLane + kLanes : kLane)...);
}

// Puts the lesser of lanes l and l ^ kBits in the one that lacks kBit.
template <int kBits, int kBit, int kLanes>
[[gnu::always_inline]] inline void exchange(Words<kLanes>& words) {
  constexpr auto all = std::make_integer_sequence<int, kLanes>{};
  const Words<kLanes> other = crossed<kBits, kLanes>(words, all);
  const Words<kLanes> low = words < other ? words : other, high = words < other ? other : words;
  words = merged<kBit, kLanes>(low, high, all);
}

// Sorts what is bitonic: kApart and less within a register.
template <int kApart, int kLanes>
[[gnu::always_inline]] inline void finish(Words<kLanes>& words) {
  if constexpr (kApart > 0) {
    exchange<kApart, kApart, kLanes>(words);
    finish<kApart / 2, kLanes>(words);
  }
}

template <int kSize, int kLanes>
[[gnu::always_inline]] inline void sort_within(Words<kLanes>& words) {
  if constexpr (kSize > 2) sort_within<kSize / 2, kLanes>(words);
  exchange<kSize - 1, kSize / 2, kLanes>(words);
  finish<kSize / 4, kLanes>(words);
}

// kCount registers, a power of two.
template <int kCount, int kLanes>
[[gnu::always_inline]] inline void sort_words(Words<kLanes>* words) {
  if constexpr (kCount == 1) {
    sort_within<kLanes, kLanes>(words[0]);
  } else {
    constexpr int half = kCount / 2;
    sort_words<half, kLanes>(words);
    sort_words<half, kLanes>(words + half);
    // The greater ones are left in reverse, which is bitonic too.
    Words<kLanes> turned[half];
    for (int i = 0; i < half; ++i)
      turned[i] = crossed<kLanes - 1, kLanes>(words[kCount - 1 - i], std::make_integer_sequence<int, kLanes>{});
    for (int i = 0; i < half; ++i) {
      const Words<kLanes> own = words[i];
      words[i] = own < turned[i] ? own : turned[i];
      words[half + i] = own < turned[i] ? turned[i] : own;
    }
    for (int apart = half / 2; apart > 0; apart /= 2)
      for (int i = 0; i < kCount; ++i)
        if ((i & apart) == 0) {
          const Words<kLanes> own = words[i], other = words[i + apart];
          words[i] = own < other ? own : other;
          words[i + apart] = own < other ? other : own;
        }
    for (int i = 0; i < kCount; ++i) finish<kLanes / 2, kLanes>(words[i]);
  }
}

}  // namespace mk::points
