// Wasserstein distances between all pairs of persistence diagrams.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

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

// Prepared diagrams end to end, as a device takes them: finite bars first[k] .. first[k + 1) of diagram k, and its
// endless bars of each kind at endless_first[3 k + kind] .. endless_first[3 k + kind + 1).
struct PackedBars {
  std::vector<double> birth, death, endless;
  std::vector<int64_t> first, endless_first;
  std::vector<uint8_t> one_birth;
};

// Packs one set, or two whose distances are wanted; both have been multiplied by one scale.
double pack_bars(std::span<const Diagrams> sets, bool drop_endless, std::span<PackedBars> packed);

}  // namespace mk::topology
