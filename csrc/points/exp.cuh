// exp(x) for x <= 0 on a CUDA device, by the polynomial of the CPU (common/simd.h): the same digits.
#pragma once

#include <cstdint>

namespace mk::cuda {

// Bits of a floating-point number, and the constants of the series.
template <class T>
struct ExpFormat;
template <>
struct ExpFormat<float> {
  using Int = int32_t;
  static constexpr int mantissa_bits = 23, bias = 127, terms = 6;
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float limit = 87.0f, ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723212e-6f;
  __device__ static Int bits(float value) { return __float_as_int(value); }
  __device__ static float number(Int bits) { return __int_as_float(bits); }
};
template <>
struct ExpFormat<double> {
  using Int = int64_t;
  static constexpr int mantissa_bits = 52, bias = 1023, terms = 13;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double limit = 700.0, ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
  __device__ static Int bits(double value) { return __double_as_longlong(value); }
  __device__ static double number(Int bits) { return __longlong_as_double(bits); }
};

template <class T>
struct InverseFactorials {
  T of[ExpFormat<T>::terms + 1];
  __host__ __device__ constexpr InverseFactorials() : of{} {
    T value = 1;
    for (int k = 0; k <= ExpFormat<T>::terms; ++k) of[k] = k > 1 ? value /= T(k) : value;
  }
};

// For x from -limit to 0.
template <class T>
__device__ inline T exp_within_limit(T x) {
  using F = ExpFormat<T>;
  constexpr InverseFactorials<T> inverse_factorials;
  const T shifted = x * T(1.44269504088896340736) + F::round_magic, n = shifted - F::round_magic;
  const T r = (x - n * F::ln2_high) - n * F::ln2_low;
  T series = inverse_factorials.of[F::terms];
#pragma unroll
  for (int k = F::terms - 1; k >= 0; --k) series = series * r + inverse_factorials.of[k];
  // The integer n is what the rounding leaves at the end of `shifted`.
  const auto exponent = F::bits(shifted) - F::bits(F::round_magic) + F::bias;
  return series * F::number(static_cast<typename F::Int>(static_cast<uint64_t>(exponent) << F::mantissa_bits));
}

}  // namespace mk::cuda
