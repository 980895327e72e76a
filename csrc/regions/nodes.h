// The components of a max-tree as a list, without the elements between: what detectors of regions work on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regions/grid.h"
#include "regions/max_tree.h"

namespace mk::regions {

// Node 0 is the whole image; parents come before children, levels never fall.
struct Nodes {
  std::vector<int32_t> parent, area;
  std::vector<uint8_t> level;
  std::vector<int32_t> of;  // of each element, the smallest node it is in

  int64_t count() const { return static_cast<int64_t>(parent.size()); }
};

Nodes build_nodes(std::span<const uint8_t> image, const Grid& grid);

// The elements of some nodes, one node after another; within one node in a fixed order, not that of the raster.
struct Members {
  std::vector<int32_t> elements;
  std::vector<int64_t> offsets;  // node i holds the elements offsets[i] to offsets[i + 1]
};

Members collect_members(const Nodes& nodes, std::span<const int32_t> chosen);

// Mean and covariance of the positions (x, y) of each node's elements, a pixel being a square of side 1:
// x, y, xx, xy, yy.
std::vector<double> position_moments(const Members& members, int64_t width);

}  // namespace mk::regions
