// Registers of float and double for each instruction set, with what products of matrices need. Instructions are named,
// because generic vectors of functions without a target of their own would be taken apart.
#pragma once

#include <array>
#include <cstdint>

#include "common/simd.h"

namespace mk::attention {

// Rows of matrices are padded to this many elements: the widest registers there are.
template <class T>
constexpr int64_t kWidth = 64 / sizeof(T);

template <class T>
constexpr int64_t padded(int64_t count) {
  return (count + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
}

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

// 16 bytes are native everywhere: plain vector code.
typedef float FloatQuad __attribute__((vector_size(16)));
typedef double DoublePair __attribute__((vector_size(16)));

// What the compiler makes of plain vector code: SSE2 or NEON. `rows` is how many rows of a product fit in registers.
template <class T>
struct BaselineLanes {
  using Quad = typename simd::VectorTypes<T, 16 / sizeof(T)>::Real;
  using Real = Quad;
  static constexpr int lanes = 16 / sizeof(T), rows = 4;
  [[gnu::always_inline]] static Real all(const T* at) { return *at - Real{}; }
  [[gnu::always_inline]] static Real add(const Real& sum, const Real& a, const Real& b) { return sum + a * b; }
  [[gnu::always_inline]] static Real plus(const Real& a, const Real& b) { return a + b; }
  [[gnu::always_inline]] static Real minus(const Real& a, const Real& b) { return a - b; }
  [[gnu::always_inline]] static Real times(const Real& a, const Real& b) { return a * b; }
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return a > b ? a : b; }
  // The bits of each lane, moved into the exponent.
  [[gnu::always_inline]] static Real to_exponent(const Real& x) {
    using Int = typename simd::VectorTypes<T, lanes>::Int;
    return __builtin_bit_cast(Real, __builtin_bit_cast(Int, x) << simd::Format<T>::mantissa_bits);
  }
  // One level of the sums of as many vectors as there are lanes: a and b have the parts of `Held` such sums each, and
  // the result has half as many parts of both. The last level puts the sums in the order of the vectors.
  template <int Held>
  [[gnu::always_inline]] static Real join(const Real& a, const Real& b) {
    if constexpr (lanes == 2)
      return __builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3);
    else if constexpr (Held == 1)
      return __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    else
      return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  }
  // A bit for each lane where a > b.
  [[gnu::always_inline]] static uint32_t above(const Real& a, const Real& b) {
    uint32_t bits = 0;
    for (int i = 0; i < lanes; ++i) bits |= static_cast<uint32_t>(a[i] > b[i]) << i;
    return bits;
  }
};

#if defined(__x86_64__)

template <class T>
struct Avx2Lanes;

template <>
struct Avx2Lanes<float> {
  typedef float Real __attribute__((vector_size(32)));
  static constexpr int lanes = 8, rows = 4, low_halves = 0x20, high_halves = 0x31;
  [[gnu::always_inline]] static Real all(const float* at) { return __builtin_ia32_vbroadcastss256(at); }
  [[gnu::always_inline]] static Real add(const Real& sum, const Real& a, const Real& b) {
    return __builtin_ia32_vfmaddps256(a, b, sum);
  }
  [[gnu::always_inline]] static Real plus(const Real& a, const Real& b) { return __builtin_ia32_addps256(a, b); }
  [[gnu::always_inline]] static Real minus(const Real& a, const Real& b) { return __builtin_ia32_subps256(a, b); }
  [[gnu::always_inline]] static Real times(const Real& a, const Real& b) { return __builtin_ia32_mulps256(a, b); }
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return __builtin_ia32_maxps256(a, b); }
  [[gnu::always_inline]] static Real to_exponent(const Real& x) {
    typedef int Bits __attribute__((vector_size(32)));
    return (Real)__builtin_ia32_pslldi256((Bits)x, simd::Format<float>::mantissa_bits);
  }
  template <int Held>
  [[gnu::always_inline]] static Real join(const Real& a, const Real& b) {
    typedef double Pairs __attribute__((vector_size(32)));
    if constexpr (Held == 1)
      return plus(__builtin_ia32_unpcklps256(a, b), __builtin_ia32_unpckhps256(a, b));
    else if constexpr (Held == 2)
      return plus((Real)__builtin_ia32_unpcklpd256((Pairs)a, (Pairs)b),
                  (Real)__builtin_ia32_unpckhpd256((Pairs)a, (Pairs)b));
    else
      return plus(__builtin_ia32_vperm2f128_ps256(a, b, low_halves),
                  __builtin_ia32_vperm2f128_ps256(a, b, high_halves));
  }
  [[gnu::always_inline]] static uint32_t above(const Real& a, const Real& b) {
    constexpr int greater_than = 30;
    return static_cast<uint32_t>(__builtin_ia32_movmskps256(__builtin_ia32_cmpps256(a, b, greater_than)));
  }
};

template <>
struct Avx2Lanes<double> {
  typedef double Real __attribute__((vector_size(32)));
  static constexpr int lanes = 4, rows = 4, low_halves = 0x20, high_halves = 0x31;
  [[gnu::always_inline]] static Real all(const double* at) { return __builtin_ia32_vbroadcastsd256(at); }
  [[gnu::always_inline]] static Real add(const Real& sum, const Real& a, const Real& b) {
    return __builtin_ia32_vfmaddpd256(a, b, sum);
  }
  [[gnu::always_inline]] static Real plus(const Real& a, const Real& b) { return __builtin_ia32_addpd256(a, b); }
  [[gnu::always_inline]] static Real minus(const Real& a, const Real& b) { return __builtin_ia32_subpd256(a, b); }
  [[gnu::always_inline]] static Real times(const Real& a, const Real& b) { return __builtin_ia32_mulpd256(a, b); }
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) { return __builtin_ia32_maxpd256(a, b); }
  [[gnu::always_inline]] static Real to_exponent(const Real& x) {
    typedef long long Bits __attribute__((vector_size(32)));
    return (Real)__builtin_ia32_psllqi256((Bits)x, simd::Format<double>::mantissa_bits);
  }
  template <int Held>
  [[gnu::always_inline]] static Real join(const Real& a, const Real& b) {
    if constexpr (Held == 1)
      return plus(__builtin_ia32_unpcklpd256(a, b), __builtin_ia32_unpckhpd256(a, b));
    else
      return plus(__builtin_ia32_vperm2f128_pd256(a, b, low_halves),
                  __builtin_ia32_vperm2f128_pd256(a, b, high_halves));
  }
  [[gnu::always_inline]] static uint32_t above(const Real& a, const Real& b) {
    constexpr int greater_than = 30;
    return static_cast<uint32_t>(__builtin_ia32_movmskpd256(__builtin_ia32_cmppd256(a, b, greater_than)));
  }
};

template <class T>
struct Avx512Lanes;

template <>
struct Avx512Lanes<double> {
  using Quad = DoublePair;
  typedef double Real __attribute__((vector_size(64)));
  static constexpr int lanes = 8, rows = 8, as_set = 4;      // rounding
  static constexpr int even_parts = 0x88, odd_parts = 0xdd;  // of 16 bytes
  static constexpr uint8_t every = 0xff;
  [[gnu::always_inline]] static Real all(const double* at) {
    return __builtin_ia32_broadcastsd512(Quad{*at}, Real{}, every);
  }
  [[gnu::always_inline]] static Real add(const Real& sum, const Real& a, const Real& b) {
    return __builtin_ia32_vfmaddpd512_mask(a, b, sum, every, as_set);
  }
  [[gnu::always_inline]] static Real plus(const Real& a, const Real& b) {
    return __builtin_ia32_addpd512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real minus(const Real& a, const Real& b) {
    return __builtin_ia32_subpd512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real times(const Real& a, const Real& b) {
    return __builtin_ia32_mulpd512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) {
    return __builtin_ia32_maxpd512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real to_exponent(const Real& x) {
    typedef long long Bits __attribute__((vector_size(64)));
    return (Real)__builtin_ia32_psllqi512_mask((Bits)x, simd::Format<double>::mantissa_bits, Bits{}, every);
  }
  template <int Held>
  [[gnu::always_inline]] static Real join(const Real& a, const Real& b) {
    if constexpr (Held == 1)
      return plus(__builtin_ia32_unpcklpd512_mask(a, b, a, every), __builtin_ia32_unpckhpd512_mask(a, b, a, every));
    else
      return plus(__builtin_ia32_shuf_f64x2_mask(a, b, even_parts, a, every),
                  __builtin_ia32_shuf_f64x2_mask(a, b, odd_parts, a, every));
  }
  [[gnu::always_inline]] static uint32_t above(const Real& a, const Real& b) {
    constexpr int greater_than = 30;
    return static_cast<uint8_t>(__builtin_ia32_cmppd512_mask(a, b, greater_than, every, as_set));
  }
};

template <>
struct Avx512Lanes<float> {
  using Quad = FloatQuad;
  typedef float Real __attribute__((vector_size(64)));
  static constexpr int lanes = 16, rows = 8, as_set = 4;  // rounding
  static constexpr uint16_t every = 0xffff;
  [[gnu::always_inline]] static Real all(const float* at) {
    return __builtin_ia32_broadcastss512(Quad{*at}, Real{}, every);
  }
  [[gnu::always_inline]] static Real add(const Real& sum, const Real& a, const Real& b) {
    return __builtin_ia32_vfmaddps512_mask(a, b, sum, every, as_set);
  }
  [[gnu::always_inline]] static Real plus(const Real& a, const Real& b) {
    return __builtin_ia32_addps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real minus(const Real& a, const Real& b) {
    return __builtin_ia32_subps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real times(const Real& a, const Real& b) {
    return __builtin_ia32_mulps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real greater(const Real& a, const Real& b) {
    return __builtin_ia32_maxps512_mask(a, b, a, every, as_set);
  }
  [[gnu::always_inline]] static Real to_exponent(const Real& x) {
    typedef int Bits __attribute__((vector_size(64)));
    return (Real)__builtin_ia32_pslldi512_mask((Bits)x, simd::Format<float>::mantissa_bits, Bits{}, every);
  }
  template <int Held>
  [[gnu::always_inline]] static Real join(const Real& a, const Real& b) {
    using Double = Avx512Lanes<double>;
    using Pairs = Double::Real;
    if constexpr (Held == 1)
      return plus(__builtin_ia32_unpcklps512_mask(a, b, a, every), __builtin_ia32_unpckhps512_mask(a, b, a, every));
    else if constexpr (Held == 2)
      return plus((Real)__builtin_ia32_unpcklpd512_mask((Pairs)a, (Pairs)b, (Pairs)a, Double::every),
                  (Real)__builtin_ia32_unpckhpd512_mask((Pairs)a, (Pairs)b, (Pairs)a, Double::every));
    else
      return plus(__builtin_ia32_shuf_f32x4_mask(a, b, Double::even_parts, a, every),
                  __builtin_ia32_shuf_f32x4_mask(a, b, Double::odd_parts, a, every));
  }
  [[gnu::always_inline]] static uint32_t above(const Real& a, const Real& b) {
    constexpr int greater_than = 30;
    return static_cast<uint16_t>(__builtin_ia32_cmpps512_mask(a, b, greater_than, every, as_set));
  }
};

#endif

// exp(x) for x <= 0: 2^n exp(r), |r| <= ln2 / 2, with the Taylor series for exp(r), as in simd.h. Very negative x give
// the smallest normal number. The exponent of 2^n is made in the low bits of x / ln2 + round_magic + bias, whose higher
// bits are shifted out.
template <class L, class T>
[[gnu::always_inline]] inline typename L::Real exponential(const typename L::Real& unclamped) {
  using F = simd::Format<T>;
  using Real = typename L::Real;
  static constexpr T limit = -F::exp_limit, per_ln2 = T(1.44269504088896340736),
                     one_exponent = F::round_magic + F::bias;
  static constexpr T high = -F::ln2_high, low = -F::ln2_low;
  const Real x = L::greater(unclamped, L::all(&limit));
  const Real shifted = L::add(L::all(&one_exponent), x, L::all(&per_ln2));
  const Real n = L::minus(shifted, L::all(&one_exponent));
  const Real r = L::add(L::add(x, n, L::all(&high)), n, L::all(&low));
  static constexpr auto terms = [] {
    std::array<T, F::exp_terms + 1> inverse_factorials{};
    for (int k = 0; k <= F::exp_terms; ++k) inverse_factorials[k] = simd::inverse_factorial<T>(k);
    return inverse_factorials;
  }();
  Real series = L::all(&terms[F::exp_terms]);
#pragma GCC unroll 16
  for (int k = F::exp_terms - 1; k >= 0; --k) series = L::add(L::all(&terms[k]), series, r);
  return L::times(series, L::to_exponent(shifted));
}

}  // namespace mk::attention
