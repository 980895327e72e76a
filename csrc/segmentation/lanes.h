// Registers for each instruction set. Arithmetic is that of compiler vectors; what compares is named as an instruction,
// because in a function without a target of its own it would be taken apart into scalars.
#pragma once

#include <cstdint>

#include "common/simd.h"

namespace mk::segmentation {

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

// What the compiler makes of plain vector code: SSE2 or NEON.
template <class T>
struct BaselineLanes {
  static constexpr int lanes = 16 / sizeof(T);
  using Vector = simd::Vector<T, lanes>;
  using Real = typename Vector::Real;
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return a > b ? a : b; }
  // Where `value` is above `best`, replaces it, and `which` by `number`.
  [[gnu::always_inline]] static void raise(const Real& value, const Real& number, Real& best, Real& which) {
    const auto above = value > best;
    best = above ? value : best;
    which = above ? number : which;
  }
};

#if defined(__x86_64__)

template <class T>
struct Avx2Lanes;

template <>
struct Avx2Lanes<float> {
  static constexpr int lanes = 8, greater_than = 30;
  using Vector = simd::Vector<float, lanes>;
  using Real = Vector::Real;
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return __builtin_ia32_maxps256(a, b); }
  [[gnu::always_inline]] static void raise(const Real& value, const Real& number, Real& best, Real& which) {
    which = __builtin_ia32_blendvps256(which, number, __builtin_ia32_cmpps256(value, best, greater_than));
    best = greater(value, best);
  }
};

template <>
struct Avx2Lanes<double> {
  static constexpr int lanes = 4, greater_than = 30;
  using Vector = simd::Vector<double, lanes>;
  using Real = Vector::Real;
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return __builtin_ia32_maxpd256(a, b); }
  [[gnu::always_inline]] static void raise(const Real& value, const Real& number, Real& best, Real& which) {
    which = __builtin_ia32_blendvpd256(which, number, __builtin_ia32_cmppd256(value, best, greater_than));
    best = greater(value, best);
  }
};

template <class T>
struct Avx512Lanes;

template <>
struct Avx512Lanes<float> {
  static constexpr int lanes = 16, greater_than = 30, as_set = 4;  // rounding
  static constexpr uint16_t every = 0xffff;
  using Vector = simd::Vector<float, lanes>;
  using Real = Vector::Real;
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) {
    return __builtin_ia32_maxps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static void raise(const Real& value, const Real& number, Real& best, Real& which) {
    which = __builtin_ia32_blendmps_512_mask(which, number,
                                             __builtin_ia32_cmpps512_mask(value, best, greater_than, every, as_set));
    best = greater(value, best);
  }
};

template <>
struct Avx512Lanes<double> {
  static constexpr int lanes = 8, greater_than = 30, as_set = 4;  // rounding
  static constexpr uint8_t every = 0xff;
  using Vector = simd::Vector<double, lanes>;
  using Real = Vector::Real;
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) {
    return __builtin_ia32_maxpd512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static void raise(const Real& value, const Real& number, Real& best, Real& which) {
    which = __builtin_ia32_blendmpd_512_mask(which, number,
                                             __builtin_ia32_cmppd512_mask(value, best, greater_than, every, as_set));
    best = greater(value, best);
  }
};

#endif

// exp(x) for x <= 0: 2^n exp(r), |r| <= ln2 / 2, with the Taylor series for exp(r), as in simd.h. Very negative x give
// the smallest normal number. The exponent of 2^n is made in the low bits of x / ln2 + round_magic + bias, whose higher
// bits are shifted out.
template <class L, class T>
[[gnu::always_inline]] inline typename L::Real exponential(const typename L::Real& unclamped) {
  using F = simd::Format<T>;
  using V = typename L::Vector;
  using Real = typename L::Real;
  constexpr T one_exponent = F::round_magic + F::bias;
  const Real x = L::greater(unclamped, V::broadcast(-F::exp_limit));
  const Real shifted = x * T(1.44269504088896340736) + one_exponent;
  const Real n = shifted - one_exponent;
  const Real r = (x - n * F::ln2_high) - n * F::ln2_low;
  Real series = V::broadcast(simd::inverse_factorial<T>(F::exp_terms));
#pragma GCC unroll 16
  for (int k = F::exp_terms - 1; k >= 0; --k) series = series * r + simd::inverse_factorial<T>(k);
  return series * __builtin_bit_cast(Real, __builtin_bit_cast(typename V::Int, shifted) << F::mantissa_bits);
}

}  // namespace mk::segmentation
