// Loops inlined into one function for each instruction set; the compiler turns those without vectors into vectors.
#include "features/pixel_rows.h"

#include <bit>
#include <initializer_list>

#include "common/simd.h"
#include "features/float_lanes.h"

namespace mk::features {

namespace {

// Vectors that are summed in registers: enough to hide how long a multiply-add takes.
constexpr int kSums = 8;

// The sums of N vectors at x.
template <class L, int N>
[[gnu::always_inline]] inline void sum_vectors(const float* const* rows, const float* weights, int count, int64_t x,
                                               float* out) {
  typename L::Floats sums[N] = {};
  for (int k = 0; k < count; ++k) {
    const typename L::Floats weight = L::all(weights + k);
    const float* row = rows[k] + x;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) sums[i] = L::add(sums[i], weight, load_vector<typename L::Floats>(row + i * L::lanes));
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) store_vector(out + x + i * L::lanes, sums[i]);
}

// Blocks of N vectors, the last of which may begin within the one before; false where the row is shorter.
template <class L, int N>
[[gnu::always_inline]] inline bool sum_from(const float* const* rows, const float* weights, int count, int64_t width,
                                            float* out) {
  constexpr int64_t block = N * L::lanes;
  if (width < block) return false;
  for (int64_t x = 0; x < width - block; x += block) sum_vectors<L, N>(rows, weights, count, x, out);
  sum_vectors<L, N>(rows, weights, count, width - block, out);
  return true;
}

template <class L>
[[gnu::always_inline]] inline void sum_rows(const float* const* rows, const float* weights, int count, int64_t width,
                                            float* out) {
  if (sum_from<L, kSums>(rows, weights, count, width, out) || sum_from<L, 1>(rows, weights, count, width, out)) return;
  for (int64_t x = 0; x < width; ++x) {
    float sum = 0;
    for (int k = 0; k < count; ++k) sum += weights[k] * rows[k][x];
    out[x] = sum;
  }
}

template <class L>
[[gnu::always_inline]] inline typename L::Floats difference(const float* low, const float* high) {
  return L::minus(load_vector<typename L::Floats>(high), load_vector<typename L::Floats>(low));
}

template <class L>
[[gnu::always_inline]] inline int64_t find_peak(const float* low, const float* high, int64_t width, int64_t begin,
                                                int64_t end, float least) {
  using Floats = typename L::Floats;
  constexpr uint32_t every = (1u << L::lanes) - 1;
  const float lowest = -least;
  const Floats most = L::all(&least), fewest = L::all(&lowest);
  int64_t x = begin;
  for (; x + L::lanes <= end; x += L::lanes) {
    const Floats value = difference<L>(low + x, high + x);
    // Of either sign, not below the least size.
    uint32_t tops = every & ~L::above(most, value), pits = every & ~L::above(value, fewest);
    for (const int64_t by : {int64_t{-1}, int64_t{1}, -width, width}) {
      if ((tops | pits) == 0) break;
      const Floats beside = difference<L>(low + x + by, high + x + by);
      tops &= L::above(value, beside);
      pits &= L::above(beside, value);
    }
    if (const uint32_t found = tops | pits; found != 0) return x + std::countr_zero(found);
  }
  for (; x < end; ++x) {
    const auto at = [&](int64_t by) { return high[x + by] - low[x + by]; };
    const float value = at(0), sign = value > 0 ? 1.0f : -1.0f;
    const auto beats = [&](int64_t by) { return sign * value > sign * at(by); };
    if (sign * value >= least && beats(-1) && beats(1) && beats(-width) && beats(width)) return x;
  }
  return end;
}

struct Baseline {
  static void sum(const float* const* rows, const float* weights, int count, int64_t width, float* out) {
    sum_rows<BaselineFloats>(rows, weights, count, width, out);
  }
  static int64_t peak(const float* low, const float* high, int64_t width, int64_t begin, int64_t end, float least) {
    return find_peak<BaselineFloats>(low, high, width, begin, end, least);
  }
};

#if defined(__x86_64__)
struct Avx2 {
  [[gnu::target("avx2,fma,bmi")]] static void sum(const float* const* rows, const float* weights, int count,
                                                  int64_t width, float* out) {
    sum_rows<Avx2Floats>(rows, weights, count, width, out);
  }
  [[gnu::target("avx2,fma,bmi")]] static int64_t peak(const float* low, const float* high, int64_t width, int64_t begin,
                                                      int64_t end, float least) {
    return find_peak<Avx2Floats>(low, high, width, begin, end, least);
  }
};

struct Avx512 {
  [[gnu::target("avx512f,avx512dq,avx512vl,bmi,prefer-vector-width=512")]] static void sum(const float* const* rows,
                                                                                           const float* weights,
                                                                                           int count, int64_t width,
                                                                                           float* out) {
    sum_rows<Avx512Floats>(rows, weights, count, width, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,bmi,prefer-vector-width=512")]] static int64_t peak(
      const float* low, const float* high, int64_t width, int64_t begin, int64_t end, float least) {
    return find_peak<Avx512Floats>(low, high, width, begin, end, least);
  }
};
#endif

template <class Set>
PixelRows rows_of() {
  return {Set::sum, Set::peak};
}

}  // namespace

const PixelRows& pixel_rows() {
  static const PixelRows chosen = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return rows_of<Avx512>();
    if (simd::level() == simd::Level::avx2) return rows_of<Avx2>();
#endif
    return rows_of<Baseline>();
  }();
  return chosen;
}

}  // namespace mk::features
