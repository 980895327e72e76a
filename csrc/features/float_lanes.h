// Vectors of float for each instruction set: loads, stores, multiply-adds. Instructions are named, because generic
// vectors of functions without a target of their own would be taken apart or go through the stack.
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
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return sums + a * b;
  }
  // Of `lanes` / 2 places, each with the next one.
  [[gnu::always_inline]] static void gather_pairs(const float* from, const int32_t* places, float* out) {
    for (int i = 0; i < lanes / 2; ++i) {
      out[2 * i] = from[places[i]];
      out[2 * i + 1] = from[places[i] + 1];
    }
  }
};

#if defined(__x86_64__)

struct Avx2Floats {
  static constexpr int lanes = 8;
  typedef float Floats __attribute__((vector_size(32)));
  [[gnu::always_inline]] static Floats all(const float* at) { return __builtin_ia32_vbroadcastss256(at); }
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return __builtin_ia32_vfmaddps256(a, b, sums);
  }
  [[gnu::always_inline]] static void gather_pairs(const float* from, const int32_t* places, float* out) {
    typedef int Places __attribute__((vector_size(16)));
    typedef long long Pairs __attribute__((vector_size(32)));
    const Pairs every = {-1, -1, -1, -1};
    store_vector(out, __builtin_ia32_gathersiv4di(Pairs{}, reinterpret_cast<const long long*>(from),
                                                  load_vector<Places>(places), every, sizeof(float)));
  }
};

struct Avx512Floats {
  static constexpr int lanes = 16;
  typedef float Floats __attribute__((vector_size(64)));
  typedef float Quarter __attribute__((vector_size(16)));
  static constexpr int as_set = 4;  // rounding
  [[gnu::always_inline]] static Floats all(const float* at) {
    return __builtin_ia32_broadcastss512(Quarter{*at}, Floats{}, static_cast<uint16_t>(-1));
  }
  [[gnu::always_inline]] static Floats add(const Floats& sums, const Floats& a, const Floats& b) {
    return __builtin_ia32_vfmaddps512_mask(a, b, sums, static_cast<uint16_t>(-1), as_set);
  }
  [[gnu::always_inline]] static void gather_pairs(const float* from, const int32_t* places, float* out) {
    typedef int Places __attribute__((vector_size(32)));
    typedef long long Pairs __attribute__((vector_size(64)));
    store_vector(out, __builtin_ia32_gathersiv8di(Pairs{}, from, load_vector<Places>(places), static_cast<uint8_t>(-1),
                                                  sizeof(float)));
  }
};

#endif

}  // namespace mk::features
