// The max-tree of a picture or volume of few levels: parts are flooded side by side, and then pairs of them are joined
// along their seam, each pair of neighbours by going down the two branches and merging them, until all are one tree.
// Nothing but the speed depends on the number of parts. O(elements + elements of seams * levels).
// M. H. F. Wilkinson et al., "Concurrent computation of attribute filters on shared memory parallel machines" (2008).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "regions/box.h"
#include "regions/flood.h"
#include "regions/flood_scratch.h"
#include "regions/grid.h"
#include "regions/max_tree.h"
#include "regions/pages.h"

namespace mk::regions {

// A component, or a part of one at a level: then its parent is another part of the same level.
struct Branch {
  int32_t parent, area, level;
  int32_t first;  // element of its level, in raster order
};

class Branches {
 public:
  explicit Branches(int64_t count) : branches_(allocate_pages<Branch>(count)) {}
  Branch& operator[](int64_t branch) { return branches_[branch]; }
  const Branch& operator[](int64_t branch) const { return branches_[branch]; }

  // The branch that stands for a component of which this is a part.
  int32_t whole(int32_t branch) const {
    while (is_part(branch)) branch = branches_[branch].parent;
    return branch;
  }
  int32_t below(int32_t branch) const {
    const int32_t parent = branches_[branch].parent;
    return parent == kNone ? kNone : whole(parent);
  }

  // Joins the branches that two neighbours are on. `missing` are the elements that are in the one but not in the other,
  // from which they are handed down.
  void join(int32_t high, int32_t low) {
    high = shorten(high);
    low = shorten(low);
    if (branches_[low].level > branches_[high].level) std::swap(high, low);
    int32_t missing = 0;
    while (high != low && low != kNone) {
      Branch& upper = branches_[high];
      const int32_t next = upper.parent == kNone ? kNone : shorten(upper.parent);
      if (next != kNone && branches_[next].level >= branches_[low].level) {
        upper.area += missing;
        high = next;
        continue;
      }
      Branch& lower = branches_[low];
      if (upper.level == lower.level) lower.first = std::min(lower.first, upper.first);
      upper.parent = low;
      missing = std::exchange(upper.area, upper.area + missing);
      high = std::exchange(low, next);
    }
    if (low == kNone)
      for (; high != kNone; high = below(high)) branches_[high].area += missing;
  }

 private:
  Pages<Branch> branches_;

  bool is_part(int32_t branch) const {
    const int32_t parent = branches_[branch].parent;
    return parent != kNone && branches_[parent].level == branches_[branch].level;
  }
  // As whole(), and lets parts on the way lead there at once.
  int32_t shorten(int32_t branch) {
    const int32_t stands = whole(branch);
    while (branch != stands) branch = std::exchange(branches_[branch].parent, stands);
    return stands;
  }
};

// A part of the grid and the branch of each place: its number here, or among those of all parts.
struct Part {
  Box box;
  BorrowedScratch scratch;
  int64_t before = 0;  // branches of earlier parts

  int32_t branch(int64_t place) const { return static_cast<int32_t>(scratch->elements.data()[place] + before); }
};

// Joins a part with the one before it.
template <int Connectivity>
void join_parts(const Part& upper, const Part& lower, Branches& branches) {
  const Box& box = lower.box;
  const int64_t length = upper.box.end - upper.box.begin, rows = box.volume ? box.height : 1;
  const int64_t back = box.volume ? box.slice : box.row;
  const int64_t last = upper.box.before + (length - 1) * back;  // the place of its last slice or row
  for (int64_t y = 0; y < rows; ++y) {
    check_interrupt();
    for (const Step step : neighbour_steps<Connectivity>()) {
      const bool crosses = box.volume ? step.z < 0 : step.y < 0;
      if (!crosses || (box.volume && (y + step.y < 0 || y + step.y >= box.height))) continue;
      const int64_t here = box.before + y * box.row, there = last + y * box.row + (box.offset(step) + back);
      std::pair<int32_t, int32_t> joined{kNone, kNone};
      for (int64_t x = std::max(0, -step.x); x < box.width - std::max(0, step.x); ++x) {
        const std::pair next{lower.branch(here + x), upper.branch(there + x)};
        if (next == joined) continue;
        joined = next;
        branches.join(next.first, next.second);
      }
    }
  }
}

// Writes the parents and areas of the elements in some rows of a part.
struct Written {
  int32_t canonical, parent, area;
};

inline void write_rows(const Part& part, const Written* written, int64_t begin, int64_t end, const MaxTree& tree) {
  const Box& box = part.box;
  for (int64_t r = begin; r < end; ++r) {
    const int32_t* const branches = part.scratch->elements.data() + box.place_of_row(r);
    const int64_t row = (box.first_row() + r) * box.width;
    for (int64_t x = 0; x < box.width; ++x) {
      const Written& to = written[part.before + branches[x]];
      const bool canonical = to.canonical == row + x;
      tree.parent[row + x] = canonical ? to.parent : to.canonical;
      tree.area[row + x] = canonical ? to.area : 1;
    }
  }
}

// fill(box, scratch): sets the levels of all places of a box and returns the elements of each level.
template <int Connectivity, class Fill>
void flood_tree(const Grid& grid, int64_t wanted_parts, const Fill& fill, const MaxTree& tree) {
  const int64_t length = Box::length(grid), count = std::clamp<int64_t>(wanted_parts, 1, length);
  std::vector<Part> parts;
  for (int64_t i = 0; i < count; ++i) parts.push_back({Box(grid, length * i / count, length * (i + 1) / count), {}});
  parallel_for(count, [&](int64_t i) {
    FloodScratch& scratch = *parts[i].scratch;
    int32_t* const branches = scratch.elements.resize(parts[i].box.places());
    const auto finish = [branches](int32_t place, int32_t, int32_t node) { branches[place] = node; };
    const std::vector<int32_t> counts = fill(parts[i].box, scratch);
    flood<Connectivity>(parts[i].box, counts, scratch, finish);
  });

  int64_t all = 0;
  for (Part& part : parts) {
    part.before = all;
    all += static_cast<int64_t>(part.scratch->nodes.size());
  }
  Branches branches(all);
  parallel_for(count, [&](int64_t i) {
    int64_t branch = parts[i].before;
    for (const Node& node : parts[i].scratch->nodes) {
      const int32_t parent = node.parent == kNone ? kNone : static_cast<int32_t>(node.parent + parts[i].before);
      branches[branch++] = {parent, node.area(), node.level, static_cast<int32_t>(parts[i].box.element(node.first))};
    }
  });
  for (int64_t step = 1; step < count; step *= 2) {
    parallel_for((count - 1 + step) / (2 * step), [&](int64_t i) {
      const int64_t seam = (2 * i + 1) * step;
      join_parts<Connectivity>(parts[seam - 1], parts[seam], branches);
    });
  }

  const Pages<Written> written = allocate_pages<Written>(all);
  parallel_blocks(all, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int32_t whole = branches.whole(static_cast<int32_t>(b)), below = branches.below(whole);
      const Branch& branch = branches[whole];
      written[b] = {branch.first, below == kNone ? branch.first : branches[below].first, branch.area};
    }
  });
  constexpr int64_t pieces = 4;  // of a part, so that threads that are early take over
  parallel_for(count * pieces, [&](int64_t i) {
    const Part& part = parts[i / pieces];
    const int64_t rows = part.box.rows(), piece = i % pieces;
    write_rows(part, written.get(), rows * piece / pieces, rows * (piece + 1) / pieces, tree);
  });
}

}  // namespace mk::regions
