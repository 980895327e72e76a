// Persistence diagrams made ready for distances: checked, split into kinds of bars, sorted once.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mk::topology {

// Bars with an infinite end. A bar of one kind can only be matched with a bar of the same kind, at the cost of
// the distance between the finite ends (none if both ends are infinite).
struct EndlessBars {
  std::vector<double> at;      // the finite ends, ascending
  std::vector<int32_t> index;  // rows of the diagram
};

// Finite bars [begin, end) of similar length, by ascending birth + death.
struct Band {
  int32_t begin, end;
  double longest;
};

// Some consecutive finite bars, for loops in lanes. Where a diagram's last block has room left, its bars have length
// minus infinity, with which nothing can be matched.
constexpr int kBarBlock = 8;
struct BarBlock {
  std::array<double, kBarBlock> birth, death, length, middle;
};

// A diagram. Bars on the diagonal (birth = death) cost nothing and are left out.
struct Bars {
  int64_t rows = 0;                                  // of the diagram
  std::vector<double> birth, death, length, middle;  // finite bars, band by band; middle = birth + death
  std::vector<int32_t> index;                        // their rows
  std::vector<Band> bands;                           // one, unless there are many bars and they differ in birth
  std::vector<BarBlock> blocks;                      // all finite bars again
  std::vector<int32_t> longest_first;                // numbers of all finite bars
  std::array<EndlessBars, 3> endless;
  bool one_birth = true;   // all finite bars are born at first_birth, and hence sorted by death
  double first_birth = 0;  // 0 without finite bars
  double longest = 0;      // the longest finite bar

  int32_t finite() const { return static_cast<int32_t>(birth.size()); }
};

// A power of two that brings the lengths of all bars within reach of squares in double: 1 unless they are extreme.
double common_scale(std::span<const std::span<const double>> diagrams);

// Checks and sorts one diagram of rows (birth, death). A failed check names the diagram as `name`.
Bars prepare_bars(std::span<const double> diagram, double scale, bool drop_endless, const std::string& name);

}  // namespace mk::topology
