#include "regions/mmser.h"

#include <algorithm>
#include <limits>

#include "common/parallel.h"

namespace mk::regions {

BrightRegions find_bright(const Nodes& nodes, const MmserOptions& options) {
  const int64_t count = nodes.count();
  std::vector<int64_t> growth(count);
  parallel_blocks(count, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      auto lower = static_cast<int32_t>(n);
      while (lower != 0 && nodes.level[nodes.parent[lower]] >= nodes.level[n] - options.delta)
        lower = nodes.parent[lower];
      growth[n] = int64_t{nodes.area[lower]} - nodes.area[n];
    }
  });
  std::vector<int64_t> least_child(count, std::numeric_limits<int64_t>::max());
  for (int64_t n = 1; n < count; ++n) {
    int64_t& least = least_child[nodes.parent[n]];
    least = std::min(least, growth[n]);
  }
  // The whole image is never one of them.
  std::vector<uint8_t> stable(count, 0), covered(count, 0);
  for (int64_t n = 1; n < count; ++n)
    stable[n] = nodes.level[n] >= options.min_level && nodes.area[n] >= options.min_area &&
                nodes.area[n] < options.max_area && growth[n] <= nodes.area[n] &&
                growth[n] <= growth[nodes.parent[n]] && growth[n] <= least_child[n];
  // Where a node and a child of it are equally stable, the child stands for both.
  for (int64_t n = 1; n < count; ++n)
    if (stable[n]) covered[nodes.parent[n]] = 1;

  BrightRegions found;
  for (int64_t n = 1; n < count; ++n) {
    if (!stable[n] || covered[n]) continue;
    found.nodes.push_back(static_cast<int32_t>(n));
    found.growths.push_back(growth[n]);
  }
  return found;
}

void paint_nodes(const Nodes& nodes, std::span<const int32_t> chosen, std::span<uint8_t> mask) {
  std::vector<uint8_t> inside(nodes.count(), 0);
  for (const int32_t node : chosen) inside[node] = 1;
  for (int64_t n = 1; n < nodes.count(); ++n) inside[n] |= inside[nodes.parent[n]];
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = inside[nodes.of[i]];
}

}  // namespace mk::regions
