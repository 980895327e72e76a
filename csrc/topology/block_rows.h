// Passes over one row of a matrix of costs in blocks of columns: the inner loops of block_assignment.cpp.
#pragma once

#include <cstdint>
#include <span>

#include "topology/bars.h"
#include "topology/row_reduction.h"

namespace mk::topology {

// Blocks of columns of which a row holds costs: column kBarBlock * block[k] + lane at cost[kBarBlock * k + lane].
struct BlockRow {
  std::span<const int32_t> block;
  const double* cost;
};

struct Reached {
  double distance;
  int64_t column;
};

// A search for the nearest free column. Distances of columns in blocks that it has not touched are infinite.
struct Search {
  double *distance, *previous, *price;  // of all columns; previous: the row before a column
  int32_t* touched;                     // blocks
  uint8_t* is_touched;                  // of all blocks
  int64_t touched_count;
};

struct BlockRows {
  // Costs of a bar and the bars in some blocks: their distance, less what it costs to leave the latter out.
  void (*euclidean)(double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks, double* cost);
  void (*maximum)(double birth, double death, const BarBlock* bars, std::span<const int32_t> blocks, double* cost);
  Bid (*bid)(const BlockRow& row, const double* price);
  // Closes column `settled`, if any, to the search: its distance becomes infinite, its price minus infinity. Then
  // lowers distances to base + cost - price where that is less, sets previous to `owner` there, and returns the least
  // distance of all.
  Reached (*relax)(const BlockRow& row, double base, double owner, int64_t settled, Search& search);
};

// The passes for this processor. Which of several equal columns they return does not depend on it.
const BlockRows& block_rows();

}  // namespace mk::topology
