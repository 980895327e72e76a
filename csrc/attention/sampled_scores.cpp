#include "attention/sampled_scores.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "attention/counter_random.h"
#include "attention/lanes.h"

namespace mk::attention {

namespace {

constexpr int64_t kNumbers = 4;  // of a Philox counter

// A register of products has as many samples as there are numbers in 16 bytes, of as many queries as it has such parts.
template <class T>
constexpr int kPart = 16 / sizeof(T);

// Where the samples from `sample` on, of the query in lane 0, are among what Philox::below gives for W::lanes queries.
template <class W>
constexpr int64_t place(int64_t sample) {
  return sample / 2 * (2 * W::lanes) + sample % 2;
}

// What is left to sum up of the products [First, First + Count) of a register. A row has `Stride` elements, or `stride`
// if that is 0.
template <class L, class W, int First, int Count, int64_t Stride, class T>
[[gnu::always_inline]] inline typename L::Real products(const T* const* queries, const T* keys, int64_t stride,
                                                        const uint32_t* drawn) {
  if constexpr (Count > 1) {
    constexpr int half = Count / 2;
    return L::template join<half>(products<L, W, First, half, Stride>(queries, keys, stride, drawn),
                                  products<L, W, First + half, half, Stride>(queries, keys, stride, drawn));
  } else {
    using Real = typename L::Real;
    constexpr int query = First / kPart<T>, sample = First % kPart<T>;
    const int64_t size = Stride > 0 ? Stride : stride;
    const T* const key = keys + drawn[place<W>(sample) + 2 * query] * size;
    Real sum{};
    for (int64_t d = 0; d < size; d += L::lanes)
      sum = L::add(sum, load_vector<Real>(queries[query] + d), load_vector<Real>(key + d));
    return sum;
  }
}

template <class L, class W, int64_t Stride, class T>
[[gnu::always_inline]] inline void rate(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies) {
  using Real = typename L::Real;
  constexpr int part = kPart<T>, at_once = L::lanes / part;
  static_assert(W::lanes % at_once == 0);
  constexpr T least = std::numeric_limits<T>::lowest();
  const int64_t samples = sampling.samples, last = (samples - 1) / part * part;
  // More is drawn than there are samples: what is too much in the last register adds nothing, and is never greatest.
  T weights[L::lanes], handicaps[L::lanes];
  for (int i = 0; i < L::lanes; ++i) {
    const bool wanted = last + i % part < samples;
    weights[i] = wanted ? T(1) : T(0);
    handicaps[i] = wanted ? T(0) : -std::numeric_limits<T>::infinity();
  }
  std::vector<uint32_t> drawn(static_cast<size_t>((samples + kNumbers - 1) / kNumbers * kNumbers * W::lanes));
  for (int64_t first = begin; first < end; first += W::lanes) {
    for (int64_t s = 0; s < samples; s += kNumbers)
      Philox<W>(sampling.seed, static_cast<uint32_t>(first), static_cast<uint32_t>(s / kNumbers))
          .below(static_cast<uint64_t>(sampling.keys_count), drawn.data() + s * W::lanes);
    for (int64_t lane = 0; lane < W::lanes && first + lane < end; lane += at_once) {
      const int64_t query = first + lane, there = std::min<int64_t>(at_once, end - query);
      const T* queries[at_once];
      for (int64_t i = 0; i < at_once; ++i)
        queries[i] = sampling.queries + (query + std::min(i, there - 1)) * sampling.stride;
      const auto found = [&](int64_t s) __attribute__((always_inline)) {
        return products<L, W, 0, L::lanes, Stride>(queries, sampling.keys, sampling.stride,
                                                   drawn.data() + 2 * lane + place<W>(s));
      };
      Real greatest = L::all(&least), total{};
      for (int64_t s = 0; s < last; s += part) {
        const Real own = found(s);
        greatest = L::greater(greatest, own);
        total = L::plus(total, own);
      }
      const Real own = found(last);
      greatest = L::greater(greatest, L::plus(own, load_vector<Real>(handicaps)));
      total = L::add(total, own, load_vector<Real>(weights));
      T tops[L::lanes], sums[L::lanes];
      store_vector(tops, greatest);
      store_vector(sums, total);
      for (int64_t i = 0; i < there; ++i) {
        T top = tops[i * part], sum = sums[i * part];
        for (int64_t j = 1; j < part; ++j) {
          top = std::max(top, tops[i * part + j]);
          sum += sums[i * part + j];
        }
        proxies[query + i] = top - sum / sampling.divisor;
      }
    }
  }
}

// The compiler knows the usual sizes of rows.
template <class L, class W, class T>
[[gnu::always_inline]] inline void sample_scores(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies) {
  if (sampling.stride == 32)
    rate<L, W, 32>(sampling, begin, end, proxies);
  else if (sampling.stride == 64)
    rate<L, W, 64>(sampling, begin, end, proxies);
  else
    rate<L, W, 0>(sampling, begin, end, proxies);
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
