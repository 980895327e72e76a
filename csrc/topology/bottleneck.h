// Bottleneck distances: the least r such that bars can be matched with none moved farther than r.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "topology/bar_cost.h"
#include "topology/bars.h"

namespace mk::topology {

// The distance is one of the distances between bars or from the diagonal: a search that halves the candidates left by
// picking one at random, from a lower bound that is often attained. Whether r suffices is decided by two matchings, one
// that covers all bars of a farther than r from the diagonal, one that covers those of b; if there are both, there is
// one that covers all (Mendelsohn and Dulmage 1958). Hopcroft and Karp 1973 find each in O(edges sqrt(bars)).
class BottleneckSolver {
 public:
  // Returns the distance of the finite bars, and for each of a its partner in b, -1 for the diagonal.
  double solve(const Bars& a, const Bars& b, Ground ground, std::span<int32_t> partner);

 private:
  // A matching of the bars of one diagram that are farther than r from the diagonal with bars of the other.
  struct Cover {
    std::vector<int32_t> bars, near;   // near[start[k] .. start[k + 1]): where bars[k] may go
    std::vector<int32_t> mate, owner;  // of bars[k]; of the bars of the other diagram; -1 for none
    std::vector<int64_t> start;
  };

  bool suffices(const Bars& a, const Bars& b, Ground ground, double r);
  bool cover(const Bars& from, const Bars& to, Ground ground, double r, Cover& cover);
  bool layer(const Cover& cover);
  bool augment(Cover& cover, int32_t first);

  Cover cover_a_, cover_b_;
  std::vector<int32_t> level_, queue_, path_, to_a_;
  std::vector<int64_t> next_;
};

}  // namespace mk::topology
