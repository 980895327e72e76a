// Passes over one row of a dense matrix of costs: the inner loops of dense_assignment.cpp.
#pragma once

#include <cstdint>

namespace mk::topology {

// Rows are padded to a multiple of this many columns; costs of the padding are infinite.
constexpr int64_t kRowPadding = 8;

struct Bid {
  double best, second;  // least and second least of cost - price
  int64_t column;       // where the least is, the first of several
};

struct Reached {
  double distance;
  int64_t column;  // the first of several
};

// Ends and lengths of bars, padded likewise.
struct BarColumns {
  const double *birth, *death, *leave;
  int64_t padded;
};

struct DenseRows {
  // cost[j] = the distance of a bar from bar j, less what it costs to leave bar j out.
  void (*euclidean)(double birth, double death, const BarColumns& bars, double* cost);
  void (*maximum)(double birth, double death, const BarColumns& bars, double* cost);
  Bid (*bid)(const double* cost, const double* price, int64_t padded);
  // Lowers distance[j] to base + cost[j] - price[j] where that is less, and sets previous[j] to `row` there. Returns
  // the least of the distances. Columns with a price of minus infinity stay as they are.
  Reached (*relax)(const double* cost, const double* price, double base, double row, int64_t padded, double* distance,
                   double* previous);
};

// The passes for this processor.
const DenseRows& dense_rows();

}  // namespace mk::topology
