// What the solvers of assignments have in common: prices, and the auction before the searches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace mk::topology {

// The best column for a row at present prices.
struct Bid {
  double best, second;  // least and second least of cost - price; infinite if there is none
  int64_t column;       // where the least is
};

// Who has which column, -1 for none, and prices under which nobody would rather have another.
struct Assignment {
  std::vector<double> row_price, column_price;
  std::vector<int32_t> column_of, row_of;

  void reset(int64_t rows, int64_t columns) {
    row_price.assign(rows, 0);
    column_price.assign(columns, 0);
    column_of.assign(rows, -1);
    row_of.assign(columns, -1);
  }

  // Each row on a path of a search takes the column ahead of it, `column` the last of them; previous[c] is the row from
  // which column c was reached.
  template <class Row>
  void take_path(int32_t column, const std::vector<Row>& previous) {
    while (column >= 0) {
      const auto taker = static_cast<int32_t>(previous[column]);
      row_of[column] = taker;
      std::swap(column, column_of[taker]);
    }
  }
};

// Every row bids for its best column and pays as much as leaves it indifferent to its second best choice; whom it
// drives out bids again (Jonker and Volgenant 1987, Computing 38, 325-340: augmenting row reduction), at once for so
// many times as often in a pass as there are rows, later in the next pass, since bids that raise a price by little
// could go on for long. Rows that are still without a column after the last pass are left in waiting().
class RowReduction {
 public:
  template <class BidOf>
  void run(std::span<const int32_t> order, std::span<const double> leave, double bids_per_row, const BidOf& bid_of,
           Assignment& assignment) {
    waiting_.assign(order.begin(), order.end());
    for (int pass = 0; pass < kPasses && !waiting_.empty(); ++pass) {
      displaced_.clear();
      size_t bids = 0;
      const auto most_bids = static_cast<size_t>(bids_per_row * static_cast<double>(waiting_.size()));
      for (size_t next = 0; next < waiting_.size();) {
        const int32_t row = waiting_[next++];
        const int32_t owner = bid(row, leave[row], bid_of(row), assignment);
        if (owner < 0) continue;
        if (owner != row && bids++ < most_bids) {
          waiting_[--next] = owner;
        } else {
          displaced_.push_back(owner);
        }
      }
      waiting_.swap(displaced_);
    }
  }

  std::span<const int32_t> waiting() const { return waiting_; }

 private:
  static constexpr int kPasses = 2;  // as in Jonker and Volgenant's code

  // Returns the row that is without a column now, -1 for none.
  static int32_t bid(int32_t row, double leave, const Bid& found, Assignment& assignment) {
    if (leave <= found.best) {
      assignment.row_price[row] = leave;
      return -1;
    }
    const double second = std::min(found.second, leave);
    const int32_t owner = assignment.row_of[found.column];
    assignment.row_price[row] = second;
    if (owner >= 0 && second <= found.best) return row;  // a tie: only a search can tell who gives way
    assignment.column_price[found.column] -= second - found.best;
    assignment.row_of[found.column] = row;
    assignment.column_of[row] = static_cast<int32_t>(found.column);
    if (owner >= 0) assignment.column_of[owner] = -1;
    return owner;
  }

  std::vector<int32_t> waiting_, displaced_;
};

}  // namespace mk::topology
