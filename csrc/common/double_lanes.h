// Registers of doubles, for each instruction set. The instructions are named one by one: what is written with vector
// operators that compare would be taken apart into scalars in a function without a target of its own.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/simd.h"

namespace mk::simd {

// What the compiler makes of plain vector code: SSE2 or NEON.
struct BaselineDoubles {
  using V = Vector<double, 2>;
  // `then` where a < b, `otherwise` elsewhere.
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    return a < b ? then : otherwise;
  }
  [[gnu::always_inline]] static inline V::Real root(const V::Real& x) {
    return V::Real{std::sqrt(x[0]), std::sqrt(x[1])};
  }
  [[gnu::always_inline]] static inline double least(const V::Real& x) { return std::min(x[0], x[1]); }
  // The lanes where a < b, those where a <= b, and those that hold a value, as bits.
  [[gnu::always_inline]] static inline uint32_t below(const V::Real& a, const V::Real& b) {
    return static_cast<uint32_t>(a[0] < b[0]) | static_cast<uint32_t>(a[1] < b[1]) << 1;
  }
  [[gnu::always_inline]] static inline uint32_t not_above(const V::Real& a, const V::Real& b) {
    return static_cast<uint32_t>(a[0] <= b[0]) | static_cast<uint32_t>(a[1] <= b[1]) << 1;
  }
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint32_t>(x[0] == value) | static_cast<uint32_t>(x[1] == value) << 1;
  }
  // The last lane of `before`, then all but the last of `own`.
  [[gnu::always_inline]] static inline V::Real shift(const V::Real& before, const V::Real& own) {
    return V::Real{before[1], own[0]};
  }
};

#if defined(__x86_64__)
struct Avx2Doubles {
  using V = Vector<double, 4>;
  static constexpr int equals = 0, less = 1, less_equal = 2;  // predicates of the comparison, false for NaN
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    return __builtin_ia32_blendvpd256(otherwise, then, __builtin_ia32_cmppd256(a, b, less));
  }
  [[gnu::always_inline]] static inline V::Real root(const V::Real& x) { return __builtin_ia32_sqrtpd256(x); }
  [[gnu::always_inline]] static inline double least(const V::Real& x) {
    return BaselineDoubles::least(
        __builtin_ia32_minpd(__builtin_ia32_vextractf128_pd256(x, 0), __builtin_ia32_vextractf128_pd256(x, 1)));
  }
  [[gnu::always_inline]] static inline uint32_t below(const V::Real& a, const V::Real& b) {
    return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(a, b, less)));
  }
  [[gnu::always_inline]] static inline uint32_t not_above(const V::Real& a, const V::Real& b) {
    return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(a, b, less_equal)));
  }
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(x, V::broadcast(value), equals)));
  }
  [[gnu::always_inline]] static inline V::Real shift(const V::Real& before, const V::Real& own) {
    return __builtin_ia32_shufpd256(__builtin_ia32_vperm2f128_pd256(before, own, 0x21), own, 0b0101);
  }
};

struct Avx512Doubles {
  using V = Vector<double, 8>;
  typedef long long Lanes64 __attribute__((vector_size(64)));
  static constexpr int equals = 0, less = 1, less_equal = 2, current_rounding = 4;
  static constexpr auto all_lanes = static_cast<uint8_t>(-1);
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    const auto mask = __builtin_ia32_cmppd512_mask(a, b, less, all_lanes, current_rounding);
    return __builtin_ia32_blendmpd_512_mask(otherwise, then, mask);
  }
  [[gnu::always_inline]] static inline V::Real root(const V::Real& x) {
    return __builtin_ia32_sqrtpd512_mask(x, V::Real{}, all_lanes, current_rounding);
  }
  [[gnu::always_inline]] static inline double least(const V::Real& x) {
    using Half = Avx2Doubles::V::Real;
    return Avx2Doubles::least(__builtin_ia32_minpd256(__builtin_ia32_extractf64x4_mask(x, 0, Half{}, all_lanes),
                                                      __builtin_ia32_extractf64x4_mask(x, 1, Half{}, all_lanes)));
  }
  [[gnu::always_inline]] static inline uint32_t below(const V::Real& a, const V::Real& b) {
    return static_cast<uint8_t>(__builtin_ia32_cmppd512_mask(a, b, less, all_lanes, current_rounding));
  }
  [[gnu::always_inline]] static inline uint32_t not_above(const V::Real& a, const V::Real& b) {
    return static_cast<uint8_t>(__builtin_ia32_cmppd512_mask(a, b, less_equal, all_lanes, current_rounding));
  }
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint8_t>(
        __builtin_ia32_cmppd512_mask(x, V::broadcast(value), equals, all_lanes, current_rounding));
  }
  [[gnu::always_inline]] static inline V::Real shift(const V::Real& before, const V::Real& own) {
    const auto bits = __builtin_ia32_alignq512_mask(__builtin_bit_cast(Lanes64, own),
                                                    __builtin_bit_cast(Lanes64, before), 7, Lanes64{}, all_lanes);
    return __builtin_bit_cast(V::Real, bits);
  }
};
#endif

}  // namespace mk::simd
