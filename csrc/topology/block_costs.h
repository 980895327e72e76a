// What it costs to match bars of two diagrams, in blocks of bars of the second.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/bar_cost.h"
#include "topology/bars.h"
#include "topology/block_rows.h"

namespace mk::topology {

// Row r may take a column of the blocks block[start[r] .. start[r + 1]), at the cost that block_rows.h says where to
// find, or none at cost leave[r]. Columns that nobody takes cost nothing. There may be more room in block and cost than
// start tells of.
struct BlockCosts {
  std::vector<int64_t> start;
  std::vector<int32_t> block;
  std::vector<double> cost, leave;
  int32_t columns = 0;

  int32_t rows() const { return static_cast<int32_t>(leave.size()); }
  int32_t blocks() const { return (columns + kBarBlock - 1) / kBarBlock; }
  BlockRow row(int32_t r) const {
    return {std::span(block).subspan(start[r], start[r + 1] - start[r]), cost.data() + start[r] * kBarBlock};
  }
};

struct CostOptions {
  Ground ground;
  double order;
  LengthUnit unit;  // for orders above 1
  int64_t memory;   // bytes
};

// Bars of `a` choose among bars of `b`, at distance^order. Leaving two bars apart costs leave(a) + leave(b); the part
// of b is taken from the cost of choosing it, so that bars of b which nobody chooses cost nothing. Only blocks are
// there that hold a bar which is cheaper to choose than to leave.
void fill_costs(const Bars& a, const Bars& b, const CostOptions& options, BlockCosts& costs);

}  // namespace mk::topology
