// The max-tree of a picture or volume: the connected components of all its upper level sets, ordered by inclusion.
// Elements are sorted by value, in linear time, and joined in falling order with the neighbours that are as high or
// higher by union-find, by size and with path halving; of neighbours that touch each other one is enough. O(N) memory,
// O(N alpha(N)) time. Sorting, comparing neighbours and the last pass run in parallel.
// C. Berger et al., "Effective component tree computation with application to pattern recognition in astronomical
// imaging" (2007).
#pragma once

#include <cstdint>
#include <span>

#include "regions/grid.h"

namespace mk::regions {

// parent: one element stands for a component, the first in raster order at the component's own level (the canonical
//   one). Its parent is the canonical element of the next larger component, or itself if there is none; the parent of
//   any other element is the canonical one of the component it belongs to.
// order: elements by value, and by place where values are equal. Parents come before children.
// area: elements of the component of each canonical element, 1 for others.
struct MaxTree {
  std::span<int32_t> parent, order, area;
};

template <class T>
void max_tree(std::span<const T> image, const Grid& grid, const MaxTree& tree);

}  // namespace mk::regions
