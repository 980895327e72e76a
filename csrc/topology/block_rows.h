// Passes over one row of a matrix of costs in blocks of columns: the inner loops of block_costs.cpp and assignment.cpp.
#pragma once

#include <cstdint>
#include <span>

#include "topology/bars.h"

namespace mk::topology {

// Blocks of columns of which a row holds costs: column kBarBlock * block[k] + lane at cost[kBarBlock * k + lane].
struct BlockRow {
  std::span<const int32_t> block;
  const double* cost;
};

struct Bid {
  double best, second;  // least and second least of cost - price; infinite if there is none
  int64_t column;       // where the least is, -1 for none
};

struct Reached {
  double distance;
  int64_t column;  // -1 for none
};

// A search for the nearest free column. Distances in blocks that it has not touched are infinite.
struct Search {
  double *distance, *previous, *price;  // of all columns; previous: the row before a column
  int32_t* touched;                     // blocks
  uint8_t* is_touched;                  // of all blocks
  int64_t touched_count;
};

// A step of a search, to the row `owner` of the column that was nearest.
struct Step {
  double base, bound, owner;
  int64_t settled;  // that column; -1 in the first step
};

// A bar that chooses among others.
struct Chooser {
  double birth, death;
};

struct BlockRange {
  int32_t begin, end;
};

struct BlockRows {
  // Finds the blocks of a range that hold a bar with which a given one may be matched, writes their numbers and costs,
  // and returns how many there are. A cost is the distance less what it costs to leave the other bar out.
  int64_t (*euclidean)(const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost);
  int64_t (*maximum)(const Chooser& bar, const BarBlock* bars, BlockRange range, int32_t* block, double* cost);
  Bid (*bid)(const BlockRow& row, const double* price);
  // Closes column `settled`, if any, to the search: its distance becomes infinite, its price minus infinity. Then
  // lowers distances to base + cost - price where that is less, and less than `bound`, sets previous to `owner` there,
  // and returns the least distance of all, or no column if none is below the bound.
  Reached (*relax)(const BlockRow& row, const Step& step, Search& search);
};

// The passes for this processor. Which of several equal columns they return does not depend on it.
const BlockRows& block_rows();

}  // namespace mk::topology
