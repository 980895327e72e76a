// Which classes can have the greatest interpolated logit between 2 x 2 x 2 inputs.
//
// An interpolated logit is at most the greatest of its eight inputs: what the class can reach. The greatest of all
// logits is at least the mean of those of any classes, and so at least the least, over the eight inputs, of this mean:
// for each class alone, and for the classes that win at one of the inputs, where these are few. Classes that reach
// less, by more than rounding, cannot win.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "segmentation/node_rows.h"

namespace mk::segmentation {

// What is found in one pass over logits [items, classes, places]: of each item the greatest size of a logit, or
// infinity or NaN if there is one, and at each of its places the class with the greatest logit.
template <class T>
struct Survey {
  std::vector<T> sizes;
  std::vector<int32_t> winners;

  Survey(std::span<const T> logits, int64_t items, int64_t classes, int64_t places);
};

template <class T>
class Contenders {
 public:
  Contenders(int64_t classes, const Slots<T>& slots);

  // Looks at the inputs of a cell, and at who wins at those of its rows (z0, y0), (z0, y1), (z1, y0), (z1, y1).
  void enter_cell(const NodeRows<T>& nodes, const std::array<const int32_t*, 4>& winners);
  // Sets `wins` to whether each class can win in a lane of a chunk. `margin`: what rounding can make of a logit.
  void find(int64_t chunk, T margin, std::span<uint8_t> wins) const;

 private:
  T least_mean(const NodeRows<T>& nodes, const std::array<const int32_t*, 4>& winners, int64_t lane) const;

  static constexpr int kMostWinners = 4;
  int64_t inputs_, width_, stride_;
  std::vector<T> reach_;         // of each class in each lane
  std::vector<T> least_;         // what a class must reach in each lane
  std::vector<T> top_, bottom_;  // of one class, the greatest and the least of four rows
};

}  // namespace mk::segmentation
