// The connected components of a mask as a forest of runs: maximal stretches of set elements in a row.
// A run takes the label of a run that it touches in one earlier row, or a new one; labels that turn out to be of one
// component are joined by union-find, strips of rows in parallel. The root of a component is its first label in raster
// order, whatever the strips. Beyond reading the mask O(elements / 64 + runs), times the inverse Ackermann function.
// Union-find on labels of runs: L. He, Y. Chao, K. Suzuki, "A run-based two-scan labeling algorithm" (2008).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "regions/grid.h"
#include "regions/pages.h"

namespace mk::regions {

// Something for each component, numbered from 0.
template <class Entry>
struct Gathered {
  std::vector<Pages<Entry>> of_labels;  // by strips
  std::vector<Entry*> of_components;    // that of the component's first label, which the others have joined

  const Entry& operator[](int64_t component) const { return *of_components[component]; }
};

class RunForest {
 public:
  // The runs of elements that are not 0, or that are 0 if `of_zeros`.
  RunForest(std::span<const uint8_t> mask, const Grid& grid, bool of_zeros);

  const Grid& grid() const { return grid_; }
  int64_t count() const { return count_; }  // of components

  // The elements of a row as bits (bit_rows.h).
  const uint64_t* bits(int64_t row) const { return bits_.get() + row * words_; }
  int64_t most_runs_of_a_row() const { return (grid_.width + 1) / 2; }
  std::span<const uint32_t> labels(int64_t row) const {
    return {label_.get() + first_[row], static_cast<size_t>(first_[row + 1] - first_[row])};
  }

  // The component that a label belongs to, 1 to count() in the order of their first elements.
  int32_t component(uint32_t label) const { return static_cast<int32_t>(parent_[label] ^ kNumbered); }

  // How many elements with start <= x < stop of a row are set.
  int64_t count_set(int64_t row, int64_t start, int64_t stop) const;

  // Calls visit(start, stop, label) for the runs of a row, in their order.
  template <class Visit>
  void for_each_run(int64_t row, const Visit& visit) const {
    const uint64_t* const words = bits(row);
    const uint32_t* label = label_.get() + first_[row];
    uint64_t before = 0;
    int64_t start = 0;
    for (int64_t w = 0; w < words_; ++w) {
      for (uint64_t changes = words[w] ^ (words[w] << 1 | before); changes != 0; changes &= changes - 1) {
        const int bit = std::countr_zero(changes);
        if (words[w] >> bit & 1)
          start = 64 * w + bit;
        else
          visit(start, 64 * w + bit, *label++);
      }
      before = words[w] >> 63;
    }
    if (before) visit(start, grid_.width, *label);
  }

  // Calls visit(first row, row behind the last) for strips of rows, in parallel.
  template <class Visit>
  void for_each_strip(const Visit& visit) const {
    parallel_for(strips_.count, [&](int64_t s) {
      const auto [begin, end] = strips_[s];
      visit(begin, end);
    });
  }

  // What is known of each component from all of its runs: add = adder(row) makes add(entry, start, stop) for the runs
  // of a row, in the order of rows, and merge(entry, other) joins what strips found.
  template <class Entry, class Adder, class Merge>
  Gathered<Entry> gather(const Adder& adder, const Merge& merge) const {
    Gathered<Entry> found{std::vector<Pages<Entry>>(strips_.count), {}};
    parallel_for(strips_.count, [&](int64_t s) {
      const auto [begin, end] = strips_[s];
      const uint32_t first = first_[begin], count = label_end_[s] - first;
      found.of_labels[s] = allocate_pages<Entry>(count);
      Entry* const entries = found.of_labels[s].get();
      std::uninitialized_value_construct_n(entries, count);
      for (int64_t row = begin; row < end; ++row) {
        const auto add = adder(row);
        for_each_run(row,
                     [&](int64_t start, int64_t stop, uint32_t label) { add(entries[label - first], start, stop); });
      }
    });
    found.of_components.reserve(count_);
    for (int64_t s = 0; s < strips_.count; ++s) {
      const uint32_t first = first_[strips_[s].first];
      for (uint32_t label = first; label < label_end_[s]; ++label) {
        Entry* const entry = &found.of_labels[s][label - first];
        const int64_t c = component(label) - 1;
        if (c < static_cast<int64_t>(found.of_components.size()))
          merge(*found.of_components[c], *entry);
        else
          found.of_components.push_back(entry);
      }
    }
    return found;
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
  void join_rows(int64_t row, int64_t earlier, const RowLink& link, Work& work);

  // The number of a label's component, marked. Other threads may shorten the same path, or put numbers in it; any of
  // the values they leave leads to the same number.
  uint32_t find_number(uint32_t label) const {
    for (;;) {
      std::atomic_ref<uint32_t> here(parent_[label]);
      uint32_t up = here.load(std::memory_order_relaxed);
      if (up & kNumbered) return up;
      const uint32_t above = std::atomic_ref<uint32_t>(parent_[up]).load(std::memory_order_relaxed);
      if (above & kNumbered) return above;
      here.compare_exchange_strong(up, above, std::memory_order_relaxed);  // a number may have come meanwhile
      label = above;
    }
  }

  static constexpr uint32_t kNumbered = uint32_t{1} << 31;  // neither labels nor numbers are as large

  Grid grid_;
  Strips strips_;
  int64_t words_;  // of a row
  Pages<uint64_t> bits_;
  Pages<uint32_t> first_;  // runs in earlier rows
  Pages<uint32_t> label_;  // of runs
  // Of labels; at last the number of the component, marked. The labels of a strip begin with the number of its first
  // run and are as many as are needed.
  Pages<uint32_t> parent_;
  std::vector<uint32_t> label_end_;  // of strips
  int64_t count_ = 0;
};

}  // namespace mk::regions
