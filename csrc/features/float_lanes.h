// Vectors of float for each instruction set. Instructions are named, because generic vectors of functions without a
// target of their own would be taken apart or go through the stack.
#pragma once

#include <cstdint>

#include "common/simd.h"

namespace mk::features {

// At any address. Not memcpy, which would copy in smaller pieces.
template <class V>
[[gnu::always_inline]] inline V load_vector(const void* at) {
  typedef V Anywhere __attribute__((aligned(1), may_alias));
  return *static_cast<const Anywhere*>(at);
}

template <class V>
[[gnu::always_inline]] inline void store_vector(void* at, const V& value) {
  typedef V Anywhere __attribute__((aligned(1), may_alias));
  *static_cast<Anywhere*>(at) = value;
}

struct BaselineFloats {
  static constexpr int lanes = 4;
  typedef float Floats __attribute__((vector_size(16)));
  [[gnu::always_inline]] static Floats all(const float* at) { return Floats{*at, *at, *at, *at}; }
  [[gnu::always_inline]] static Floats plus(const Floats& a, const Floats& b) { return a + b; }
  [[gnu::always_inline]] static Floats minus(const Floats& a, const Floats& b) { return a - b; }
  [[gnu::always_inline]] static Floats times(const Floats& a, const Floats& b) { return a * b; }
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return sums + a * b;
  }
  [[gnu::always_inline]] static Floats less(const Floats& a, const Floats& b) { return a < b ? a : b; }
  [[gnu::always_inline]] static Floats greater(const Floats& a, const Floats& b) { return a > b ? a : b; }
  // A bit for each lane where a > b.
  [[gnu::always_inline]] static uint32_t above(const Floats& a, const Floats& b) {
    uint32_t bits = 0;
    for (int i = 0; i < lanes; ++i) bits |= static_cast<uint32_t>(a[i] > b[i]) << i;
    return bits;
  }
  // The values at some places and at the next ones. Without `whole` the second half of the lanes is not needed.
  [[gnu::always_inline]] static void pairs(const float* from, const int32_t* places, bool, Floats& here, Floats& next) {
    const float* const a = from + places[0];
    const float* const b = from + places[1];
    const float* const c = from + places[2];
    const float* const d = from + places[3];
    here = Floats{a[0], b[0], c[0], d[0]};
    next = Floats{a[1], b[1], c[1], d[1]};
  }
};

#if defined(__x86_64__)

struct Avx2Floats {
  static constexpr int lanes = 8;
  typedef float Floats __attribute__((vector_size(32)));
  [[gnu::always_inline]] static Floats all(const float* at) { return __builtin_ia32_vbroadcastss256(at); }
  [[gnu::always_inline]] static Floats plus(const Floats& a, const Floats& b) { return __builtin_ia32_addps256(a, b); }
  [[gnu::always_inline]] static Floats minus(const Floats& a, const Floats& b) { return __builtin_ia32_subps256(a, b); }
  [[gnu::always_inline]] static Floats times(const Floats& a, const Floats& b) { return __builtin_ia32_mulps256(a, b); }
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return __builtin_ia32_vfmaddps256(a, b, sums);
  }
  [[gnu::always_inline]] static Floats less(const Floats& a, const Floats& b) { return __builtin_ia32_minps256(a, b); }
  [[gnu::always_inline]] static Floats greater(const Floats& a, const Floats& b) {
    return __builtin_ia32_maxps256(a, b);
  }
  [[gnu::always_inline]] static uint32_t above(const Floats& a, const Floats& b) {
    constexpr int greater_than = 30;
    return static_cast<uint32_t>(__builtin_ia32_movmskps256(__builtin_ia32_cmpps256(a, b, greater_than)));
  }
  [[gnu::always_inline]] static void pairs(const float* from, const int32_t* places, bool, Floats& here, Floats& next) {
    // Places 0 1 4 5, then 2 3 6 7: the evens and odds of halves that the shuffles take are then in order.
    const Pairs order = __builtin_ia32_permdi256(load_vector<Pairs>(places), 0b11'01'10'00);
    const Floats low = gather(from, (Places)__builtin_ia32_extract128i256(order, 0));
    const Floats high = gather(from, (Places)__builtin_ia32_extract128i256(order, 1));
    here = __builtin_ia32_shufps256(low, high, 0b10'00'10'00);
    next = __builtin_ia32_shufps256(low, high, 0b11'01'11'01);
  }

 private:
  typedef int Places __attribute__((vector_size(16)));
  typedef long long Pairs __attribute__((vector_size(32)));
  [[gnu::always_inline]] static Floats gather(const float* from, const Places& places) {
    const Pairs every = {-1, -1, -1, -1};
    return (Floats)__builtin_ia32_gathersiv4di(Pairs{}, reinterpret_cast<const long long*>(from), places, every,
                                               sizeof(float));
  }
};

struct Avx512Floats {
  static constexpr int lanes = 16;
  typedef float Floats __attribute__((vector_size(64)));
  typedef float Quarter __attribute__((vector_size(16)));
  static constexpr int as_set = 4;  // rounding
  static constexpr uint16_t every = 0xffff;
  [[gnu::always_inline]] static Floats all(const float* at) {
    return __builtin_ia32_broadcastss512(Quarter{*at}, Floats{}, every);
  }
  [[gnu::always_inline]] static Floats plus(const Floats& a, const Floats& b) {
    return __builtin_ia32_addps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Floats minus(const Floats& a, const Floats& b) {
    return __builtin_ia32_subps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Floats times(const Floats& a, const Floats& b) {
    return __builtin_ia32_mulps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return __builtin_ia32_vfmaddps512_mask(a, b, sums, every, as_set);
  }
  [[gnu::always_inline]] static Floats less(const Floats& a, const Floats& b) {
    return __builtin_ia32_minps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Floats greater(const Floats& a, const Floats& b) {
    return __builtin_ia32_maxps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static uint32_t above(const Floats& a, const Floats& b) {
    constexpr int greater_than = 30;
    return static_cast<uint16_t>(__builtin_ia32_cmpps512_mask(a, b, greater_than, every, as_set));
  }
  [[gnu::always_inline]] static void pairs(const float* from, const int32_t* places, bool whole, Floats& here,
                                           Floats& next) {
    typedef int Order __attribute__((vector_size(64)));
    constexpr Order evens = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
    constexpr Order odds = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
    const Floats low = gather(from, places);
    const Floats high = whole ? gather(from, places + lanes / 2) : Floats{};
    here = __builtin_ia32_vpermt2varps512_mask(evens, low, high, every);
    next = __builtin_ia32_vpermt2varps512_mask(odds, low, high, every);
  }

 private:
  [[gnu::always_inline]] static Floats gather(const float* from, const int32_t* places) {
    typedef int Places __attribute__((vector_size(32)));
    typedef long long Pairs __attribute__((vector_size(64)));
    return (Floats)__builtin_ia32_gathersiv8di(Pairs{}, from, load_vector<Places>(places), 0xff, sizeof(float));
  }
};

#endif

}  // namespace mk::features
