// Matching of descriptors: for each row of one set its two nearest rows of another, and the ratio test on them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mk::features {

// Descriptors, row-major: [count, length].
template <class T>
struct Rows {
  std::span<const T> values;
  int64_t count, length;

  std::span<const T> row(int64_t i) const { return values.subspan(i * length, length); }
};

// The nearest row and the one after it; -1 and infinity where there is none.
struct TwoNearest {
  int32_t first = -1, second = -1;
  double first_squared, second_squared;  // squared Euclidean distances
};

// One entry a query. Equally near targets rank by index. T: float, double or uint8_t.
// The distances and their order are those of sums in double precision (whole numbers are exact), whatever the
// instruction set and the number of threads.
template <class T>
std::vector<TwoNearest> two_nearest(const Rows<T>& queries, const Rows<T>& targets);

struct Match {
  int64_t query, target;
  double squared;
};

// Pairs of a query and its nearest target, by query, where nearest <= ratio * second nearest; two targets at the same
// distance count as ratio 1, and a lone target as ratio 0. `mutual` keeps the pairs whose query is nearest to the
// target too.
template <class T>
std::vector<Match> match(const Rows<T>& queries, const Rows<T>& targets, double ratio, bool mutual);

}  // namespace mk::features
