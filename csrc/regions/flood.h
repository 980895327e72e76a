// The component tree of a picture or volume of few levels by flooding: from a first element always up to a higher
// neighbour that has not been reached, else on to the highest element that has. What is finished between the first
// element of a component and its end is the component, so its elements are a range of the order in which they are
// finished. O(elements + nodes * levels / 8) time; every element is reached once and finished once.
// P. Salembier, A. Oliveras and L. Garrido, "Antiextensive connected operators for image and sequence processing"
// (1998); D. Nister and H. Stewenius, "Linear time maximally stable extremal regions" (2008).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "common/parallel.h"
#include "regions/box.h"
#include "regions/flood_scratch.h"
#include "regions/node.h"

namespace mk::regions {

// Elements that have been reached and are not finished, a stack for each level. An element that has been reached has
// level 0, like the border; if it is pushed, it goes onto stack 0, which is forgotten.
class Reached {
 public:
  // counts[l] elements have level l.
  Reached(std::span<const int32_t> counts, FloodScratch& scratch) {
    const auto levels = static_cast<int64_t>(counts.size());
    int64_t elements = most_neighbours;
    for (const int32_t count : counts) elements += count + 1;
    int32_t* bottom = scratch.stacks.resize(elements);
    border_ = bottom;
    scratch.tops.resize(levels);
    scratch.used.assign(levels + word, 0);
    tops_ = scratch.tops.data();
    used_ = scratch.used.data() + word;
    used_[0] = 1;  // where every search for a level ends
    tops_[0] = border_;
    bottom += most_neighbours + 1;
    for (int64_t l = 1; l < levels; ++l) {
      *bottom = kNone;
      tops_[l] = bottom;
      bottom += counts[l] + 1;
    }
  }

  int32_t top(int64_t level) const { return *tops_[level]; }  // kNone where the stack is empty
  void push(int64_t level, int64_t place) {
    *++tops_[level] = static_cast<int32_t>(place);
    used_[level] = 1;
  }
  void pop(int64_t level) { --tops_[level]; }
  // The place whose turn comes after some others, to be fetched, if the stack is that high; else any number.
  int32_t later(int64_t level) const { return tops_[level][-pushed_before]; }
  void forget_border() { tops_[0] = border_; }

  // The next lower level with elements, when `level` has none left; 0 if there is none.
  int64_t close(int64_t level) {
    static_assert(std::endian::native == std::endian::little);
    used_[level] = 0;
    for (;; level -= word) {
      uint64_t flags;
      std::memcpy(&flags, used_ + level - word, word);
      if (flags != 0) return level - 1 - std::countl_zero(flags) / 8;
    }
  }

 private:
  static constexpr int64_t word = sizeof(uint64_t), most_neighbours = 26;
  static constexpr int64_t pushed_before = 6;  // fastest of 0, 1, 3, 6, 12 in a volume of 256^3; less than the border's
  int32_t* border_;
  int32_t** tops_;
  uint8_t* used_;
};

// Floods the levels of a scratch, from 1 to counts.size() - 1 for elements and 0 for the border; they are 0 in the end.
// Calls finish(place, number of those finished before, node) for each element, and leaves the nodes in the scratch;
// their numbers tell nothing of how they are nested.
template <int Connectivity, class Finish>
void flood(const Box box, std::span<const int32_t> counts, FloodScratch& scratch, const Finish finish) {
  constexpr auto steps = neighbour_steps<Connectivity>();
  constexpr int64_t between_checks = 1 << 16;
  constexpr size_t few = 4;  // of so few neighbours it is faster to push all than to ask which are to be pushed
  std::array<int64_t, steps.size()> offsets;
  for (size_t k = 0; k < steps.size(); ++k) offsets[k] = box.offset(steps[k]);
  uint16_t* const levels = scratch.levels.data();
  std::vector<int32_t>& open = scratch.open;  // of each level the node that is being flooded
  open.assign(counts.size(), kNone);
  std::vector<Node>& nodes = scratch.nodes;
  nodes.clear();
  const Reached begun(counts, scratch);
  Reached reached = begun;  // a copy of which no address is known, for registers

  constexpr int32_t unknown = std::numeric_limits<int32_t>::max();
  int32_t finished = 0, node = kNone, first = unknown;  // node: that of the level, first: what is known of nodes[node]
  int64_t level = 0;
  const auto open_node = [&](int32_t begin, int32_t child) {
    open[level] = node = static_cast<int32_t>(nodes.size());
    first = unknown;
    nodes.push_back({begin, 0, unknown, kNone, child, static_cast<int32_t>(level)});
  };
  const auto enter = [&](int64_t place) {
    level = std::exchange(levels[place], uint16_t{0});
    reached.push(level, place);
    open_node(finished, kNone);
  };
  // Leaves the node for the next lower one that has elements; false after the last.
  const auto leave = [&] {
    const int32_t child = node;
    Node& closed = nodes[child];
    closed.end = finished;
    closed.first = first;
    open[level] = kNone;
    level = reached.close(level);
    if (level == 0) return false;
    node = open[level];
    if (node == kNone) {
      closed.parent = static_cast<int32_t>(nodes.size());
      open_node(closed.begin, child);
      return true;
    }
    closed.parent = node;
    Node& up = nodes[node];
    first = up.first;
    if (up.main == kNone || closed.area() > nodes[up.main].area() ||
        (closed.area() == nodes[up.main].area() && before(closed, nodes[up.main])))
      up.main = child;
    return true;
  };

  enter(box.place(0, 0, 0));
  for (;;) {
    const int64_t place = reached.top(level);
    if (place == kNone) {
      if (!leave()) return;
      continue;
    }
    uint16_t* const at = levels + place;
    int64_t highest = 0;
    const auto for_offsets = [&](const auto& visit) {
      [&]<size_t... k>(std::index_sequence<k...>) {
        (visit(box.offset(steps[k])), ...);
      }(std::make_index_sequence<steps.size()>());
    };
    for_offsets([&](int64_t offset) { highest = std::max<int64_t>(highest, at[offset]); });
    if (highest > level) {
      int64_t higher = 0;
      for_offsets([&](int64_t offset) { higher = at[offset] == highest ? offset : higher; });
      nodes[node].first = first;
      enter(place + higher);
      continue;
    }
    reached.pop(level);
    if constexpr (Connectivity == 6 || Connectivity > 8) {
      const uint16_t* const later = levels + reached.later(level);
      for (const int64_t away : {box.row, box.slice}) {
        __builtin_prefetch(later - away, 1);
        __builtin_prefetch(later + away, 1);
      }
    }
    if constexpr (steps.size() <= few) {
      for_offsets([&](int64_t offset) { reached.push(std::exchange(at[offset], uint16_t{0}), place + offset); });
      reached.forget_border();
    } else {
      uint32_t ahead = 0;
      [&]<size_t... k>(std::index_sequence<k...>) {
        ((ahead |= uint32_t{at[offsets[k]] != 0} << k), ...);
      }(std::make_index_sequence<steps.size()>());
      for (; ahead != 0; ahead &= ahead - 1) {
        const int64_t offset = offsets[std::countr_zero(ahead)];
        reached.push(std::exchange(at[offset], uint16_t{0}), place + offset);
      }
    }
    const auto here = static_cast<int32_t>(place);
    first ^= (first ^ here) & -static_cast<int32_t>(here < first);  // the least: processors cannot foresee a branch
    finish(here, finished, node);
    if (++finished % between_checks == 0) check_interrupt();
  }
}

}  // namespace mk::regions
