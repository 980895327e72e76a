#include "topology/block_assignment.h"

#include <algorithm>
#include <limits>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kBidsPerRow = 0.25;  // measured: searches settle the rest as quickly
constexpr size_t kCheckPeriod = 16;   // searches between two looks at the clock, which takes as long as a short search

}  // namespace

std::span<const int32_t> BlockAssignmentSolver::solve(const BlockCosts& costs, std::span<const int32_t> order) {
  const int64_t padded = static_cast<int64_t>(costs.blocks()) * kBarBlock;
  assignment_.reset(costs.rows(), padded);
  const auto bid = block_rows().bid;
  reduction_.run(
      order, costs.leave, kBidsPerRow,
      [&](int32_t row) { return bid(costs.row(row), assignment_.column_price.data()); }, assignment_);

  distance_.assign(padded, kInfinity);
  previous_.assign(padded, 0);
  touched_.resize(costs.blocks() + 1);
  is_touched_.assign(costs.blocks(), 0);
  const std::span<const int32_t> waiting = reduction_.waiting();
  for (size_t k = 0; k < waiting.size(); ++k) {
    if (k % kCheckPeriod == 0) check_interrupt();
    augment(costs, waiting[k]);
  }
  return assignment_.column_of;
}

void BlockAssignmentSolver::augment(const BlockCosts& costs, int32_t first) {
  auto& [row_price, column_price, column_of, row_of] = assignment_;
  const auto relax = block_rows().relax;
  Search search{distance_.data(), previous_.data(), column_price.data(), touched_.data(), is_touched_.data(), 0};
  settled_.clear();

  // Distances from the first row all hold the same constant, so its price may begin at 0.
  row_price[first] = 0;
  int32_t row = first, column = -1, end_row = first, end_column = -1;
  double reached = 0, best = costs.leave[first];
  for (;;) {
    const Step step{reached - row_price[row], best, static_cast<double>(row), column};
    const Reached found = relax(costs.row(row), step, search);
    if (found.column < 0) break;
    reached = found.distance;
    column = static_cast<int32_t>(found.column);
    if (row_of[column] < 0) {
      best = reached;
      end_column = column;
      break;
    }
    settled_.push_back({column, reached, column_price[column]});
    row = row_of[column];
    const double leaving = reached + (costs.leave[row] - row_price[row]);
    if (leaving < best) {
      best = leaving;
      end_row = row;
    }
  }

  row_price[first] = best;
  for (const auto& [settled, distance, price] : settled_) {
    column_price[settled] = price - (best - distance);
    row_price[row_of[settled]] += best - distance;
  }
  for (int64_t k = 0; k < search.touched_count; ++k) {
    std::fill_n(distance_.begin() + static_cast<int64_t>(kBarBlock) * touched_[k], kBarBlock, kInfinity);
    is_touched_[touched_[k]] = 0;
  }
  if (end_column < 0) {
    end_column = column_of[end_row];
    column_of[end_row] = -1;
  }
  assignment_.take_path(end_column, previous_);
}

}  // namespace mk::topology
