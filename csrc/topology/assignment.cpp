#include "topology/assignment.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kPasses = 2;              // as in Jonker and Volgenant's code
constexpr size_t kWaitingPerRebid = 4;  // measured: searches settle the rest as quickly
constexpr int64_t kCheckPeriod = 256;   // steps between two looks at the clock, which takes as long as a step

}  // namespace

std::span<const int32_t> AssignmentSolver::solve(const BlockCosts& costs, std::span<const int32_t> order) {
  const int64_t padded = static_cast<int64_t>(costs.blocks()) * kBarBlock;
  row_price_.assign(costs.rows(), 0);
  column_price_.assign(padded, 0);
  column_of_.assign(costs.rows(), -1);
  row_of_.assign(padded, -1);
  reduce_rows(costs, order);

  distance_.assign(padded, kInfinity);
  previous_.assign(padded, 0);
  touched_.resize(costs.blocks() + 1);
  is_touched_.assign(costs.blocks(), 0);
  for (const int32_t row : waiting_) augment(costs, row);
  return column_of_;
}

// Every row bids for its best column; whom it drives out bids again, the first few at once, others in the next pass,
// since bids that raise a price by little could go on for long. Rows that are still without a column after the last
// pass are left in waiting_.
void AssignmentSolver::reduce_rows(const BlockCosts& costs, std::span<const int32_t> order) {
  waiting_.assign(order.begin(), order.end());
  for (int pass = 0; pass < kPasses && !waiting_.empty(); ++pass) {
    displaced_.clear();
    size_t rebids = waiting_.size() / kWaitingPerRebid;
    for (size_t next = 0; next < waiting_.size();) {
      const int32_t row = waiting_[next++];
      const int32_t without = bid(costs, row);
      if (without < 0) continue;
      if (without != row && rebids > 0) {
        --rebids;
        waiting_[--next] = without;
      } else {
        displaced_.push_back(without);
      }
    }
    waiting_.swap(displaced_);
  }
}

// The row takes its best column and pays as much as leaves it indifferent to its second best choice. Returns the row
// that is without a column now, -1 for none.
int32_t AssignmentSolver::bid(const BlockCosts& costs, int32_t row) {
  const Bid found = block_rows().bid(costs.row(row), column_price_.data());
  const double leave = costs.leave[row];
  if (leave <= found.best) {
    row_price_[row] = leave;
    return -1;
  }
  const double second = std::min(found.second, leave);
  const int32_t owner = row_of_[found.column];
  row_price_[row] = second;
  if (owner >= 0 && second <= found.best) return row;  // a tie: only a search can tell who gives way
  column_price_[found.column] -= second - found.best;
  row_of_[found.column] = row;
  column_of_[row] = static_cast<int32_t>(found.column);
  if (owner >= 0) column_of_[owner] = -1;
  return owner;
}

void AssignmentSolver::augment(const BlockCosts& costs, int32_t first) {
  const auto relax = block_rows().relax;
  Search search{distance_.data(), previous_.data(), column_price_.data(), touched_.data(), is_touched_.data(), 0};
  settled_.clear();

  // Distances from the first row all hold the same constant, so its price may begin at 0.
  row_price_[first] = 0;
  int32_t row = first, column = -1, end_row = first, end_column = -1;
  double reached = 0, best = costs.leave[first];
  for (;;) {
    if (++steps_ % kCheckPeriod == 0) check_interrupt();
    const Step step{reached - row_price_[row], best, static_cast<double>(row), column};
    const Reached found = relax(costs.row(row), step, search);
    if (found.column < 0) break;
    reached = found.distance;
    column = static_cast<int32_t>(found.column);
    if (row_of_[column] < 0) {
      best = reached;
      end_column = column;
      break;
    }
    settled_.push_back({column, reached, column_price_[column]});
    row = row_of_[column];
    const double leaving = reached + (costs.leave[row] - row_price_[row]);
    if (leaving < best) {
      best = leaving;
      end_row = row;
    }
  }

  row_price_[first] = best;
  for (const auto& [settled, distance, price] : settled_) {
    column_price_[settled] = price - (best - distance);
    row_price_[row_of_[settled]] += best - distance;
  }
  for (int64_t k = 0; k < search.touched_count; ++k) {
    std::fill_n(distance_.begin() + static_cast<int64_t>(kBarBlock) * touched_[k], kBarBlock, kInfinity);
    is_touched_[touched_[k]] = 0;
  }
  if (end_column < 0) {
    end_column = column_of_[end_row];
    column_of_[end_row] = -1;
  }
  for (int32_t free = end_column; free >= 0;) {  // each row on the path takes the column ahead of it
    const auto taker = static_cast<int32_t>(previous_[free]);
    row_of_[free] = taker;
    std::swap(free, column_of_[taker]);
  }
}

}  // namespace mk::topology
