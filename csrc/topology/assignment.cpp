#include "topology/assignment.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kBidsPerRow = 2;

Bid best_column(const Choices& choices, int32_t row, std::span<const double> price) {
  Bid bid{kInfinity, kInfinity, -1};
  for (int64_t e = choices.start[row]; e < choices.start[row + 1]; ++e) {
    const double value = choices.cost[e] - price[choices.column[e]];
    if (value < bid.best) {
      bid = {value, bid.best, choices.column[e]};
    } else {
      bid.second = std::min(bid.second, value);
    }
  }
  return bid;
}

}  // namespace

std::span<const int32_t> AssignmentSolver::solve(const Choices& choices, std::span<const int32_t> order) {
  assignment_.reset(choices.rows(), choices.columns);
  reduction_.run(
      order, choices.leave, kBidsPerRow,
      [&](int32_t row) { return best_column(choices, row, assignment_.column_price); }, assignment_);
  distance_.assign(choices.columns, kInfinity);
  previous_.resize(choices.columns);
  is_settled_.assign(choices.columns, 0);
  for (const int32_t row : reduction_.waiting()) {
    check_interrupt();
    augment(choices, row);
  }
  return assignment_.column_of;
}

void AssignmentSolver::augment(const Choices& choices, int32_t first) {
  auto& [row_price, column_price, column_of, row_of] = assignment_;
  const auto farther = std::greater<std::pair<double, int32_t>>();
  heap_.clear();
  settled_.clear();
  touched_.clear();
  // Prices of waiting rows may be out of date: the columns they compared may have become dearer since.
  double price = choices.leave[first];
  for (int64_t e = choices.start[first]; e < choices.start[first + 1]; ++e)
    price = std::min(price, choices.cost[e] - column_price[choices.column[e]]);
  row_price[first] = price;

  int32_t row = first, end_column = -1, end_row = first;
  double reached = 0, best = choices.leave[first] - price;
  for (;;) {
    const double base = reached - row_price[row];
    for (int64_t e = choices.start[row]; e < choices.start[row + 1]; ++e) {
      const int32_t column = choices.column[e];
      const double distance = base + (choices.cost[e] - column_price[column]);
      if (distance >= best || distance >= distance_[column] || is_settled_[column]) continue;
      if (distance_[column] == kInfinity) touched_.push_back(column);
      distance_[column] = distance;
      previous_[column] = row;
      if (row_of[column] < 0) {
        best = distance;
        end_column = column;
      } else {
        heap_.emplace_back(distance, column);
        std::push_heap(heap_.begin(), heap_.end(), farther);
      }
    }
    int32_t column = -1;
    while (!heap_.empty() && column < 0) {
      std::pop_heap(heap_.begin(), heap_.end(), farther);
      const auto [distance, candidate] = heap_.back();
      heap_.pop_back();
      if (distance >= best) {
        heap_.clear();
      } else if (!is_settled_[candidate]) {
        column = candidate;
        reached = distance;
      }
    }
    if (column < 0) break;
    is_settled_[column] = 1;
    settled_.push_back(column);
    row = row_of[column];
    const double leaving = reached + (choices.leave[row] - row_price[row]);
    if (leaving < best) {
      best = leaving;
      end_column = -1;
      end_row = row;
    }
  }

  row_price[first] += best;
  for (const int32_t column : settled_) {
    const double slack = best - distance_[column];
    column_price[column] -= slack;
    row_price[row_of[column]] += slack;
    is_settled_[column] = 0;
  }
  for (const int32_t column : touched_) distance_[column] = kInfinity;

  if (end_column < 0) {
    end_column = column_of[end_row];
    column_of[end_row] = -1;
  }
  assignment_.take_path(end_column, previous_);
}

}  // namespace mk::topology
