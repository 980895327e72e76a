#include "points/edge_softmax.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "common/parallel.h"
#include "common/widest.h"

namespace mk::points {

namespace {

constexpr int64_t kNumbersTogether = 1 << 13;  // numbers of one piece of work, which stay in the cache nearest a core

// exp(x) for x <= 0, as in simd::Vector::exp; 0 where that would not be a normal number, NaN for NaN.
template <class T>
[[gnu::always_inline]] inline T exp_of(T x) {
  using F = simd::Format<T>;
  using Int = typename F::Int;
  const T above = x < -F::exp_limit ? -F::exp_limit : x;
  const T shifted = above * T(1.44269504088896340736) + F::round_magic, n = shifted - F::round_magic;
  const T r = (above - n * F::ln2_high) - n * F::ln2_low;
  T series = simd::inverse_factorial<T>(F::exp_terms);
#pragma GCC unroll 16
  for (int term = F::exp_terms - 1; term >= 0; --term) series = series * r + simd::inverse_factorial<T>(term);
  // Bits of the integer n, which the round number leaves at the end of `shifted`; shifted out of sight for NaN.
  const auto bits = static_cast<std::make_unsigned_t<Int>>(std::bit_cast<Int>(shifted)) -
                    static_cast<std::make_unsigned_t<Int>>(std::bit_cast<Int>(F::round_magic)) + F::bias;
  return x < -F::exp_limit ? T(0) : series * std::bit_cast<T>(static_cast<Int>(bits << F::mantissa_bits));
}

// Rows one after the other share the loops over heads; those over all numbers of the rows are long.
template <class T>
[[gnu::always_inline]] inline void softmax_rows(const T* scores, const int64_t* neighbours, int64_t rows, int64_t k,
                                                int64_t heads, T* row_values, T* weights) {
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first = row * k * heads;
    T* greatest = row_values;
    std::fill_n(greatest, heads, kNone);
    for (int64_t j = 0; j < k; ++j) {
      if (neighbours[row * k + j] < 0) continue;
      const T* s = scores + first + j * heads;
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) greatest[h] = greatest[h] < s[h] ? s[h] : greatest[h];
    }
    for (int64_t h = 0; h < heads; ++h) greatest[h] = greatest[h] == kNone ? T(0) : greatest[h];
    for (int64_t j = 0; j < k; ++j) {
      const bool present = neighbours[row * k + j] >= 0;
      const T *s = scores + first + j * heads, *most = greatest;
      T* w = weights + first + j * heads;
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) w[h] = present ? s[h] - most[h] : kNone;
    }
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < rows * k * heads; ++i) weights[i] = exp_of(weights[i]);
  for (int64_t row = 0; row < rows; ++row) {
    T *w = weights + row * k * heads, *sums = row_values;
    std::fill_n(sums, heads, T(0));
    for (int64_t j = 0; j < k; ++j)
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) sums[h] += w[j * heads + h];
    for (int64_t h = 0; h < heads; ++h) sums[h] = sums[h] == 0 ? T(0) : 1 / sums[h];
    for (int64_t j = 0; j < k; ++j)
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) w[j * heads + h] *= sums[h];
  }
}

template <class T>
[[gnu::always_inline]] inline void pull_rows(const T* grad, const T* weights, int64_t rows, int64_t k, int64_t heads,
                                             T* row_values, T* pulled) {
  for (int64_t row = 0; row < rows; ++row) {
    const T *g = grad + row * k * heads, *w = weights + row * k * heads;
    T *out = pulled + row * k * heads, *sums = row_values;
    std::fill_n(sums, heads, T(0));
    for (int64_t j = 0; j < k; ++j)
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) sums[h] += w[j * heads + h] * g[j * heads + h];
    for (int64_t j = 0; j < k; ++j)
#pragma GCC ivdep
      for (int64_t h = 0; h < heads; ++h) out[j * heads + h] = w[j * heads + h] * (g[j * heads + h] - sums[h]);
  }
}

// Calls body(first row, rows, scratch for one value a head) for pieces of the rows.
template <class T, class Body>
void for_rows(int64_t numbers, int64_t k, int64_t heads, const Body& body) {
  const int64_t row = k * heads, rows = row ? numbers / row : 0;
  const int64_t step = std::max<int64_t>(1, kNumbersTogether / std::max<int64_t>(row, 1));
  parallel_for((rows + step - 1) / step, [&](int64_t piece) {
    std::vector<T> row_values(heads);
    const int64_t begin = piece * step, count = std::min(step, rows - begin);
    simd::with_widest([&]() __attribute__((always_inline)) { body(begin, count, row_values.data()); });
  });
}

}  // namespace

template <class T>
void edge_softmax(std::span<const T> scores, std::span<const int64_t> neighbours, int64_t k, int64_t heads,
                  std::span<T> weights) {
  for_rows<T>(static_cast<int64_t>(scores.size()), k, heads,
              [&](int64_t begin, int64_t count, T* row_values) __attribute__((always_inline)) {
                const int64_t first = begin * k * heads;
                softmax_rows(scores.data() + first, neighbours.data() + begin * k, count, k, heads, row_values,
                             weights.data() + first);
              });
}

template <class T>
void edge_softmax_backward(std::span<const T> grad, std::span<const T> weights, int64_t k, int64_t heads,
                           std::span<T> pulled) {
  for_rows<T>(static_cast<int64_t>(grad.size()), k, heads,
              [&](int64_t begin, int64_t count, T* row_values) __attribute__((always_inline)) {
                const int64_t first = begin * k * heads;
                pull_rows(grad.data() + first, weights.data() + first, count, k, heads, row_values,
                          pulled.data() + first);
              });
}

template void edge_softmax(std::span<const float>, std::span<const int64_t>, int64_t, int64_t, std::span<float>);
template void edge_softmax(std::span<const double>, std::span<const int64_t>, int64_t, int64_t, std::span<double>);
template void edge_softmax_backward(std::span<const float>, std::span<const float>, int64_t, int64_t, std::span<float>);
template void edge_softmax_backward(std::span<const double>, std::span<const double>, int64_t, int64_t,
                                    std::span<double>);

}  // namespace mk::points
