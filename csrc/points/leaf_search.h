// The search of a tree for points within a limit of each query, which falls as points are found. The queries of one
// leaf of a tree of their own go down together, so that a node and its leaves are read once for all of them, but each
// looks only where its own limit reaches.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>
#include <vector>

#include "common/widest.h"
#include "points/leaf_passes.h"
#include "points/node_passes.h"

namespace mk::points {

// With more coordinates boxes prune nothing.
constexpr int64_t kMostSplit = 24;
constexpr int64_t kGroup = kLeaf;  // queries that go together

// Calls take(limits, query, point, squared distance) for every point that is within limits[query], squared, of a query
// of a leaf; take may lower that limit.
template <class T, class Take>
class LeafSearch {
 public:
  using Limits = std::array<double, kGroup>;

  LeafSearch(const PointTree<T>& points, const PointTree<T>& queries, int64_t leaf, double limit, const Take& take)
      : points_(points),
        passes_(node_passes<T>()),
        take_(take),
        queries_(queries.leaf_values(leaf)),
        count_(queries.count(leaf)),
        slack_(1 + 2 * static_cast<double>(points.dimensions + 4) * std::numeric_limits<T>::epsilon()),
        rows_((kGroup + 1) * points.dimensions) {
    limits_.fill(limit);
    bounds_.fill(bound(limit));
    const int64_t dimensions = points.dimensions;
    for (int64_t d = 0; d < dimensions; ++d) {
      const T* values = queries.leaf_values(leaf) + d * kLeaf;
      T mean = 0;
      for (int64_t i = 0; i < count_; ++i) {
        rows_[i * dimensions + d] = values[i];
        mean += values[i] / static_cast<T>(count_);
      }
      rows_[kGroup * dimensions + d] = mean;
    }
  }

  void run() { search(points_.levels.size() - 1, 0, static_cast<uint32_t>((uint64_t{1} << count_) - 1)); }

 private:
  // From so many queries on a register holds queries, which are compared with one box, not boxes.
  static constexpr int kMany = 16;
  // With so few coordinates most of the leaves that a box comes near to have points near enough, and are measured in
  // double right away.
  static constexpr int64_t kFewCoordinates = 4;

  const T* row(int64_t query) const { return rows_.data() + query * points_.dimensions; }
  const T* middle() const { return row(kGroup); }

  // What a sum of squares in T is at most, however it is rounded, if the distance in double is at most `limit`. It has
  // at most dimensions + 2 roundings on the way to each term, and may lose all that is below the least normal number.
  // At most the greatest number: nothing that is infinite, as padding is, is within it.
  T bound(double limit) const {
    using Of = std::numeric_limits<T>;
    return static_cast<T>(std::min(limit * slack_ + static_cast<double>(Of::min()), static_cast<double>(Of::max())));
  }

  void search(size_t level, int64_t node, uint32_t active) {
    if (level == 0)
      search_leaves(node, active);
    else
      search_node(level, node, active);
  }

  void search_node(size_t level, int64_t node, uint32_t active) {
    const T *low = points_.low(level, node), *high = points_.high(level, node);
    std::array<int, kFan> children;
    if (std::popcount(active) >= kMany) {
      to_near(low, high, (1u << kFan) - 1, children);
      for (const int child : children)
        if (const uint32_t still = active & reach(low, high, child)) search(level - 1, node * kFan + child, still);
      return;
    }
    T gaps[kGroup][kFan];
    uint32_t reaching[kFan]{}, any = 0;  // the queries whose limits reach a child
    for (; active; active &= active - 1) {
      const int query = std::countr_zero(active);
      const uint32_t within = passes_.gaps(low, high, points_.dimensions, row(query), bounds_[query], gaps[query]);
      any |= within;
      for (uint32_t left = within; left; left &= left - 1) reaching[std::countr_zero(left)] |= uint32_t{1} << query;
    }
    const int count = to_near(low, high, any, children);
    for (int i = 0; i < count; ++i) {
      const int child = children[i];
      uint32_t still = 0;
      for (uint32_t left = reaching[child]; left; left &= left - 1) {
        const int query = std::countr_zero(left);
        still |= static_cast<uint32_t>(gaps[query][child] <= bounds_[query]) << query;
      }
      if (still) search(level - 1, node * kFan + child, still);
    }
  }

  void search_leaves(int64_t node, uint32_t active) {
    const T *low = points_.low(0, node), *high = points_.high(0, node);
    first_leaf_ = node * kFan;
    if (points_.dimensions <= kFewCoordinates && std::popcount(active) >= kMany) {
      std::array<int, kFan> leaves;
      to_near(low, high, (1u << kFan) - 1, leaves);
      for (const int leaf : leaves)
        for (uint32_t still = active & reach(low, high, leaf); still; still &= still - 1) {
          query_ = std::countr_zero(still);
          hit(this, leaf, ~uint32_t{0});
        }
      return;
    }
    T from_middle[kFan];
    passes_.gaps(low, high, points_.dimensions, middle(), 0, from_middle);
    const auto nearest = static_cast<int>(std::min_element(from_middle, from_middle + kFan) - from_middle);
    for (; active; active &= active - 1) {
      query_ = std::countr_zero(active);
      passes_.visit(low, high, points_.leaf_values(first_leaf_), points_.dimensions, row(query_), bounds_[query_],
                    nearest, this, &hit);
    }
  }

  // The queries whose limits reach a child.
  uint32_t reach(const T* low, const T* high, int child) const {
    return passes_.reach(queries_, points_.dimensions, low + child, high + child, bounds_.data());
  }

  // Children in the order of how far they are from the middle of the queries.
  int to_near(const T* low, const T* high, uint32_t any, std::array<int, kFan>& children) const {
    T from_middle[kFan];
    passes_.gaps(low, high, points_.dimensions, middle(), 0, from_middle);
    int count = 0;
    for (; any; any &= any - 1) {
      const int child = std::countr_zero(any);
      int at = count++;
      for (; at > 0 && from_middle[children[at - 1]] > from_middle[child]; --at) children[at] = children[at - 1];
      children[at] = child;
    }
    return count;
  }

  static T hit(void* search, int64_t leaf, uint32_t found) {
    LeafSearch& own = *static_cast<LeafSearch*>(search);
    const int64_t number = own.first_leaf_ + leaf;
    double& limit = own.limits_[own.query_];
    double squared[kLeaf];
    found = own.passes_.near(own.points_.leaf_values(number), own.points_.dimensions, own.row(own.query_), limit, found,
                             squared);
    for (const int32_t* numbers = own.points_.leaf_order(number); found; found &= found - 1) {
      const int point = std::countr_zero(found);
      if (squared[point] <= limit) own.take_(own.limits_, own.query_, numbers[point], squared[point]);
    }
    return own.bounds_[own.query_] = own.bound(limit);
  }

  const PointTree<T>& points_;
  const NodePasses<T>& passes_;
  const Take& take_;
  const T* queries_;     // [dimensions, kGroup]
  const int64_t count_;  // of queries
  const double slack_;
  std::vector<T> rows_;  // [kGroup + 1, dimensions]: the queries, and their mean
  Limits limits_;
  std::array<T, kGroup> bounds_;  // of the limits
  int64_t first_leaf_ = 0;        // of the node
  int query_ = 0;                 // that visits it
};

// For each query of a group the `most` entries with the least keys; keys are infinite where there are fewer. The first
// `most` of them are sorted when they are together, later ones are put in their places.
class SortedLists {
 public:
  explicit SortedLists(int64_t most)
      : most_(most),
        length_((most + kLanes - 1) / kLanes * kLanes),
        keys_(kGroup * (kLanes + length_), std::numeric_limits<double>::infinity()),
        others_(keys_.size(), -1) {
    for (int64_t query = 0; query < kGroup; ++query) std::fill_n(keys(query) - kLanes, kLanes, -1.0);
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
  std::array<int64_t, kGroup> sizes_{};
  std::vector<double> keys_, others_, ranks_, unsorted_, unsorted_others_;
};

// Row by row of [queries, k]: numbers of points and squared distances; -1 and infinity where there are fewer than k.
template <class T>
struct Neighbours {
  int64_t k = 0;
  std::span<int64_t> indices;
  std::span<T> squared;

  // The first `count` of a row, from lists of doubles.
  void write(int64_t row, int64_t count, const double* points, const double* distances) const {
    int64_t* to_indices = indices.data() + row * k;
    T* to_squared = squared.data() + row * k;
    for (int64_t i = 0; i < count; ++i) to_indices[i] = static_cast<int64_t>(points[i]);
    for (int64_t i = 0; i < count; ++i) to_squared[i] = static_cast<T>(distances[i]);
  }
  void clear() const {
    std::fill(indices.begin(), indices.end(), -1);
    std::fill(squared.begin(), squared.end(), std::numeric_limits<T>::infinity());
  }
};

}  // namespace mk::points
