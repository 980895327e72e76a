// A choice between registers of doubles, for each instruction set. As in rank_lanes.h the instructions that compare and
// choose are named one by one.
#pragma once

#include <cstdint>

#include "common/simd.h"

namespace mk::topology {

// What the compiler makes of plain vector code: SSE2 or NEON.
struct BaselineDoubles {
  using V = simd::Vector<double, 2>;
  // `then` where a < b, `otherwise` elsewhere.
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    return a < b ? then : otherwise;
  }
};

#if defined(__x86_64__)
struct Avx2Doubles {
  using V = simd::Vector<double, 4>;
  static constexpr int less = 1;  // predicate of the comparison: less, false for NaN
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    return __builtin_ia32_blendvpd256(otherwise, then, __builtin_ia32_cmppd256(a, b, less));
  }
};

struct Avx512Doubles {
  using V = simd::Vector<double, 8>;
  static constexpr int less = 1, current_rounding = 4;
  [[gnu::always_inline]] static inline V::Real choose(const V::Real& a, const V::Real& b, const V::Real& then,
                                                      const V::Real& otherwise) {
    const auto mask = __builtin_ia32_cmppd512_mask(a, b, less, static_cast<uint8_t>(-1), current_rounding);
    return __builtin_ia32_blendmpd_512_mask(otherwise, then, mask);
  }
};
#endif

}  // namespace mk::topology
