#include "regions/mmser.h"

#include <algorithm>
#include <limits>

namespace mk::regions {

BrightRegions find_bright(const Nodes& nodes, const MmserOptions& options) {
  const std::span<const Node> all = nodes.all();
  const auto bright = [&](const Node& node) { return Nodes::level(node) >= options.min_level; };
  const auto growth_of = [&](const Node& node) {
    const Node* lower = &node;
    while (lower->parent != kNone && nodes[lower->parent].level >= node.level - options.delta)
      lower = &nodes[lower->parent];
    return lower->area() - node.area();
  };
  // Of bright nodes; others are only asked for as parents of these.
  std::vector<int32_t> growth(all.size()), least_child(all.size(), std::numeric_limits<int32_t>::max());
  for (size_t n = 0; n < all.size(); ++n) {
    if (!bright(all[n])) continue;
    growth[n] = growth_of(all[n]);
    if (all[n].parent == kNone) continue;
    int32_t& least = least_child[all[n].parent];
    least = std::min(least, growth[n]);
  }
  // The whole image is never one of them.
  const auto is_stable = [&](const Node& node, size_t n) {
    if (!bright(node) || node.parent == kNone || node.area() < options.min_area || node.area() >= options.max_area)
      return false;
    if (growth[n] > node.area() || growth[n] > least_child[n]) return false;
    const Node& up = nodes[node.parent];
    return growth[n] <= (bright(up) ? growth[node.parent] : growth_of(up));
  };
  BrightRegions found;
  std::vector<uint8_t> covered(all.size(), 0);
  for (size_t n = 0; n < all.size(); ++n) {
    if (!is_stable(all[n], n)) continue;
    found.nodes.push_back(static_cast<int32_t>(n));
    covered[all[n].parent] = 1;
  }
  // Where a node and a child of it are equally stable, the child stands for both.
  std::erase_if(found.nodes, [&](int32_t n) { return covered[n] != 0; });
  sort_nodes(nodes, found.nodes);
  for (const int32_t n : found.nodes) found.growths.push_back(growth[n]);
  return found;
}

void paint_nodes(const Nodes& nodes, std::span<const int32_t> chosen, std::span<uint8_t> mask) {
  std::fill(mask.begin(), mask.end(), uint8_t{0});
  for (const int32_t node : chosen)
    for (const int32_t place : nodes.places(nodes[node])) mask[nodes.box().element(place)] = 1;
}

}  // namespace mk::regions
