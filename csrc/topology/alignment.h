// Matchings of bars that are all born together: lengths on a line, which pair off in ascending order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/bar_cost.h"

namespace mk::topology {

// Finds which of the ascending positive lengths `a` goes with which of `b`, -1 for the diagonal, such that the sum of
// |a - b|^order over pairs and (to_diagonal * length)^order over the others is least. to_diagonal is below 1.
class Aligner {
 public:
  // order 1: linear time.
  void align_linear(std::span<const double> a, std::span<const double> b, double to_diagonal,
                    std::span<int32_t> partner);
  // Any finite order: O(|a| |b|) time, O(|a| + |b|) memory.
  void align_power(std::span<const double> a, std::span<const double> b, double to_diagonal, double order,
                   const LengthUnit& unit, std::span<int32_t> partner);

 private:
  // A length whose state may be changed at a price, which is `key` up to the position of the sweep.
  struct Offer {
    double key;
    int32_t element;
  };

  std::vector<Offer> offers_;
  std::vector<uint8_t> side_;
  std::vector<int32_t> chosen_;
};

}  // namespace mk::topology
