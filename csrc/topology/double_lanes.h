// Registers of doubles, for each instruction set. As in rank_lanes.h the instructions that compare and choose are named
// one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/simd.h"

namespace mk::topology {

// What the compiler makes of plain vector code: SSE2 or NEON.
struct BaselineDoubles {
  using V = simd::Vector<double, 2>;
  [[gnu::always_inline]] static inline V::Real all(double value) { return V::Real{value, value}; }
  // `then` where a < b, `otherwise` elsewhere.
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    return a < b ? then : otherwise;
  }
  [[gnu::always_inline]] static inline V::Real root(const V::Real& x) {
    return V::Real{std::sqrt(x[0]), std::sqrt(x[1])};
  }
  [[gnu::always_inline]] static inline double least(const V::Real& x) { return std::min(x[0], x[1]); }
  // The lanes where a < b, and those that hold a value, as bits.
  [[gnu::always_inline]] static inline uint32_t below(const V::Real& a, const V::Real& b) {
    return static_cast<uint32_t>(a[0] < b[0]) | static_cast<uint32_t>(a[1] < b[1]) << 1;
  }
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint32_t>(x[0] == value) | static_cast<uint32_t>(x[1] == value) << 1;
  }
};

#if defined(__x86_64__)
struct Avx2Doubles {
  using V = simd::Vector<double, 4>;
  static constexpr int equals = 0, less = 1;  // predicates of the comparison, false for NaN
  [[gnu::always_inline]] static inline V::Real all(double value) {
    return __builtin_ia32_vbroadcastsd_pd256(BaselineDoubles::all(value));
  }
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
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(x, all(value), equals)));
  }
};

struct Avx512Doubles {
  using V = simd::Vector<double, 8>;
  static constexpr int equals = 0, less = 1, current_rounding = 4;
  static constexpr auto all_lanes = static_cast<uint8_t>(-1);
  [[gnu::always_inline]] static inline V::Real all(double value) {
    return __builtin_ia32_broadcastsd512(BaselineDoubles::all(value), V::Real{}, all_lanes);
  }
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
  [[gnu::always_inline]] static inline uint32_t equal(const V::Real& x, double value) {
    return static_cast<uint8_t>(__builtin_ia32_cmppd512_mask(x, all(value), equals, all_lanes, current_rounding));
  }
};
#endif

}  // namespace mk::topology
