// Wasserstein distances between all pairs of persistence diagrams.
#pragma once

#include <cstdint>
#include <span>

#include "topology/wasserstein.h"

namespace mk::topology {

// Diagrams one after the other: rows (birth, death) offsets[k] .. offsets[k + 1) are those of diagram k.
struct Diagrams {
  std::span<const double> rows;
  std::span<const int64_t> offsets;

  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
  std::span<const double> diagram(int64_t k) const {
    return rows.subspan(2 * offsets[k], 2 * (offsets[k + 1] - offsets[k]));
  }
};

// distances[i * others.count() + j] for all i and j. Every diagram is checked and sorted once; threads go over pairs,
// and memory beyond the result is that of the sorted diagrams and of one pair a thread.
void wasserstein_matrix(const Diagrams& diagrams, const Diagrams& others, const WassersteinOptions& options,
                        bool drop_endless, std::span<double> distances);

// The same among diagrams of one set: symmetric, zero on the diagonal, half the work.
void wasserstein_matrix(const Diagrams& diagrams, const WassersteinOptions& options, bool drop_endless,
                        std::span<double> distances);

}  // namespace mk::topology
