// Scores of a tile of queries against a tile of targets, kept in registers and folded into the best few of each query.
//
// The score of a query a and a target b rises as |a - b|^2 falls: a.b - |b|^2 / 2 for numbers, twice that (less a
// constant of the query) for bytes. Each score is one chain of multiply-adds along the row, so equal targets score
// equally wherever they stand.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

namespace mk::features {

// Best scores that are kept of each query: two are wanted, the others show how near the runners-up come.
inline constexpr int kKept = 4;

// In descending order; equal scores in the order they came.
template <class Score>
struct Best {
  static constexpr Score none = std::numeric_limits<Score>::has_infinity ? -std::numeric_limits<Score>::infinity()
                                                                         : std::numeric_limits<Score>::lowest();
  std::array<Score, kKept> scores;
  std::array<int32_t, kKept> indices;

  Best() {
    scores.fill(none);
    indices.fill(-1);
  }

  // For a score above the last one.
  [[gnu::always_inline]] inline void insert(Score score, int32_t index) {
    int at = kKept - 1;
    for (; at > 0 && score > scores[at - 1]; --at) {
      scores[at] = scores[at - 1];
      indices[at] = indices[at - 1];
    }
    scores[at] = score;
    indices[at] = index;
  }
};

// A kernel for one instruction set. Queries and targets come in panels of `queries` and `targets` rows, in which
// `group` consecutive elements of a row lie together, then the same elements of the panel's next row.
template <class Query, class Target, class Score_>
struct ScoreKernel {
  using QueryElement = Query;
  using TargetElement = Target;
  using Score = Score_;
  int queries, targets, group;
  void (*tile)(const Query* queries, const Target* targets, const Score* biases, int64_t groups, int32_t first_target,
               Best<Score>* best);
};

// Biases are -|b|^2 / 2.
using NumberKernel = ScoreKernel<float, float, float>;
// Biases are -|b|^2. Rows may be up to kLongestBytes long, so that no score overflows.
using WordKernel = ScoreKernel<int16_t, int16_t, int32_t>;
// The same with targets less 128, which changes all scores of a query alike.
using ByteKernel = ScoreKernel<uint8_t, int8_t, int32_t>;
inline constexpr int64_t kLongestBytes = 16384;

const NumberKernel& number_kernel();
const WordKernel& word_kernel();
// Null where the processor has no products of bytes.
const ByteKernel* byte_kernel();

}  // namespace mk::features
