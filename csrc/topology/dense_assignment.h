// Least-cost assignment in a small dense matrix.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mk::topology {

// Row r may take any column at the cost cost[r * padded + column], or none at cost leave[r]. Columns that nobody takes
// cost nothing. Rows are padded as dense_rows.h says.
struct DenseCosts {
  std::vector<double> cost, leave;
  int32_t columns = 0;
  int64_t padded = 0;

  void resize(int32_t rows, int32_t column_count);
  int32_t rows() const { return static_cast<int32_t>(leave.size()); }
  double* row(int32_t r) { return cost.data() + r * padded; }
  const double* row(int32_t r) const { return cost.data() + r * padded; }
};

// AssignmentSolver's method on whole rows, in vectors: quicker while a row is short, however few of its columns matter.
class DenseAssignmentSolver {
 public:
  // The column of each row, -1 for none, with the least total cost.
  std::span<const int32_t> solve(const DenseCosts& costs);

 private:
  struct Settled {
    int32_t column;
    double distance;
  };

  void reduce_rows(const DenseCosts& costs);
  void augment(const DenseCosts& costs, int32_t row);

  std::vector<double> row_price_, column_price_, open_price_, distance_, previous_;
  std::vector<int32_t> column_of_, row_of_, waiting_, displaced_;
  std::vector<Settled> settled_;
};

}  // namespace mk::topology
