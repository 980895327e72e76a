// Inner loops over rows of ranks, for the instruction set of this processor. Widths are multiples of 64 bytes.
#pragma once

#include <cstdint>

namespace mk::topology {

template <class R>
struct RankRows {
  // out[x] = greatest of rows[0 .. count)[x].
  void (*greatest)(const R* const* rows, int count, int64_t width, R* out);
  // Smallest value of a row.
  R (*least)(const R* row, int64_t width);
  // First x with rows[i][x] <= limit for all i, or -1.
  int64_t (*first_within)(const R* const* rows, int count, int64_t width, R limit);
  // Every x with low <= m(x) <= high, where m(x) is the greatest of rows[0 .. count)[x]; returns how many.
  int64_t (*between)(const R* const* rows, int count, int64_t width, R low, R high, int32_t* x, R* m);
  // Rank from which on the edge (u, v) of a graph is needed for the homotopy type; `absent` if never.
  // A vertex w dominates the edge at s when it is adjacent by s to u, v and all their common neighbours by s.
  // `ranks` has zeros on the diagonal; `scratch` holds 2 * width values.
  R (*settle)(const R* ranks, int64_t width, int32_t u, int32_t v, R* scratch);
};

template <class R>
const RankRows<R>& rank_rows();

}  // namespace mk::topology
