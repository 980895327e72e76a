#include "regions/runs.h"

#include <algorithm>
#include <utility>

#include "regions/bit_rows.h"

namespace mk::regions {

namespace {

// The row that a link leads to from row y of slice z, or -1 if it lies outside.
int64_t find_row(const Grid& grid, int64_t z, int64_t y, const RowLink& link) {
  const int64_t other_z = z + link.dz, other_y = y + link.dy;
  return other_z < 0 || other_y < 0 || other_y >= grid.height ? -1 : other_z * grid.height + other_y;
}

// The smaller root becomes the parent of the other. Paths are shortened on the way, and mostly not followed to their
// end: M. Rem's algorithm (E. W. Dijkstra, "A Discipline of Programming", 1976), the fastest in practice (M. Patwary,
// J. Blair, F. Manne, "Experiments on union-find algorithms for the disjoint-set data structure", 2010).
void unite(uint32_t* parent, uint32_t a, uint32_t b) {
  for (;;) {
    uint32_t above_a = parent[a], above_b = parent[b];
    if (above_a == above_b) return;
    if (above_a < above_b) {
      std::swap(a, b);
      std::swap(above_a, above_b);
    }
    parent[a] = above_b;
    if (a == above_a) return;
    a = above_a;
  }
}

}  // namespace

// Tables for the runs of two rows, or for their pairs, and the union of the rows that screen one of them.
struct RunForest::Work {
  Pages<uint32_t> first, second, joins;
  std::vector<uint64_t> screen;

  explicit Work(const RunForest& forest)
      : first(allocate_pages<uint32_t>(forest.grid_.width + kRunSlack)),
        second(allocate_pages<uint32_t>(forest.grid_.width + kRunSlack)),
        joins(allocate_pages<uint32_t>(forest.most_runs_of_a_row() + 1)),
        screen(forest.words_) {}
};

RunForest::RunForest(std::span<const uint8_t> mask, const Grid& grid, bool of_zeros)
    : grid_(grid),
      strips_(grid, 2),
      words_((grid.width + 63) / 64),
      bits_(allocate_pages<uint64_t>(words_ * grid.rows())),
      first_(allocate_pages<uint32_t>(grid.rows() + 1)),
      label_end_(strips_.count) {
  pack(mask, of_zeros);
  const int64_t runs = first_[grid.rows()];
  label_ = allocate_pages<uint32_t>(runs);
  parent_ = allocate_pages<uint32_t>(runs);
  parallel_for(strips_.count, [&](int64_t s) { label_strip(s); });
  join_strips();
  number_components();
}

void RunForest::pack(std::span<const uint8_t> mask, bool of_zeros) {
  for_each_strip([&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      first_[row + 1] =
          bit_rows().pack(mask.data() + row * grid_.width, grid_.width, of_zeros, bits_.get() + row * words_);
  });
  first_[0] = 0;
  for (int64_t row = 0; row < grid_.rows(); ++row) first_[row + 1] += first_[row];
}

// Labels the rows of a strip, from rows of this strip alone.
void RunForest::label_strip(int64_t s) {
  const auto [begin, end] = strips_[s];
  Work work(*this);
  uint32_t next = first_[begin];
  for (int64_t row = begin; row < end; ++row) {
    const int64_t z = row / grid_.height, y = row % grid_.height;
    bool labelled = false;
    for (const RowLink& link : row_links(grid_.connectivity)) {
      const int64_t earlier = find_row(grid_, z, y, link);
      if (earlier < begin) continue;
      if (labelled) {
        join_rows(row, earlier, link, work);
      } else {
        label_row(row, earlier, link.reach, work, next);
        labelled = true;
      }
    }
    if (labelled) continue;
    for (uint32_t run = first_[row]; run < first_[row + 1]; ++run, ++next) label_[run] = parent_[next] = next;
  }
  for (uint32_t label = first_[begin]; label < next; ++label) parent_[label] = parent_[parent_[label]];
  label_end_[s] = next;
}

void RunForest::label_row(int64_t row, int64_t earlier, int reach, Work& work, uint32_t& next) {
  const auto count = static_cast<int64_t>(this->labels(row).size());
  if (count == 0) return;
  const uint32_t* const known = label_.get() + first_[earlier];
  uint32_t* const labels = label_.get() + first_[row];
  uint32_t* const parent = parent_.get();
  const uint32_t* const first = work.first.get();
  const uint32_t* const last = work.second.get();
  bit_rows().touching(bits(row), bits(earlier), words_, reach, work.first.get(), work.second.get());

  // Nothing here depends on a guess, whatever the mask: runs that join labels are noted and come later.
  uint32_t* const joins = work.joins.get();
  int64_t joined = 0;
  labels[0] = next;  // what is read, and not used, where a run lies behind all of the earlier row
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t touched = last[i] - first[i], label = known[first[i]];
    parent[next] = next;
    labels[i] = touched > 0 ? label : next;
    next += touched == 0;
    joins[joined] = static_cast<uint32_t>(i);
    joined += touched > 1;
  }
  for (int64_t j = 0; j < joined; ++j)
    for (uint32_t other = first[joins[j]] + 1; other < last[joins[j]]; ++other)
      unite(parent, known[other - 1], known[other]);
}

void RunForest::join_rows(int64_t row, int64_t earlier, const RowLink& link, Work& work) {
  const int64_t z = row / grid_.height, y = row % grid_.height;
  std::fill(work.screen.begin(), work.screen.end(), 0);
  for (const RowLink& other : row_links(grid_.connectivity).first(link.screens)) {
    const int64_t between = find_row(grid_, z, y, other);
    if (between < 0) continue;
    for (int64_t w = 0; w < words_; ++w) work.screen[w] |= bits(between)[w];
  }
  uint32_t *const of = work.first.get(), *const to = work.second.get();
  const int64_t count =
      bit_rows().pairs(bits(row), bits(earlier), work.screen.data(), words_, link.reach, link.screen_reach, of, to);
  for (int64_t i = 0; i < count; ++i)
    unite(parent_.get(), label_[first_[row] + of[i]], label_[first_[earlier] + to[i]]);
}

// Joins labels across the borders of strips.
void RunForest::join_strips() {
  if (strips_.count == 1) return;
  Work work(*this);
  const int64_t back = (grid_.depth > 1 ? grid_.height : 0) + 1;  // to the earliest row that a row can touch
  for (int64_t s = 1; s < strips_.count; ++s) {
    const auto [begin, end] = strips_[s];
    for (int64_t row = begin; row < std::min(end, begin + back); ++row)
      for (const RowLink& link : row_links(grid_.connectivity)) {
        const int64_t earlier = find_row(grid_, row / grid_.height, row % grid_.height, link);
        if (earlier >= 0 && earlier < begin) join_rows(row, earlier, link, work);
      }
  }
}

void RunForest::number_components() {
  const auto for_each_label = [&](int64_t s, const auto& visit) {
    for (uint32_t label = first_[strips_[s].first]; label < label_end_[s]; ++label) visit(label);
  };
  std::vector<uint32_t> before(strips_.count + 1, 0);
  parallel_for(strips_.count, [&](int64_t s) {
    uint32_t roots = 0;
    for_each_label(s, [&](uint32_t label) { roots += parent_[label] == label; });
    before[s + 1] = roots;
  });
  for (int64_t s = 0; s < strips_.count; ++s) before[s + 1] += before[s];
  parallel_for(strips_.count, [&](int64_t s) {
    uint32_t next = before[s];
    for_each_label(s, [&](uint32_t label) {
      if (parent_[label] == label) parent_[label] = kNumbered | ++next;
    });
  });
  parallel_for(strips_.count, [&](int64_t s) {
    for_each_label(s, [&](uint32_t label) {
      std::atomic_ref<uint32_t>(parent_[label]).store(find_number(label), std::memory_order_relaxed);
    });
  });
  count_ = before.back();
}

int64_t RunForest::count_set(int64_t row, int64_t start, int64_t stop) const {
  const uint64_t* const words = bits(row);
  int64_t count = 0;
  for (int64_t w = start / 64; 64 * w < stop; ++w) {
    uint64_t part = words[w];
    if (w == start / 64) part &= ~uint64_t{0} << (start % 64);
    if (stop - 64 * w < 64) part &= (uint64_t{1} << (stop - 64 * w)) - 1;
    count += std::popcount(part);
  }
  return count;
}

}  // namespace mk::regions
