#include "topology/dense_assignment.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/parallel.h"
#include "topology/dense_rows.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kReductionPasses = 2;  // as in Jonker and Volgenant's code

}  // namespace

void DenseCosts::resize(int32_t rows, int32_t column_count) {
  columns = column_count;
  padded = (column_count + kRowPadding - 1) / kRowPadding * kRowPadding;
  leave.resize(rows);
  cost.resize(rows * padded);
}

std::span<const int32_t> DenseAssignmentSolver::solve(const DenseCosts& costs) {
  row_price_.assign(costs.rows(), 0);
  column_of_.assign(costs.rows(), -1);
  column_price_.assign(costs.padded, 0);
  row_of_.assign(costs.padded, -1);
  distance_.resize(costs.padded);
  previous_.assign(costs.padded, 0);
  reduce_rows(costs);
  for (const int32_t row : waiting_) {
    check_interrupt();
    augment(costs, row);
  }
  return column_of_;
}

// See AssignmentSolver::reduce_rows.
void DenseAssignmentSolver::reduce_rows(const DenseCosts& costs) {
  const auto bid = dense_rows().bid;
  waiting_.resize(costs.rows());
  for (int32_t row = 0; row < costs.rows(); ++row) waiting_[row] = row;
  for (int pass = 0; pass < kReductionPasses && !waiting_.empty(); ++pass) {
    displaced_.clear();
    size_t bids = 0;
    const size_t most_bids = waiting_.size();
    for (size_t next = 0; next < waiting_.size();) {
      const int32_t row = waiting_[next++];
      const double leave = costs.leave[row];
      const Bid found = bid(costs.row(row), column_price_.data(), costs.padded);
      if (leave <= found.best) {
        row_price_[row] = leave;
        continue;
      }
      const double second = std::min(found.second, leave);
      const int32_t owner = row_of_[found.column];
      if (owner >= 0 && second <= found.best) {  // a tie: only a search can tell who gives way
        row_price_[row] = found.best;
        displaced_.push_back(row);
        continue;
      }
      row_price_[row] = second;
      column_price_[found.column] -= second - found.best;
      row_of_[found.column] = row;
      column_of_[row] = static_cast<int32_t>(found.column);
      if (owner < 0) continue;
      column_of_[owner] = -1;
      if (++bids < most_bids) {
        waiting_[--next] = owner;
      } else {
        displaced_.push_back(owner);
      }
    }
    waiting_.swap(displaced_);
  }
}

void DenseAssignmentSolver::augment(const DenseCosts& costs, int32_t first) {
  const auto relax = dense_rows().relax;
  settled_.clear();
  std::ranges::fill(distance_, kInfinity);
  open_price_ = column_price_;

  // Distances from the first row all hold the same constant, so its price may begin at 0.
  row_price_[first] = 0;
  int32_t row = first, end_row = first, end_column = -1;
  double reached = 0, best = costs.leave[first];
  for (;;) {
    const Reached found = relax(costs.row(row), open_price_.data(), reached - row_price_[row], row, costs.padded,
                                distance_.data(), previous_.data());
    if (found.distance >= best) break;
    const auto column = static_cast<int32_t>(found.column);
    if (row_of_[column] < 0) {
      best = found.distance;
      end_column = column;
      break;
    }
    settled_.push_back({column, found.distance});
    distance_[column] = kInfinity;
    open_price_[column] = -kInfinity;
    reached = found.distance;
    row = row_of_[column];
    const double leaving = reached + (costs.leave[row] - row_price_[row]);
    if (leaving < best) {
      best = leaving;
      end_row = row;
    }
  }

  row_price_[first] = best;
  for (const auto& [column, distance] : settled_) {
    column_price_[column] -= best - distance;
    row_price_[row_of_[column]] += best - distance;
  }
  int32_t column = end_column;
  if (column < 0) {
    column = column_of_[end_row];
    column_of_[end_row] = -1;
  }
  while (column >= 0) {  // each row on the path takes the column ahead of it
    const auto taker = static_cast<int32_t>(previous_[column]);
    row_of_[column] = taker;
    std::swap(column, column_of_[taker]);
  }
}

}  // namespace mk::topology
