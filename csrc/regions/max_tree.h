// The max-tree of a picture or volume: the connected components of all its upper level sets, ordered by inclusion.
// Elements are sorted by value, in linear time. Images of few levels are flooded, in parts that are joined
// (flood_tree.h). In others elements are joined in falling order with the neighbours that are as high or higher by
// union-find, by size and with path halving, where of neighbours that touch each other one is enough; sorting,
// comparing neighbours and the last pass run in parallel. O(N) memory, O(N alpha(N)) time. C. Berger et al., "Effective
// component tree computation with application to pattern recognition in astronomical imaging" (2007).
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

// parts: in how many the image is flooded, if it is, or 0 for one a thread. The result does not depend on it.
template <class T>
void max_tree(std::span<const T> image, const Grid& grid, const MaxTree& tree, int64_t parts);

}  // namespace mk::regions
