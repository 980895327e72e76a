// The connected components of a mask as a forest of runs: maximal stretches of set elements in a row.
// Runs are found 64 elements at a time and joined with those they touch in earlier rows by union-find, strips of rows
// in parallel; the root of a component is its first run in raster order, whatever the strips.
// Union-find on runs: L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm" (2008).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "regions/grid.h"

namespace mk::regions {

class RunForest {
 public:
  // The runs of elements that are not 0, or that are 0 if `of_zeros`.
  RunForest(std::span<const uint8_t> mask, const Grid& grid, bool of_zeros);

  const Grid& grid() const { return grid_; }
  int64_t count() const { return count_; }  // of components

  // Runs of a row: numbers from first to last - 1. Numbers grow in raster order, with gaps.
  int64_t first(int64_t row) const { return begin_[row]; }
  int64_t last(int64_t row) const { return end_[row]; }
  int64_t start(int64_t run) const { return bounds_[2 * run]; }
  int64_t stop(int64_t run) const { return bounds_[2 * run + 1]; }

  // The component of a run, 1 to count(), in the order of their first elements.
  int32_t component(int64_t run) const { return number_[root(static_cast<uint32_t>(run))]; }

  // Calls visit(row, run) for all runs in raster order.
  template <class Visit>
  void for_each_run(const Visit& visit) const {
    for (int64_t row = 0; row < grid_.rows(); ++row)
      for (int64_t run = first(row); run < last(row); ++run) visit(row, run);
  }

  // Calls visit(row) for all rows, in parallel.
  template <class Visit>
  void for_each_row(const Visit& visit) const {
    parallel_for(strips_.count, [&](int64_t s) {
      const auto [begin, end] = strips_[s];
      for (int64_t row = begin; row < end; ++row) visit(row);
    });
  }

 private:
  void link(int64_t row, int64_t earlier, int reach);
  void unite(uint32_t a, uint32_t b);
  void number_components();

  // Other threads may shorten the same path; any of the values they leave leads to the same root.
  uint32_t root(uint32_t run) const {
    for (;;) {
      std::atomic_ref<uint32_t> here(parent_[run]);
      const uint32_t up = here.load(std::memory_order_relaxed);
      if (up == run) return run;
      const uint32_t above = std::atomic_ref<uint32_t>(parent_[up]).load(std::memory_order_relaxed);
      if (above == up) return up;
      here.store(above, std::memory_order_relaxed);
      run = above;
    }
  }

  Grid grid_;
  Strips strips_;
  std::vector<uint32_t> begin_, end_;
  // Room for the most runs there can be; memory that is never touched costs nothing.
  std::unique_ptr<int32_t[]> bounds_;
  std::unique_ptr<uint32_t[]> parent_;
  std::unique_ptr<int32_t[]> number_;  // of roots
  int64_t count_ = 0;
};

}  // namespace mk::regions
