#include "regions/mser.h"

#include <algorithm>
#include <limits>

#include "regions/pages.h"

namespace mk::regions {

namespace {

// (area delta levels lower - area delta levels higher) / area. Lower, it is that of the largest node within delta
// levels; higher, that of the smallest within delta levels, going from child to largest child.
double area_variation(const Nodes& nodes, const Node& node, int delta) {
  const Node *lower = &node, *higher = &node;
  while (lower->parent != kNone && nodes[lower->parent].level >= node.level - delta) lower = &nodes[lower->parent];
  while (higher->main != kNone && nodes[higher->main].level <= node.level + delta) higher = &nodes[higher->main];
  return static_cast<double>(lower->area() - higher->area()) / node.area();
}

// A local minimum of the variation along the tree; of a node and a child that are equal, the child. The whole image has
// no boundary: it is not a region, and nothing is compared with it.
// Writes the variation of nodes that are large enough.
std::vector<int32_t> local_minima(const Nodes& nodes, const MserOptions& options, double* variation) {
  std::vector<int32_t> large;
  const std::span<const Node> all = nodes.all();
  for (size_t n = 0; n < all.size(); ++n)
    if (all[n].area() >= options.min_area) large.push_back(static_cast<int32_t>(n));
  const Pages<double> least_child = allocate_pages<double>(static_cast<int64_t>(all.size()));  // of large nodes
  for (const int32_t n : large) {
    variation[n] = area_variation(nodes, nodes[n], options.delta);
    least_child[n] = std::numeric_limits<double>::infinity();
  }
  for (const int32_t n : large)
    if (nodes[n].parent != kNone) {
      double& least = least_child[nodes[n].parent];
      least = std::min(least, variation[n]);
    }
  std::erase_if(large, [&](int32_t n) {
    const int32_t up = nodes[n].parent;
    return up == kNone || nodes[n].area() > options.max_area || variation[n] > options.max_variation ||
           variation[n] > least_child[n] || (nodes[up].parent != kNone && variation[n] >= variation[up]);
  });
  return large;
}

}  // namespace

StableRegions find_stable(const Nodes& nodes, const MserOptions& options) {
  const Pages<double> variation = allocate_pages<double>(static_cast<int64_t>(nodes.all().size()));
  std::vector<int32_t> chosen = local_minima(nodes, options, variation.get());
  sort_nodes(nodes, chosen);

  // Of two nested regions that differ little, the one that varies less, else the larger.
  std::vector<uint8_t> stable(nodes.all().size(), 0);
  for (const int32_t n : chosen) stable[n] = 1;
  for (const int32_t n : chosen) {
    for (int32_t o = nodes[n].parent; stable[n] && o != kNone; o = nodes[o].parent) {
      if (!stable[o]) continue;
      const double diversity = static_cast<double>(nodes[o].area() - nodes[n].area()) / nodes[o].area();
      if (diversity >= options.min_diversity) break;
      stable[variation[n] < variation[o] ? o : n] = 0;
    }
  }

  StableRegions found;
  for (const int32_t n : chosen) {
    if (!stable[n]) continue;
    found.nodes.push_back(n);
    found.variations.push_back(variation[n]);
  }
  return found;
}

}  // namespace mk::regions
