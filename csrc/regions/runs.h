// The connected components of a mask as a forest of runs: maximal stretches of set elements in a row.
// A run takes the label of a run that it touches in one earlier row, or a new one; labels that turn out to be of one
// component are joined by union-find, strips of rows in parallel. The root of a component is its first label in raster
// order, whatever the strips. O(elements / 64 + runs) but for the inverse Ackermann function.
// Union-find on labels of runs: L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm" (2008).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "regions/grid.h"
#include "regions/scratch.h"

namespace mk::regions {

struct Neighbour;

class RunForest {
 public:
  // The runs of elements that are not 0, or that are 0 if `of_zeros`.
  RunForest(std::span<const uint8_t> mask, const Grid& grid, bool of_zeros);

  const Grid& grid() const { return grid_; }
  int64_t count() const { return count_; }  // of components

  // The elements of a row as bits (bit_rows.h).
  const uint64_t* bits(int64_t row) const { return bits_.get() + row * words_; }
  int64_t runs(int64_t row) const { return first_[row + 1] - first_[row]; }
  int64_t most_runs_of_a_row() const { return (grid_.width + 1) / 2; }

  // The component, 1 to count() in the order of their first elements, of run i of a row.
  int32_t component(int64_t row, int64_t i) const { return number_[label_[first_[row] + i]]; }

  // How many elements with start <= x < stop of a row are set.
  int64_t count_set(int64_t row, int64_t start, int64_t stop) const;

  // Calls visit(start, stop, component) for the runs of a row, in their order.
  template <class Visit>
  void for_each_run(int64_t row, const Visit& visit) const {
    const uint64_t* const words = bits(row);
    uint64_t before = 0;
    int64_t start = 0, run = 0;
    for (int64_t w = 0; w < words_; ++w) {
      for (uint64_t changes = words[w] ^ (words[w] << 1 | before); changes != 0; changes &= changes - 1) {
        const int bit = std::countr_zero(changes);
        if (words[w] >> bit & 1)
          start = 64 * w + bit;
        else
          visit(start, 64 * w + bit, component(row, run++));
      }
      before = words[w] >> 63;
    }
    if (before) visit(start, grid_.width, component(row, run));
  }

  // Calls visit(first row, row behind the last) for strips of rows, in parallel.
  template <class Visit>
  void for_each_strip(const Visit& visit) const {
    parallel_for(strips_.count, [&](int64_t s) {
      const auto [begin, end] = strips_[s];
      visit(begin, end);
    });
  }

 private:
  struct Work;

  void pack(std::span<const uint8_t> mask, bool of_zeros);
  void label_strip(int64_t s);
  void join_strips();
  void number_components();

  // Labels the runs of a row from those of an earlier one; `next` is the next new label.
  void label_row(int64_t row, int64_t earlier, int reach, Work& work, uint32_t& next);
  // Joins the labels of two rows.
  void join_rows(int64_t row, int64_t earlier, const Neighbour& neighbour, Work& work);

  // Other threads may shorten the same path; any of the values they leave leads to the same root.
  uint32_t root(uint32_t label) const {
    for (;;) {
      std::atomic_ref<uint32_t> here(parent_[label]);
      const uint32_t up = here.load(std::memory_order_relaxed);
      if (up == label) return label;
      const uint32_t above = std::atomic_ref<uint32_t>(parent_[up]).load(std::memory_order_relaxed);
      if (above == up) return up;
      here.store(above, std::memory_order_relaxed);
      label = above;
    }
  }

  Grid grid_;
  Strips strips_;
  int64_t words_;  // of a row
  Scratch<uint64_t> bits_;
  Scratch<uint32_t> first_;  // runs in earlier rows
  Scratch<uint32_t> label_;  // of runs
  // Of labels. Those of a strip begin with the number of its first run and are as many as are needed.
  Scratch<uint32_t> parent_;
  Scratch<int32_t> number_;
  std::vector<uint32_t> label_end_;  // of strips
  int64_t count_ = 0;
};

}  // namespace mk::regions
