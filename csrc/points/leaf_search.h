// A search from leaf to leaf: the queries of one leaf go down a tree of points together, to the nearer box first. A box
// is compared with the box of the queries on the way, with each of them, by lanes, at the end.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>
#include <vector>

#include "common/widest.h"
#include "points/leaf_passes.h"

namespace mk::points {

// With more coordinates boxes prune nothing.
constexpr int64_t kMostSplit = 24;

// The queries of one leaf.
struct Group {
  const PointTree& queries;
  TreeNode node;
  std::vector<double> rows;                     // [count, dimensions]
  std::array<double, PointTree::kLeaf> limits;  // squared: how near a point must be for each query
  double limit;                                 // the greatest of them

  Group(const PointTree& tree, const TreeNode& of, double start) : queries(tree), node(of), limit(start) {
    const int64_t count = tree.count(of.first), dimensions = tree.dimensions;
    limits.fill(-1);
    std::fill_n(limits.begin(), count, start);
    rows.resize(count * dimensions);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t d = 0; d < dimensions; ++d)
        rows[i * dimensions + d] = tree.leaf_values(of.first)[d * PointTree::kLeaf + i];
  }
};

// The square of the gap between two boxes, and, to decide between boxes that touch, that of their centres.
struct Gap {
  double gap = 0, centres = 0;
  bool operator<(const Gap& other) const { return gap < other.gap || (gap == other.gap && centres < other.centres); }
};
inline Gap gap_between(const PointTree& a, int64_t a_node, const PointTree& b, int64_t b_node) {
  const double *a_low = a.box_low(a_node), *a_high = a.box_high(a_node);
  const double *b_low = b.box_low(b_node), *b_high = b.box_high(b_node);
  Gap sum;
  for (int64_t d = 0; d < a.dimensions; ++d) {
    const double below = a_low[d] - b_high[d], above = b_low[d] - a_high[d];
    const double gap = below > 0 ? below : (above > 0 ? above : 0), centre = below - above;
    sum.gap += gap * gap;
    sum.centres += centre * centre;
  }
  return sum;
}

// Calls take(query, point, squared distance) for every point that is within limits[query]; take may lower that limit.
template <class Take>
void search(const PointTree& points, const TreeNode& node, const LeafPasses& passes, Group& group, const Take& take) {
  if (!node.leaf()) {
    const TreeNode left = node.left(), right = node.right();
    const Gap to_left = gap_between(points, left.number, group.queries, group.node.number);
    const Gap to_right = gap_between(points, right.number, group.queries, group.node.number);
    const bool swap = to_right < to_left;
    if ((swap ? to_right : to_left).gap <= group.limit) search(points, swap ? right : left, passes, group, take);
    if ((swap ? to_left : to_right).gap <= group.limit) search(points, swap ? left : right, passes, group, take);
    return;
  }
  const int64_t dimensions = points.dimensions;
  const auto real = static_cast<uint32_t>((uint64_t{1} << points.count(node.first)) - 1);
  const int32_t* numbers = points.leaf_order(node.first);
  uint32_t reached = passes.reach(group.queries.leaf_values(group.node.first), dimensions, points.box_low(node.number),
                                  points.box_high(node.number), group.limits.data());
  if (!reached) return;
  for (; reached; reached &= reached - 1) {
    const int query = std::countr_zero(reached);
    double squared[PointTree::kLeaf];
    uint32_t found = real & passes.near(points.leaf_values(node.first), dimensions,
                                        group.rows.data() + query * dimensions, group.limits[query], squared);
    for (; found; found &= found - 1) {
      const int point = std::countr_zero(found);
      take(query, numbers[point], squared[point]);
    }
  }
  group.limit = *std::max_element(group.limits.begin(), group.limits.end());
}

// For each query of a group the `most` entries with the least keys; keys are infinite where there are fewer. The first
// `most` of them are sorted when they are together, later ones are put in their places.
class SortedLists {
 public:
  explicit SortedLists(int64_t most)
      : most_(most),
        length_((most + kLanes - 1) / kLanes * kLanes),
        keys_(PointTree::kLeaf * (kLanes + length_), std::numeric_limits<double>::infinity()),
        others_(keys_.size(), -1) {
    for (int64_t query = 0; query < PointTree::kLeaf; ++query) std::fill_n(keys(query) - kLanes, kLanes, -1.0);
  }
  double* keys(int64_t query) { return keys_.data() + query * (kLanes + length_) + kLanes; }
  double* others(int64_t query) { return others_.data() + query * (kLanes + length_) + kLanes; }

  // Among equal keys those with lower others come first.
  void insert(const LeafPasses& passes, int query, double key, double other) {
    double *own = keys(query), *beside = others(query);
    if (sizes_[query] < most_) {
      own[sizes_[query]] = key;
      beside[sizes_[query]] = other;
      if (++sizes_[query] == most_) sort(query);
      return;
    }
    if (key == own[most_ - 1] && other > beside[most_ - 1]) return;
    if (passes.insert(own, beside, length_, key, other)) order_equal(own, beside, most_);
  }

  // To be called once no more entries come.
  void finish(int query) {
    if (sizes_[query] < most_) sort(query);
  }

 private:
  static constexpr int64_t kLanes = 8;

  static void order_equal(double* own, double* beside, int64_t count) {
    for (int64_t i = 1; i < count; ++i)
      for (int64_t j = i; j > 0 && own[j] == own[j - 1] && beside[j] < beside[j - 1]; --j)
        std::swap(beside[j], beside[j - 1]);
  }

  // Ranks are counted, which for few entries is faster than to compare and move.
  void sort(int query) {
    double *own = keys(query), *beside = others(query);
    const int64_t count = sizes_[query];
    if (count < 2) return;
    ranks_.assign(length_, 0);
    unsorted_.assign(own, own + length_);
    unsorted_others_.assign(beside, beside + length_);
    simd::with_widest([&]() __attribute__((always_inline)) { count_less(unsorted_.data(), length_, ranks_.data()); });
    bool equal = false;
    std::fill_n(own, count, -1.0);
    for (int64_t i = 0; i < count; ++i) {
      auto place = static_cast<int64_t>(ranks_[i]);
      for (; own[place] >= 0; ++place) equal = true;
      own[place] = unsorted_[i];
      beside[place] = unsorted_others_[i];
    }
    if (equal) order_equal(own, beside, count);
  }

  [[gnu::always_inline]] static inline void count_less(const double* values, int64_t count, double* ranks) {
    for (int64_t i = 0; i < count; i += kLanes) {  // so that ranks are read and written less often
      const double a = values[i], b = values[i + 1], c = values[i + 2], d = values[i + 3];
      const double e = values[i + 4], f = values[i + 5], g = values[i + 6], h = values[i + 7];
#pragma GCC ivdep
      for (int64_t j = 0; j < count; ++j)
        ranks[j] += (((a < values[j] ? 1.0 : 0.0) + (b < values[j] ? 1.0 : 0.0)) +
                     ((c < values[j] ? 1.0 : 0.0) + (d < values[j] ? 1.0 : 0.0))) +
                    (((e < values[j] ? 1.0 : 0.0) + (f < values[j] ? 1.0 : 0.0)) +
                     ((g < values[j] ? 1.0 : 0.0) + (h < values[j] ? 1.0 : 0.0)));
    }
  }

  int64_t most_, length_;
  std::array<int64_t, PointTree::kLeaf> sizes_{};
  std::vector<double> keys_, others_, ranks_, unsorted_, unsorted_others_;
};

// Row by row of [queries, k]: numbers of points and squared distances; -1 and infinity where there are fewer than k.
template <class T>
struct Neighbours {
  int64_t k = 0;
  std::span<int64_t> indices;
  std::span<T> squared;

  void write(int64_t row, int64_t place, double point, double distance) const {
    indices[row * k + place] = static_cast<int64_t>(point);
    squared[row * k + place] = static_cast<T>(distance);
  }
  void clear() const {
    std::fill(indices.begin(), indices.end(), -1);
    std::fill(squared.begin(), squared.end(), std::numeric_limits<T>::infinity());
  }
};

}  // namespace mk::points
