// A k-d tree over points, whose leaves are blocks of lanes (Friedman, Bentley & Finkel 1977, "An algorithm for finding
// best matches in logarithmic expected time"). Every node is split at about the median of the coordinate that spreads
// most, so that all leaves are full but for the last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "points/clouds.h"

namespace mk::points {

struct PointTree {
  static constexpr int64_t kLeaf = 32;  // places in a leaf

  int64_t size = 0, dimensions = 0, leaves = 0;
  std::vector<int32_t> order;     // [leaves, kLeaf]: numbers of the points, ascending within a leaf; -1 in padding
  std::vector<double> values;     // [leaves, dimensions, kLeaf]; infinite in padding
  std::vector<double> low, high;  // [nodes, dimensions]: bounding boxes

  int64_t count(int64_t leaf) const { return std::min(kLeaf, size - leaf * kLeaf); }
  const int32_t* leaf_order(int64_t leaf) const { return order.data() + leaf * kLeaf; }
  const double* leaf_values(int64_t leaf) const { return values.data() + leaf * dimensions * kLeaf; }
  const double* box_low(int64_t number) const { return low.data() + number * dimensions; }
  const double* box_high(int64_t number) const { return high.data() + number * dimensions; }
};

// The leaves `first` to `last` - 1. The root has number 1, the children of n are 2n and 2n + 1.
struct TreeNode {
  int64_t number, first, last;
  bool leaf() const { return last - first == 1; }
  int64_t middle() const { return (first + last) / 2; }
  TreeNode left() const { return {2 * number, first, middle()}; }
  TreeNode right() const { return {2 * number + 1, middle(), last}; }
};
inline TreeNode root(const PointTree& tree) { return {1, 0, tree.leaves}; }
std::vector<TreeNode> all_leaves(const PointTree& tree);  // from the first to the last

// Of at least one point, in O(N log N) time. Not split, the points stay in their order and the leaves are mere blocks.
template <class T>
PointTree build_point_tree(const Cloud<T>& cloud, bool split);

}  // namespace mk::points
