#include "regions/mser.h"

#include <limits>

#include "common/parallel.h"

namespace mk::regions {

namespace {

constexpr int32_t kNone = -1;

// Of each node the child with the most elements, the first of several, or kNone.
std::vector<int32_t> main_children(const Nodes& nodes) {
  std::vector<int32_t> child(nodes.count(), kNone);
  for (int64_t n = 1; n < nodes.count(); ++n) {
    int32_t& main = child[nodes.parent[n]];
    if (main == kNone || nodes.area[n] > nodes.area[main]) main = static_cast<int32_t>(n);
  }
  return child;
}

// (area delta levels lower - area delta levels higher) / area. Lower, it is that of the largest node within delta
// levels; higher, that of the smallest within delta levels, going from child to largest child.
std::vector<double> area_variations(const Nodes& nodes, int delta) {
  const std::vector<int32_t> child = main_children(nodes);
  std::vector<double> variations(nodes.count());
  parallel_blocks(nodes.count(), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int level = nodes.level[n];
      auto lower = static_cast<int32_t>(n), higher = lower;
      while (lower != 0 && nodes.level[nodes.parent[lower]] >= level - delta) lower = nodes.parent[lower];
      while (child[higher] != kNone && nodes.level[child[higher]] <= level + delta) higher = child[higher];
      variations[n] = static_cast<double>(nodes.area[lower] - nodes.area[higher]) / nodes.area[n];
    }
  });
  return variations;
}

}  // namespace

StableRegions find_stable(const Nodes& nodes, const MserOptions& options) {
  const int64_t count = nodes.count();
  const std::vector<double> variation = area_variations(nodes, options.delta);
  const auto large = [&](int64_t n) { return nodes.area[n] >= options.min_area; };

  // A local minimum along the tree; of a node and a child that are equal, the child. The whole image has no boundary:
  // it is not a region, and nothing is compared with it.
  std::vector<double> least_child(count, std::numeric_limits<double>::infinity());
  for (int64_t n = 1; n < count; ++n)
    if (large(n)) least_child[nodes.parent[n]] = std::min(least_child[nodes.parent[n]], variation[n]);
  std::vector<uint8_t> stable(count, 0);
  for (int64_t n = 1; n < count; ++n)
    stable[n] = large(n) && nodes.area[n] <= options.max_area && variation[n] <= options.max_variation &&
                variation[n] <= least_child[n] && (nodes.parent[n] == 0 || variation[n] < variation[nodes.parent[n]]);

  // Of two nested regions that differ little, the one that varies less, else the larger.
  std::vector<int32_t> outer(count, kNone);  // the next larger stable node
  for (int64_t n = 1; n < count; ++n) {
    const int32_t up = nodes.parent[n];
    outer[n] = stable[up] ? up : outer[up];
    while (stable[n] && outer[n] != kNone) {
      const int32_t o = outer[n];
      if (!stable[o]) {
        outer[n] = outer[o];
        continue;
      }
      const double diversity = static_cast<double>(nodes.area[o] - nodes.area[n]) / nodes.area[o];
      if (diversity >= options.min_diversity) break;
      stable[variation[n] < variation[o] ? o : static_cast<int32_t>(n)] = 0;
    }
  }

  StableRegions found;
  for (int64_t n = 0; n < count; ++n) {
    if (!stable[n]) continue;
    found.nodes.push_back(static_cast<int32_t>(n));
    found.variations.push_back(variation[n]);
  }
  return found;
}

}  // namespace mk::regions
