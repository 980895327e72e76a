// Wasserstein and bottleneck distances between persistence diagrams, exact.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/alignment.h"
#include "topology/assignment.h"
#include "topology/bar_cost.h"
#include "topology/bars.h"
#include "topology/block_costs.h"
#include "topology/bottleneck.h"

namespace mk::topology {

struct WassersteinOptions {
  double order;  // from 1 to infinity
  Ground ground;
  int64_t memory;  // bytes that one pair may use
};

// Solves pairs one after the other and keeps its memory from one to the next.
class PairSolver {
 public:
  // The distance; infinite if the numbers of endless bars differ. Diagrams must have been prepared with one scale.
  double distance(const Bars& a, const Bars& b, const WassersteinOptions& options);

  // A matching that attains the last distance: for every row of `a` a row of `b`, or -1 for the diagonal (and for
  // endless bars that have nobody to go with).
  void partners(const Bars& a, const Bars& b, std::span<int64_t> rows) const;

 private:
  void match(const Bars& a, const Bars& b, const WassersteinOptions& options);
  void match_powers(const Bars& a, const Bars& b, const WassersteinOptions& options, double longest);
  void match_finite(const Bars& a, const Bars& b, const WassersteinOptions& options, const LengthUnit& unit);
  std::span<const int32_t> assign(const Bars& a, const Bars& b, const WassersteinOptions& options,
                                  const LengthUnit& unit);
  void list_costs(const Bars& a, const Bars& b, Ground ground);

  std::vector<int32_t> partner_, owner_;  // finite bars of b for those of a, and the other way round; -1 for none
  std::vector<int32_t> kept_;
  std::vector<double> costs_;
  BlockCosts choices_;
  AssignmentSolver solver_;
  Aligner aligner_;
  BottleneckSolver bottleneck_;
};

// A distance that was found between two diagrams of rows (birth, death), and the row of b for each row of a, -1 for
// none.
struct Matched {
  std::span<const double> a, b;
  std::span<const int64_t> partner;
  double distance;
};

// Derivative of upstream * distance with respect to both ends of all bars, the matching held fixed. Infinite ends,
// pairs at distance zero, and all bars if the distance is zero or infinite get zero; where several bars attain a
// bottleneck distance, the first of them gets it all.
void differentiate_wasserstein(const Matched& matched, double order, Ground ground, double upstream,
                               std::span<double> grad_a, std::span<double> grad_b);

}  // namespace mk::topology
