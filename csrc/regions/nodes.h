// The components of a picture as a list, and the elements of each: what detectors of regions work on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regions/box.h"
#include "regions/flood_scratch.h"

namespace mk::regions {

// Nodes are numbered in no order that matters; those of a node are in a fixed order, not that of the raster.
class Nodes {
 public:
  // negative: of 255 - image.
  Nodes(std::span<const uint8_t> image, const Grid& grid, bool negative);

  std::span<const Node> all() const { return scratch_->nodes; }
  const Node& operator[](int32_t node) const { return scratch_->nodes[node]; }
  static int level(const Node& node) { return node.level - 1; }
  const Box& box() const { return box_; }
  // Places of the elements of a node.
  std::span<const int32_t> places(const Node& node) const {
    return {scratch_->elements.data() + node.begin, static_cast<size_t>(node.area())};
  }

 private:
  Box box_;
  BorrowedScratch scratch_;
};

// Puts nodes in the order of their levels, and of their first elements where these are equal: parents before children.
void sort_nodes(const Nodes& nodes, std::span<int32_t> chosen);

// The elements of some nodes, one node after another, and mean and covariance of their positions (x, y), a pixel being
// a square of side 1: x, y, xx, xy, yy.
struct Members {
  std::vector<int32_t> elements;
  std::vector<int64_t> offsets;  // node i holds the elements offsets[i] to offsets[i + 1]
  std::vector<double> moments;
};

Members collect_members(const Nodes& nodes, std::span<const int32_t> chosen);

}  // namespace mk::regions
