#include "points/point_tree.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "common/parallel.h"

namespace mk::points {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMostFloat = std::numeric_limits<float>::max();
constexpr int64_t kProbes = 64;  // points that tell which coordinate of a node spreads most

// Orders points by a coordinate, rounded to float32, and their number, in one integer. Which points fall on which side
// need not be exact: boxes are taken from the points that did.
uint64_t key_of(double value, int32_t point) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(std::clamp(value, -kMostFloat, kMostFloat)));
  const uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | static_cast<uint32_t>(point);
}

// The `half` least keys to the front. Quickselect whose partition has no branch to guess wrong (Lomuto's, every key
// being moved; Alexandrescu 2020, "Lomuto's comeback").
void select(std::span<uint64_t> keys, int64_t half) {
  constexpr int64_t few = 32;
  constexpr int most_rounds = 64;  // about three times what a bad choice of pivots takes; then the library's fallback
  int64_t first = 0, last = static_cast<int64_t>(keys.size());
  for (int round = 0; last - first > few && round < most_rounds; ++round) {
    const uint64_t a = keys[first], b = keys[first + (last - first) / 2], c = keys[last - 1];
    const uint64_t pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    int64_t less = first;
    for (int64_t i = first; i < last; ++i) {
      const uint64_t key = keys[i];
      keys[i] = keys[less];
      keys[less] = key;
      less += key < pivot;
    }
    if (less > half)
      last = less;
    else if (less == half)
      return;
    else
      first = less;
  }
  std::nth_element(keys.begin() + first, keys.begin() + half, keys.begin() + last);
}

template <class T>
int64_t widest(const Cloud<T>& cloud, std::span<const int32_t> points) {
  const int64_t count = static_cast<int64_t>(points.size()), probes = std::min(count, kProbes);
  T low[kMostDimensions], high[kMostDimensions];
  for (int64_t probe = 0; probe < probes; ++probe) {
    const T* row = cloud.row(points[probe * count / probes]);
    for (int64_t d = 0; d < cloud.dimensions; ++d) {
      low[d] = probe ? std::min(low[d], row[d]) : row[d];
      high[d] = probe ? std::max(high[d], row[d]) : row[d];
    }
  }
  int64_t best = 0;
  for (int64_t d = 1; d < cloud.dimensions; ++d)
    if (high[d] - low[d] > high[best] - low[best]) best = d;
  return best;
}

template <class T>
void divide(const Cloud<T>& cloud, std::span<int32_t> points, int64_t half, std::vector<uint64_t>& keys) {
  const int64_t d = widest<T>(cloud, points), count = static_cast<int64_t>(points.size());
  keys.resize(points.size());
  for (int64_t i = 0; i < count; ++i) keys[i] = key_of(cloud.row(points[i])[d], points[i]);
  select(keys, half);
  for (int64_t i = 0; i < count; ++i) points[i] = static_cast<int32_t>(keys[i]);
}

template <class T>
void fill_leaf(const Cloud<T>& cloud, PointTree& tree, const TreeNode& node) {
  const int32_t* points = tree.leaf_order(node.first);
  double* values = tree.values.data() + node.first * tree.dimensions * PointTree::kLeaf;
  const int64_t count = tree.count(node.first);
  for (int64_t d = 0; d < tree.dimensions; ++d, values += PointTree::kLeaf) {
    double low = kInfinity, high = -kInfinity;
    for (int64_t i = 0; i < count; ++i) {
      values[i] = static_cast<double>(cloud.row(points[i])[d]);
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    }
    std::fill(values + count, values + PointTree::kLeaf, kInfinity);
    tree.low[node.number * tree.dimensions + d] = low;
    tree.high[node.number * tree.dimensions + d] = high;
  }
}

void collect(const TreeNode& node, std::vector<TreeNode>& leaves) {
  if (node.leaf()) {
    leaves.push_back(node);
  } else {
    collect(node.left(), leaves);
    collect(node.right(), leaves);
  }
}

}  // namespace

std::vector<TreeNode> all_leaves(const PointTree& tree) {
  std::vector<TreeNode> leaves;
  leaves.reserve(tree.leaves);
  collect(root(tree), leaves);
  return leaves;
}

template <class T>
PointTree build_point_tree(const Cloud<T>& cloud, bool split) {
  PointTree tree;
  tree.size = cloud.size;
  tree.dimensions = cloud.dimensions;
  tree.leaves = (tree.size + PointTree::kLeaf - 1) / PointTree::kLeaf;
  tree.order.assign(tree.leaves * PointTree::kLeaf, -1);
  std::iota(tree.order.begin(), tree.order.begin() + tree.size, 0);

  std::vector<TreeNode> level{root(tree)}, inner;
  while (!level.empty()) {
    parallel_for(static_cast<int64_t>(level.size()), [&](int64_t i) {
      const TreeNode node = level[i];
      if (node.leaf() || !split) return;
      thread_local std::vector<uint64_t> keys;
      const int64_t first = node.first * PointTree::kLeaf, last = std::min(tree.size, node.last * PointTree::kLeaf);
      divide<T>(cloud, {tree.order.data() + first, static_cast<size_t>(last - first)},
                node.middle() * PointTree::kLeaf - first, keys);
    });
    std::vector<TreeNode> next;
    for (const TreeNode& node : level) {
      if (node.leaf()) continue;
      inner.push_back(node);
      next.insert(next.end(), {node.left(), node.right()});
    }
    level = std::move(next);
  }

  tree.values.resize(tree.leaves * tree.dimensions * PointTree::kLeaf);
  const auto nodes = static_cast<int64_t>(2 * std::bit_ceil(static_cast<uint64_t>(tree.leaves)));
  tree.low.resize(nodes * tree.dimensions);
  tree.high.resize(nodes * tree.dimensions);
  const std::vector<TreeNode> ends = all_leaves(tree);
  parallel_blocks(tree.leaves, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int32_t* own = tree.order.data() + ends[i].first * PointTree::kLeaf;
      std::sort(own, own + tree.count(ends[i].first));
      fill_leaf(cloud, tree, ends[i]);
    }
  });
  for (auto node = inner.rbegin(); node != inner.rend(); ++node)
    for (int64_t d = 0; d < tree.dimensions; ++d) {
      const int64_t left = 2 * node->number * tree.dimensions + d, right = left + tree.dimensions;
      tree.low[node->number * tree.dimensions + d] = std::min(tree.low[left], tree.low[right]);
      tree.high[node->number * tree.dimensions + d] = std::max(tree.high[left], tree.high[right]);
    }
  return tree;
}

template PointTree build_point_tree(const Cloud<float>&, bool);
template PointTree build_point_tree(const Cloud<double>&, bool);

}  // namespace mk::points
