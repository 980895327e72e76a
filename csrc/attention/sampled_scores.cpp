#include "attention/sampled_scores.h"

#include <algorithm>
#include <limits>

#include "attention/counter_random.h"
#include "attention/lanes.h"

namespace mk::attention {

namespace {

constexpr int64_t kNumbers = 4;   // of a Philox counter
constexpr int64_t kSamples = 64;  // drawn at a time

// Places in memory of the keys that samples [first, first + kSamples) of a query fall on; they are asked for early.
template <class W, class T>
[[gnu::always_inline]] inline void draw(const Sampling<T>& sampling, int64_t query, int64_t first, const T** rows) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t s = 0; s < kSamples; s += kNumbers * W::lanes) {
    const Philox<W> philox(sampling.seed, static_cast<uint32_t>(query), static_cast<uint32_t>((first + s) / kNumbers));
    uint64_t keys[kNumbers][W::lanes];
    philox.below(static_cast<uint64_t>(sampling.keys_count), keys);
    for (int64_t lane = 0; lane < W::lanes; ++lane)
      for (int64_t number = 0; number < kNumbers; ++number) {
        const T* const row = sampling.keys + static_cast<int64_t>(keys[number][lane]) * sampling.stride;
        rows[s + lane * kNumbers + number] = row;
      }
  }
  const int64_t there = std::min(sampling.samples - first, kSamples);
  for (int64_t s = 0; s < there; ++s)
    for (int64_t d = 0; d < sampling.stride; d += line) __builtin_prefetch(rows[s] + d);
}

// The products of a query with as many rows as there are numbers in 16 bytes.
template <class L, class T>
[[gnu::always_inline]] inline typename L::Quad products(const T* query, const T* const* rows, int64_t stride) {
  using Real = typename L::Real;
  constexpr int count = 16 / sizeof(T);
  Real sum[count] = {};
  for (int64_t d = 0; d < stride; d += L::lanes) {
    const Real q = load_vector<Real>(query + d);
#pragma GCC unroll 4
    for (int j = 0; j < count; ++j) sum[j] = L::add(sum[j], q, load_vector<Real>(rows[j] + d));
  }
  return L::sums(sum);
}

template <class L, class W, class T>
[[gnu::always_inline]] inline void sample_scores(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies) {
  using Quad = typename L::Quad;
  constexpr int count = 16 / sizeof(T);
  constexpr T least = std::numeric_limits<T>::lowest();
  const int64_t samples = sampling.samples;
  const T* drawn[2][kSamples];
  draw<W>(sampling, begin, 0, drawn[0]);
  int which = 0;
  for (int64_t i = begin; i < end; ++i) {
    const T* const query = sampling.queries + i * sampling.stride;
    Quad greatest = least - Quad{}, total{};
    T last_greatest = least, last_total = 0;
    for (int64_t first = 0; first < samples; first += kSamples) {
      const T* const* const rows = drawn[which];
      which = 1 - which;
      if (first + kSamples < samples)
        draw<W>(sampling, i, first + kSamples, drawn[which]);
      else if (i + 1 < end)
        draw<W>(sampling, i + 1, 0, drawn[which]);
      const int64_t there = std::min(samples - first, kSamples);
      int64_t s = 0;
      for (; s + count <= there; s += count) {
        const Quad found = products<L>(query, rows + s, sampling.stride);
        greatest = greatest > found ? greatest : found;
        total += found;
      }
      if (s < there) {
        const Quad found = products<L>(query, rows + s, sampling.stride);
        for (int j = 0; j < there - s; ++j) {
          last_greatest = std::max(last_greatest, found[j]);
          last_total += found[j];
        }
      }
    }
    for (int j = 0; j < count; ++j) {
      last_greatest = std::max(last_greatest, greatest[j]);
      last_total += total[j];
    }
    proxies[i] = last_greatest - last_total / sampling.divisor;
  }
}

// Each instruction set needs a function of its own marked with its target.
template <class T>
void baseline(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies) {
  sample_scores<BaselineLanes<T>, BaselineWords>(sampling, begin, end, proxies);
}
#if defined(__x86_64__)
template <class T>
[[gnu::target("avx2,fma")]] void avx2(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies) {
  sample_scores<Avx2Lanes<T>, Avx2Words>(sampling, begin, end, proxies);
}
template <class T>
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void avx512(const Sampling<T>& sampling,
                                                                                 int64_t begin, int64_t end,
                                                                                 T* proxies) {
  sample_scores<Avx512Lanes<T>, Avx512Words>(sampling, begin, end, proxies);
}
#endif

}  // namespace

template <class T>
SampledScores<T> sampled_scores() {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return avx512<T>;
  if (simd::level() == simd::Level::avx2) return avx2<T>;
#endif
  return baseline<T>;
}

template SampledScores<float> sampled_scores();
template SampledScores<double> sampled_scores();

}  // namespace mk::attention
