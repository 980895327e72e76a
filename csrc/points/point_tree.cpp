#include "points/point_tree.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "common/parallel.h"

namespace mk::points {

namespace {

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

// Leaves `first` to `last` - 1, to be split between powers of kFan.
struct Range {
  int64_t first, last;
  int64_t middle() const {
    int64_t unit = 1;
    while (unit * kFan < last - first) unit *= kFan;
    const int64_t units = (last - first + unit - 1) / unit;
    return first + units / 2 * unit;
  }
};

template <class T>
void split_all(const Cloud<T>& cloud, std::vector<int32_t>& order, int64_t leaves) {
  std::vector<Range> level{{0, leaves}};
  while (!level.empty()) {
    parallel_for(static_cast<int64_t>(level.size()), [&](int64_t i) {
      thread_local std::vector<uint64_t> keys;
      const int64_t first = level[i].first * kLeaf, last = std::min(cloud.size, level[i].last * kLeaf);
      divide<T>(cloud, {order.data() + first, static_cast<size_t>(last - first)}, level[i].middle() * kLeaf - first,
                keys);
    });
    std::vector<Range> next;
    for (const Range& range : level)
      for (const Range half : {Range{range.first, range.middle()}, Range{range.middle(), range.last}})
        if (half.last - half.first > 1) next.push_back(half);
    level = std::move(next);
  }
}

template <class V>
typename PointTree<V>::Level empty_boxes(int64_t boxes, int64_t dimensions) {
  const int64_t padded = (boxes + kFan - 1) / kFan * kFan;
  constexpr V infinity = std::numeric_limits<V>::infinity();
  return {boxes, std::vector<V>(padded * dimensions, infinity), std::vector<V>(padded * dimensions, -infinity)};
}

// Where coordinate d of a box is.
int64_t place(int64_t box, int64_t d, int64_t dimensions) { return (box / kFan * dimensions + d) * kFan + box % kFan; }

template <class V, class T>
void fill_leaf(const Cloud<T>& cloud, PointTree<V>& tree, int64_t leaf) {
  const int32_t* points = tree.leaf_order(leaf);
  V* values = tree.values.data() + leaf * tree.dimensions * kLeaf;
  const int64_t count = tree.count(leaf);
  for (int64_t d = 0; d < tree.dimensions; ++d, values += kLeaf) {
    V low = std::numeric_limits<V>::infinity(), high = -low;
    for (int64_t i = 0; i < count; ++i) {
      values[i] = static_cast<V>(cloud.row(points[i])[d]);
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    }
    std::fill(values + count, values + kLeaf, std::numeric_limits<V>::infinity());
    tree.levels[0].low[place(leaf, d, tree.dimensions)] = low;
    tree.levels[0].high[place(leaf, d, tree.dimensions)] = high;
  }
}

}  // namespace

template <class V, class T>
PointTree<V> build_point_tree(const Cloud<T>& cloud, bool split) {
  PointTree<V> tree;
  tree.size = cloud.size;
  tree.dimensions = cloud.dimensions;
  tree.leaves = (tree.size + kLeaf - 1) / kLeaf;
  tree.order.assign(tree.leaves * kLeaf, -1);
  std::iota(tree.order.begin(), tree.order.begin() + tree.size, 0);
  if (split && tree.leaves > 1) split_all(cloud, tree.order, tree.leaves);

  tree.values.resize(tree.leaves * tree.dimensions * kLeaf);
  tree.levels.push_back(empty_boxes<V>(tree.leaves, tree.dimensions));
  parallel_blocks(tree.leaves, [&](int64_t begin, int64_t end) {
    for (int64_t leaf = begin; leaf < end; ++leaf) {
      int32_t* own = tree.order.data() + leaf * kLeaf;
      std::sort(own, own + tree.count(leaf));
      fill_leaf(cloud, tree, leaf);
    }
  });
  for (int64_t boxes = tree.leaves; boxes > kFan;) {
    const typename PointTree<V>::Level& below = tree.levels.back();
    boxes = (boxes + kFan - 1) / kFan;
    auto level = empty_boxes<V>(boxes, tree.dimensions);
    for (int64_t i = 0; i < boxes; ++i)
      for (int64_t d = 0; d < tree.dimensions; ++d) {
        const auto children = (i * tree.dimensions + d) * kFan;
        level.low[place(i, d, tree.dimensions)] = *std::min_element(&below.low[children], &below.low[children] + kFan);
        level.high[place(i, d, tree.dimensions)] =
            *std::max_element(&below.high[children], &below.high[children] + kFan);
      }
    tree.levels.push_back(std::move(level));
  }
  return tree;
}

template PointTree<float> build_point_tree(const Cloud<float>&, bool);
template PointTree<double> build_point_tree(const Cloud<double>&, bool);
template PointTree<double> build_point_tree(const Cloud<float>&, bool);

}  // namespace mk::points
