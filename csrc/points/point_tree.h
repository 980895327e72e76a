// A k-d tree over points (Friedman, Bentley & Finkel 1977, "An algorithm for finding best matches in logarithmic
// expected time"), whose leaves are blocks of lanes and whose nodes have kFan children, the lanes that a query is
// compared with at once. Points are split at about the median of the coordinate that spreads most, where that fills
// every leaf and every node but the last of its level.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "points/clouds.h"

namespace mk::points {

constexpr int64_t kLeaf = 32;  // places in a leaf
constexpr int64_t kFan = 16;   // children of a node

template <class V>
struct PointTree {
  // Boxes around the leaves, or each around kFan boxes of the level below. Empty ones, whose low is infinite, fill up
  // the last node.
  struct Level {
    int64_t count = 0;
    std::vector<V> low, high;  // [count / kFan, dimensions, kFan]
  };

  int64_t size = 0, dimensions = 0, leaves = 0;
  std::vector<int32_t> order;  // [leaves, kLeaf]: numbers of the points, ascending within a leaf; -1 in padding
  std::vector<V> values;       // [leaves, dimensions, kLeaf]; infinite in padding
  std::vector<Level> levels;   // from the leaves up; the last has kFan boxes or fewer

  int64_t count(int64_t leaf) const { return std::min(kLeaf, size - leaf * kLeaf); }
  const int32_t* leaf_order(int64_t leaf) const { return order.data() + leaf * kLeaf; }
  const V* leaf_values(int64_t leaf) const { return values.data() + leaf * dimensions * kLeaf; }
  const V* low(size_t level, int64_t node) const { return levels[level].low.data() + node * dimensions * kFan; }
  const V* high(size_t level, int64_t node) const { return levels[level].high.data() + node * dimensions * kFan; }
};

// Of at least one point, in O(N log N) time. Not split, the points stay in their order and the leaves are mere blocks.
template <class V, class T>
PointTree<V> build_point_tree(const Cloud<T>& cloud, bool split);

}  // namespace mk::points
