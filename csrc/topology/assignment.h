// Least-cost assignment in a sparse bipartite graph.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/block_costs.h"

namespace mk::topology {

// Auction, then shortest augmenting paths (Jonker and Volgenant 1987, Computing 38, 325-340). A search ends at the
// nearest free column or row that had better take none, so it stays in the neighbourhood of its row. It has no heap: to
// look, in vectors, at all blocks of columns that it has touched is as quick, also with thousands of rows. Worst case
// O(rows^2 columns).
class AssignmentSolver {
 public:
  // The column of each row, -1 for none, with the least total cost. Any order of the rows will do: it is quickest to
  // begin with those that leave the most.
  std::span<const int32_t> solve(const BlockCosts& costs, std::span<const int32_t> order);

 private:
  struct Settled {
    int32_t column;
    double distance, price;
  };

  void reduce_rows(const BlockCosts& costs, std::span<const int32_t> order);
  int32_t bid(const BlockCosts& costs, int32_t row);
  void augment(const BlockCosts& costs, int32_t row);

  std::vector<double> row_price_, column_price_, distance_, previous_;
  std::vector<int32_t> column_of_, row_of_, waiting_, displaced_, touched_;
  std::vector<uint8_t> is_touched_;
  std::vector<Settled> settled_;
  int64_t steps_ = 0;  // of all searches
};

}  // namespace mk::topology
