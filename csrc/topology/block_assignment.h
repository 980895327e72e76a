// Least-cost assignment in a matrix whose rows are scanned in blocks of columns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/bars.h"
#include "topology/block_rows.h"
#include "topology/row_reduction.h"

namespace mk::topology {

// Row r may take a column of the blocks block[start[r] .. start[r + 1]), at the cost that cost holds for it (see
// block_rows.h), or none at cost leave[r]. Columns that nobody takes cost nothing.
struct BlockCosts {
  std::vector<int64_t> start;
  std::vector<int32_t> block;
  std::vector<double> cost, leave;
  int32_t columns = 0;

  // Keeps what block and cost hold: filling them with zeros would take as long as filling them with costs.
  void clear(int32_t column_count) {
    start.assign(1, 0);
    leave.clear();
    columns = column_count;
  }
  void reserve(int64_t block_count) {
    if (block_count <= static_cast<int64_t>(block.size())) return;
    block.resize(block_count);
    cost.resize(block_count * kBarBlock);
  }
  int32_t rows() const { return static_cast<int32_t>(leave.size()); }
  int32_t blocks() const { return (columns + kBarBlock - 1) / kBarBlock; }
  BlockRow row(int32_t r) const {
    return {std::span(block).subspan(start[r], start[r + 1] - start[r]), cost.data() + start[r] * kBarBlock};
  }
};

// AssignmentSolver's method without a heap, in vectors: a search looks at all blocks that it has touched for the
// nearest column. Quicker while that is few, however few of their columns matter.
class BlockAssignmentSolver {
 public:
  // The column of each row, -1 for none, with the least total cost. Any order of the rows will do: it is quickest to
  // begin with those that leave the most.
  std::span<const int32_t> solve(const BlockCosts& costs, std::span<const int32_t> order);

 private:
  struct Settled {
    int32_t column;
    double distance, price;
  };

  void augment(const BlockCosts& costs, int32_t row);

  Assignment assignment_;
  RowReduction reduction_;
  std::vector<double> distance_, previous_;
  std::vector<int32_t> touched_;
  std::vector<uint8_t> is_touched_;
  std::vector<Settled> settled_;
};

}  // namespace mk::topology
