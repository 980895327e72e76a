#include "regions/mmser.h"

#include <algorithm>
#include <utility>

namespace mk::regions {

BrightRegions find_bright(const Nodes& nodes, const MmserOptions& options) {
  const std::span<const Node> all = nodes.all();
  const auto bright = [&](const Node& node) { return Nodes::level(node) >= options.min_level; };
  // The growth if it is at most `limit`, else some number above: most nodes soon grow by more than matters.
  const auto growth_within = [&](const Node& node, int64_t limit) {
    const Node* lower = &node;
    while (lower->area() - node.area() <= limit && lower->parent != kNone &&
           nodes[lower->parent].level >= node.level - options.delta)
      lower = &nodes[lower->parent];
    return lower->area() - node.area();
  };

  // Of nodes that may be stable the growth. The whole image is never one of them.
  std::vector<int32_t> stable, growth(all.size(), kNone);
  for (size_t n = 0; n < all.size(); ++n) {
    const Node& node = all[n];
    if (!bright(node) || node.parent == kNone || node.area() < options.min_area || node.area() >= options.max_area)
      continue;
    const int32_t grown = growth_within(node, node.area());
    if (grown > node.area()) continue;
    growth[n] = grown;
    stable.push_back(static_cast<int32_t>(n));
  }
  std::vector<uint8_t> unstable(all.size(), 0);
  for (const Node& child : all) {
    if (child.parent == kNone) continue;
    const int32_t grown = growth[child.parent];
    if (grown > 0 && growth_within(child, grown - 1) < grown) unstable[child.parent] = 1;
  }
  std::erase_if(stable, [&](int32_t n) {
    const int32_t grown = growth[n];
    return unstable[n] != 0 || (grown > 0 && growth_within(nodes[nodes[n].parent], grown - 1) < grown);
  });

  // Where a node and a child of it are equally stable, the child stands for both.
  std::vector<uint8_t>& covered = unstable;
  for (const int32_t n : stable) covered[nodes[n].parent] = 1;
  std::erase_if(stable, [&](int32_t n) { return covered[n] != 0; });
  sort_nodes(nodes, stable);
  BrightRegions found;
  for (const int32_t n : stable) found.growths.push_back(growth[n]);
  found.nodes = std::move(stable);
  return found;
}

void paint_nodes(const Nodes& nodes, std::span<const int32_t> chosen, std::span<uint8_t> mask) {
  std::fill(mask.begin(), mask.end(), uint8_t{0});
  for (const int32_t node : chosen)
    for (const int32_t place : nodes.places(nodes[node])) mask[nodes.box().element(place)] = 1;
}

}  // namespace mk::regions
