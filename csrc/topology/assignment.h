// Least-cost assignment in a sparse bipartite graph.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "topology/row_reduction.h"

namespace mk::topology {

// Row r may take one of the columns column[start[r] .. start[r + 1]) at the cost beside it, or none at cost leave[r].
// Columns that nobody takes cost nothing.
struct Choices {
  std::vector<int64_t> start;
  std::vector<int32_t> column;
  std::vector<double> cost, leave;
  int32_t columns = 0;

  void clear(int32_t column_count) {
    start.assign(1, 0);
    column.clear();
    cost.clear();
    leave.clear();
    columns = column_count;
  }
  int32_t rows() const { return static_cast<int32_t>(leave.size()); }
};

// Shortest augmenting paths (Jonker and Volgenant 1987, Computing 38, 325-340) with a heap over the columns that a path
// may still reach: a search ends at the nearest free column or row that had better take none, so it stays in the
// neighbourhood of its row, and never leaves its connected component. Worst case O(rows edges log(rows)).
class AssignmentSolver {
 public:
  // The column of each row, -1 for none, with the least total cost. Any order of the rows will do: it is quickest to
  // begin with those that leave the most.
  std::span<const int32_t> solve(const Choices& choices, std::span<const int32_t> order);

 private:
  void augment(const Choices& choices, int32_t row);

  Assignment assignment_;
  RowReduction reduction_;
  std::vector<double> distance_;
  std::vector<int32_t> previous_, settled_, touched_;
  std::vector<uint8_t> is_settled_;
  std::vector<std::pair<double, int32_t>> heap_;
};

}  // namespace mk::topology
