// Registers of coordinates, for each instruction set: what distances need. Instructions are named one by one, as in
// common/double_lanes.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/simd.h"

namespace mk::points {

// What the compiler makes of plain vector code: SSE2 or NEON.
template <class T>
struct BaselineDistances {
  using V = simd::Vector<T, int(16 / sizeof(T))>;
  using Real = typename V::Real;
  // The greater of each two; b where one is not a number.
  [[gnu::always_inline]] static inline Real greater(const Real& a, const Real& b) { return a > b ? a : b; }
  // a * b + c, with one rounding or two.
  [[gnu::always_inline]] static inline Real fused(const Real& a, const Real& b, const Real& c) { return a * b + c; }
  // The lanes where a <= b, as bits.
  [[gnu::always_inline]] static inline uint32_t not_above(const Real& a, const Real& b) {
    uint32_t bits = 0;
    for (int i = 0; i < V::lanes; ++i) bits |= static_cast<uint32_t>(a[i] <= b[i]) << i;
    return bits;
  }
  // Lanes of doubles from floats or doubles.
  [[gnu::always_inline]] static inline simd::Vector<double, 2>::Real widened(const float* from) {
    return simd::Vector<double, 2>::Real{static_cast<double>(from[0]), static_cast<double>(from[1])};
  }
  [[gnu::always_inline]] static inline simd::Vector<double, 2>::Real widened(const double* from) {
    return simd::Vector<double, 2>::load(from);
  }
};

#if defined(__x86_64__)
template <class T>
struct Avx2Distances {
  using V = simd::Vector<T, int(32 / sizeof(T))>;
  using Real = typename V::Real;
  static constexpr bool single = std::is_same_v<T, float>;
  static constexpr int less_equal = 2;  // false for NaN
  [[gnu::always_inline]] static inline Real greater(const Real& a, const Real& b) {
    if constexpr (single)
      return __builtin_ia32_maxps256(a, b);
    else
      return __builtin_ia32_maxpd256(a, b);
  }
  [[gnu::always_inline]] static inline Real fused(const Real& a, const Real& b, const Real& c) {
    if constexpr (single)
      return __builtin_ia32_vfmaddps256(a, b, c);
    else
      return __builtin_ia32_vfmaddpd256(a, b, c);
  }
  [[gnu::always_inline]] static inline uint32_t not_above(const Real& a, const Real& b) {
    if constexpr (single)
      return static_cast<uint32_t>(__builtin_ia32_movmskps256(__builtin_ia32_cmpps256(a, b, less_equal)));
    else
      return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(a, b, less_equal)));
  }
  [[gnu::always_inline]] static inline simd::Vector<double, 4>::Real widened(const float* from) {
    return __builtin_ia32_cvtps2pd256(simd::Vector<float, 4>::load(from));
  }
  [[gnu::always_inline]] static inline simd::Vector<double, 4>::Real widened(const double* from) {
    return simd::Vector<double, 4>::load(from);
  }
};

template <class T>
struct Avx512Distances {
  using V = simd::Vector<T, int(64 / sizeof(T))>;
  using Real = typename V::Real;
  static constexpr bool single = std::is_same_v<T, float>;
  static constexpr int less_equal = 2, as_set = 4;  // as_set: the current rounding
  static constexpr auto every8 = static_cast<uint8_t>(-1);
  static constexpr auto every16 = static_cast<uint16_t>(-1);
  [[gnu::always_inline]] static inline Real greater(const Real& a, const Real& b) {
    if constexpr (single)
      return __builtin_ia32_maxps512_mask(a, b, a, every16, as_set);
    else
      return __builtin_ia32_maxpd512_mask(a, b, a, every8, as_set);
  }
  [[gnu::always_inline]] static inline Real fused(const Real& a, const Real& b, const Real& c) {
    if constexpr (single)
      return __builtin_ia32_vfmaddps512_mask(a, b, c, every16, as_set);
    else
      return __builtin_ia32_vfmaddpd512_mask(a, b, c, every8, as_set);
  }
  [[gnu::always_inline]] static inline uint32_t not_above(const Real& a, const Real& b) {
    if constexpr (single)
      return static_cast<uint16_t>(__builtin_ia32_cmpps512_mask(a, b, less_equal, every16, as_set));
    else
      return static_cast<uint8_t>(__builtin_ia32_cmppd512_mask(a, b, less_equal, every8, as_set));
  }
  [[gnu::always_inline]] static inline simd::Vector<double, 8>::Real widened(const float* from) {
    return __builtin_ia32_cvtps2pd512_mask(simd::Vector<float, 8>::load(from), simd::Vector<double, 8>::Real{}, every8,
                                           as_set);
  }
  [[gnu::always_inline]] static inline simd::Vector<double, 8>::Real widened(const double* from) {
    return simd::Vector<double, 8>::load(from);
  }
};
#endif

}  // namespace mk::points
