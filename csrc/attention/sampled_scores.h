// How far the scores of a query stand out of a random sample of its keys.
#pragma once

#include <cstdint>

namespace mk::attention {

// One head. Rows of queries and keys have `stride` elements, a multiple of kWidth, zeros behind the values.
template <class T>
struct Sampling {
  const T* queries;
  const T* keys;
  int64_t stride, keys_count;
  int64_t samples;  // keys drawn for each query, with replacement; at least 1
  uint64_t seed;
  T divisor;  // of the sum of the sampled products
};

// proxies[i] = greatest - sum / divisor of the products of query i with its sampled keys, for i in [begin, end).
// Query i takes key below(n, keys_count) for each number n of the Philox counters (i, 0), (i, 1), ...
template <class T>
using SampledScores = void (*)(const Sampling<T>& sampling, int64_t begin, int64_t end, T* proxies);

// That for this processor.
template <class T>
SampledScores<T> sampled_scores();

}  // namespace mk::attention
