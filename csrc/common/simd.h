// Portable vectors on compiler vector types, and which width this processor runs.
// Every function that takes a vector is inlined into an entry point compiled for one instruction set
// (render/sheets.cpp shows how), so one template serves SSE2, AVX2, AVX-512 and NEON.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#if defined(__x86_64__)
#include <immintrin.h>  // declares the builtins of all instruction sets
#endif

namespace mk::simd {

enum class Level { baseline, avx2, avx512 };

// Highest level this processor and build can run, unless MEDKERNELS_SIMD=baseline|avx2|avx512 lowers it.
Level level();
std::string level_name();

template <class T, int Lanes>
struct VectorTypes;
template <int Lanes>
struct VectorTypes<float, Lanes> {
  typedef float Real __attribute__((vector_size(sizeof(float) * Lanes)));
  typedef int32_t Int __attribute__((vector_size(sizeof(int32_t) * Lanes)));
};
template <int Lanes>
struct VectorTypes<double, Lanes> {
  typedef double Real __attribute__((vector_size(sizeof(double) * Lanes)));
  typedef int64_t Int __attribute__((vector_size(sizeof(int64_t) * Lanes)));
};

// Floating-point layout and the constants of the approximations below.
template <class T>
struct Format;
template <>
struct Format<float> {
  using Int = int32_t;
  static constexpr int mantissa_bits = 23, bias = 127;
  static constexpr Int rsqrt_seed = 0x5f375a86;  // Lomont 2003, "Fast inverse square root"
  static constexpr int newton_steps = 3;
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float exp_limit = 87.0f;
  static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723212e-6f;
  static constexpr int exp_terms = 6, log_terms = 5;
};
template <>
struct Format<double> {
  using Int = int64_t;
  static constexpr int mantissa_bits = 52, bias = 1023;
  static constexpr Int rsqrt_seed = 0x5fe6eb50c7b537a9;
  static constexpr int newton_steps = 4;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double exp_limit = 700.0;
  static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
  static constexpr int exp_terms = 13, log_terms = 11;
};

template <class T>
constexpr T inverse_factorial(int k) {
  T value = 1;
  for (int i = 2; i <= k; ++i) value /= T(i);
  return value;
}

// What has to be named as an instruction; false where there is none. Estimates of 12 or 14 bits, and a value in all
// lanes, which in a function without a target of its own would be put together lane by lane. (Clang would refuse them
// in a function that is not itself compiled for the instruction set.)
template <class T, int Lanes>
struct Hardware {
  using Real = typename VectorTypes<T, Lanes>::Real;
  [[gnu::always_inline]] static inline bool broadcast(T, Real&) { return false; }
  [[gnu::always_inline]] static inline bool rsqrt(const Real&, Real&) { return false; }
  [[gnu::always_inline]] static inline bool reciprocal(const Real&, Real&) { return false; }
};
#if defined(__x86_64__) && !defined(__clang__)
template <>
struct Hardware<float, 4> {
  using Real = VectorTypes<float, 4>::Real;
  [[gnu::always_inline]] static inline bool broadcast(float value, Real& y) {
    y = Real{value, value, value, value};
    return true;
  }
  [[gnu::always_inline]] static inline bool rsqrt(const Real& x, Real& y) {
    y = __builtin_ia32_rsqrtps(x);
    return true;
  }
  [[gnu::always_inline]] static inline bool reciprocal(const Real& x, Real& y) {
    y = __builtin_ia32_rcpps(x);
    return true;
  }
};
template <>
struct Hardware<float, 8> {
  using Real = VectorTypes<float, 8>::Real;
  [[gnu::always_inline]] static inline bool broadcast(float value, Real& y) {
    y = __builtin_ia32_vbroadcastss_ps256(VectorTypes<float, 4>::Real{value, value, value, value});
    return true;
  }
  [[gnu::always_inline]] static inline bool rsqrt(const Real& x, Real& y) {
    y = __builtin_ia32_rsqrtps256(x);
    return true;
  }
  [[gnu::always_inline]] static inline bool reciprocal(const Real& x, Real& y) {
    y = __builtin_ia32_rcpps256(x);
    return true;
  }
};
template <>
struct Hardware<float, 16> {
  using Real = VectorTypes<float, 16>::Real;
  [[gnu::always_inline]] static inline bool broadcast(float value, Real& y) {
    y = __builtin_ia32_broadcastss512(VectorTypes<float, 4>::Real{value, value, value, value}, Real{}, -1);
    return true;
  }
  [[gnu::always_inline]] static inline bool rsqrt(const Real& x, Real& y) {
    y = __builtin_ia32_rsqrt14ps512_mask(x, Real{}, -1);
    return true;
  }
  [[gnu::always_inline]] static inline bool reciprocal(const Real& x, Real& y) {
    y = __builtin_ia32_rcp14ps512_mask(x, Real{}, -1);
    return true;
  }
};
template <>
struct Hardware<double, 4> {
  using Real = VectorTypes<double, 4>::Real;
  [[gnu::always_inline]] static inline bool broadcast(double value, Real& y) {
    y = __builtin_ia32_vbroadcastsd_pd256(VectorTypes<double, 2>::Real{value, value});
    return true;
  }
  [[gnu::always_inline]] static inline bool rsqrt(const Real&, Real&) { return false; }
  [[gnu::always_inline]] static inline bool reciprocal(const Real&, Real&) { return false; }
};
template <>
struct Hardware<double, 8> {
  using Real = VectorTypes<double, 8>::Real;
  [[gnu::always_inline]] static inline bool broadcast(double value, Real& y) {
    y = __builtin_ia32_broadcastsd512(VectorTypes<double, 2>::Real{value, value}, Real{}, -1);
    return true;
  }
  [[gnu::always_inline]] static inline bool rsqrt(const Real&, Real&) { return false; }
  [[gnu::always_inline]] static inline bool reciprocal(const Real&, Real&) { return false; }
};
#endif

template <class T, int Lanes>
struct Vector {
  using Real = typename VectorTypes<T, Lanes>::Real;
  using Int = typename VectorTypes<T, Lanes>::Int;
  using F = Format<T>;
  using Double = Vector<double, int(Lanes * sizeof(T) / sizeof(double))>;  // same width
  static constexpr int lanes = Lanes;

  [[gnu::always_inline]] static inline Real load(const T* from) {
    Real value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  [[gnu::always_inline]] static inline void store(T* to, const Real& value) { std::memcpy(to, &value, sizeof(value)); }

  [[gnu::always_inline]] static inline Real broadcast(T value) {
    Real y;
    return Hardware<T, Lanes>::broadcast(value, y) ? y : value - Real{};
  }

  // 0, 1, 2, ...
  [[gnu::always_inline]] static inline Real iota() {
    Real value{};
    for (int i = 0; i < Lanes; ++i) value[i] = static_cast<T>(i);
    return value;
  }

  [[gnu::always_inline]] static inline Real clamp(const Real& x, T low, T high) {
    const Real lo = broadcast(low), hi = broadcast(high);
    const Real raised = x > lo ? x : lo;
    return raised < hi ? raised : hi;
  }

  // Adds halves until two lanes are left.
  [[gnu::always_inline]] static inline T sum(const Real& value) {
    if constexpr (Lanes == 2) {
      return value[0] + value[1];
    } else {
      using Half = Vector<T, Lanes / 2>;
      typename Half::Real halves[2];
      std::memcpy(halves, &value, sizeof(value));
      return Half::sum(halves[0] + halves[1]);
    }
  }

  // The integer nearest to x, for |x| < 2^22 (float) or 2^51 (double).
  [[gnu::always_inline]] static inline Int round(const Real& x) {
    const Real shifted = x + F::round_magic;
    return __builtin_bit_cast(Int, shifted) - std::bit_cast<typename F::Int>(F::round_magic);
  }

  // 1/sqrt(x) for normal positive x: a seed, then Newton steps to full precision.
  [[gnu::always_inline]] static inline Real rsqrt(const Real& x) {
    Real y;
    int steps = 1;
    if (!Hardware<T, Lanes>::rsqrt(x, y)) {
      const Int bits = F::rsqrt_seed - (__builtin_bit_cast(Int, x) >> 1);
      y = __builtin_bit_cast(Real, bits);
      steps = F::newton_steps;
    }
    const Real half = x * T(0.5);
    for (int i = 0; i < steps; ++i) y = y * (T(1.5) - half * y * y);
    return y;
  }

  // sqrt(x) for x = 0 or normal positive x.
  [[gnu::always_inline]] static inline Real sqrt(const Real& x) { return x > T(0) ? x * rsqrt(x) : Real{}; }

  // 1/x for normal x with a normal reciprocal.
  [[gnu::always_inline]] static inline Real reciprocal(const Real& x) {
    Real y;
    if (!Hardware<T, Lanes>::reciprocal(x, y)) return T(1) / x;
    return y * (T(2) - x * y);
  }

  // exp(x) = 2^n exp(r), |r| <= ln2 / 2, with the Taylor series for exp(r). Very negative x give the smallest normal
  // number; x above F::exp_limit gives rubbish.
  [[gnu::always_inline]] static inline Real exp(const Real& unclamped) {
    const Real low = broadcast(-F::exp_limit);
    const Real x = unclamped > low ? unclamped : low;
    const Real shifted = x * T(1.44269504088896340736) + F::round_magic;
    const Real n = shifted - F::round_magic;
    const Real r = (x - n * F::ln2_high) - n * F::ln2_low;
    Real series = broadcast(inverse_factorial<T>(F::exp_terms));
    for (int k = F::exp_terms - 1; k >= 0; --k) series = series * r + inverse_factorial<T>(k);
    const Int exponent = __builtin_bit_cast(Int, shifted) - std::bit_cast<typename F::Int>(F::round_magic);
    const Int scale = (exponent + F::bias) << F::mantissa_bits;
    return series * __builtin_bit_cast(Real, scale);
  }

  // log(x) for normal positive x: x = 2^n m, m in [1/sqrt2, sqrt2), log m = 2 atanh((m-1)/(m+1)).
  [[gnu::always_inline]] static inline Real log(const Real& x) {
    constexpr typename F::Int one = typename F::Int(F::bias) << F::mantissa_bits;
    constexpr typename F::Int mantissa = (typename F::Int(1) << F::mantissa_bits) - 1;
    const Int bits = __builtin_bit_cast(Int, x);
    const Int m_bits = (bits & mantissa) | one;
    Real m = __builtin_bit_cast(Real, m_bits);
    const Int n_bits = (bits >> F::mantissa_bits) - F::bias + std::bit_cast<typename F::Int>(F::round_magic);
    Real n = __builtin_bit_cast(Real, n_bits) - F::round_magic;
    const Int large = m > T(1.41421356237309504880);
    m = large ? m * T(0.5) : m;
    n = large ? n + T(1) : n;
    const Real s = (m - T(1)) * reciprocal(m + T(1)), s2 = s * s;
    Real series = broadcast(T(1) / T(2 * F::log_terms + 1));
    for (int k = F::log_terms - 1; k >= 0; --k) series = T(1) / T(2 * k + 1) + series * s2;
    return n * T(0.69314718055994530942) + T(2) * s * series;
  }
};

}  // namespace mk::simd
