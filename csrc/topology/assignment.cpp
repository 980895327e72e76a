#include "topology/assignment.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "common/parallel.h"

namespace mk::topology {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kReductionPasses = 2;  // as in Jonker and Volgenant's code

}  // namespace

std::span<const int32_t> AssignmentSolver::solve(const Choices& choices) {
  row_price_.assign(choices.rows(), 0);
  column_of_.assign(choices.rows(), -1);
  column_price_.assign(choices.columns, 0);
  row_of_.assign(choices.columns, -1);
  distance_.assign(choices.columns, kInfinity);
  previous_.resize(choices.columns);
  is_settled_.assign(choices.columns, 0);
  reduce_rows(choices);
  for (const int32_t row : waiting_) {
    check_interrupt();
    augment(choices, row);
  }
  return column_of_;
}

// Every row bids for its best column and pays as much as leaves it indifferent to its second best choice; whom it
// drives out bids again. Rows that are still without a column after a few passes are left in waiting_.
void AssignmentSolver::reduce_rows(const Choices& choices) {
  waiting_.resize(choices.rows());
  for (int32_t row = 0; row < choices.rows(); ++row) waiting_[row] = row;
  for (int pass = 0; pass < kReductionPasses && !waiting_.empty(); ++pass) {
    displaced_.clear();
    size_t bids = 0;
    const size_t most_bids = 2 * waiting_.size();  // a bound: bids that raise a price by little could go on for long
    for (size_t next = 0; next < waiting_.size();) {
      const int32_t row = waiting_[next++];
      double best = kInfinity, second = choices.leave[row];
      int32_t best_column = -1;
      for (int64_t e = choices.start[row]; e < choices.start[row + 1]; ++e) {
        const double value = choices.cost[e] - column_price_[choices.column[e]];
        if (value < best) {
          second = std::min(second, best);
          best = value;
          best_column = choices.column[e];
        } else {
          second = std::min(second, value);
        }
      }
      if (choices.leave[row] <= best) {
        row_price_[row] = choices.leave[row];
        continue;
      }
      const int32_t owner = row_of_[best_column];
      const bool raises = second > best;
      if (owner >= 0 && !raises) {  // a tie: only a search can tell who gives way
        row_price_[row] = best;
        displaced_.push_back(row);
        continue;
      }
      row_price_[row] = raises ? second : best;
      if (raises) column_price_[best_column] -= second - best;
      row_of_[best_column] = row;
      column_of_[row] = best_column;
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

void AssignmentSolver::augment(const Choices& choices, int32_t first) {
  const auto farther = std::greater<std::pair<double, int32_t>>();
  heap_.clear();
  settled_.clear();
  touched_.clear();
  // Prices of waiting rows may be out of date: the columns they compared may have become dearer since.
  double price = choices.leave[first];
  for (int64_t e = choices.start[first]; e < choices.start[first + 1]; ++e)
    price = std::min(price, choices.cost[e] - column_price_[choices.column[e]]);
  row_price_[first] = price;

  int32_t row = first, end_column = -1, end_row = first;
  double reached = 0, best = choices.leave[first] - price;
  for (;;) {
    const double base = reached - row_price_[row];
    for (int64_t e = choices.start[row]; e < choices.start[row + 1]; ++e) {
      const int32_t column = choices.column[e];
      const double distance = base + (choices.cost[e] - column_price_[column]);
      if (distance >= best || distance >= distance_[column] || is_settled_[column]) continue;
      if (distance_[column] == kInfinity) touched_.push_back(column);
      distance_[column] = distance;
      previous_[column] = row;
      if (row_of_[column] < 0) {
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
    row = row_of_[column];
    const double leaving = reached + (choices.leave[row] - row_price_[row]);
    if (leaving < best) {
      best = leaving;
      end_column = -1;
      end_row = row;
    }
  }

  row_price_[first] += best;
  for (const int32_t column : settled_) {
    const double slack = best - distance_[column];
    column_price_[column] -= slack;
    row_price_[row_of_[column]] += slack;
    is_settled_[column] = 0;
  }
  for (const int32_t column : touched_) distance_[column] = kInfinity;

  int32_t column = end_column;
  if (column < 0) {
    column = column_of_[end_row];
    column_of_[end_row] = -1;
  }
  while (column >= 0) {  // each row on the path takes the column ahead of it
    const int32_t taker = previous_[column];
    row_of_[column] = taker;
    std::swap(column, column_of_[taker]);
  }
}

}  // namespace mk::topology
