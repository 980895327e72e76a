#include "regions/nodes.h"

#include <algorithm>
#include <memory>

#include "common/parallel.h"

namespace mk::regions {

Nodes build_nodes(std::span<const uint8_t> image, const Grid& grid) {
  const size_t size = image.size();
  Nodes nodes;
  if (size == 0) return nodes;
  const std::unique_ptr<int32_t[]> parent(new int32_t[size]), order(new int32_t[size]), area(new int32_t[size]);
  max_tree<uint8_t>(image, grid, {{parent.get(), size}, {order.get(), size}, {area.get(), size}});
  nodes.of.resize(size);
  for (size_t i = 0; i < size; ++i) {
    const int32_t x = order[i], up = parent[x];
    if (up != x && image[up] == image[x]) {
      nodes.of[x] = nodes.of[up];
      continue;
    }
    nodes.of[x] = static_cast<int32_t>(nodes.parent.size());
    nodes.parent.push_back(nodes.of[up]);
    nodes.area.push_back(area[x]);
    nodes.level.push_back(image[x]);
  }
  return nodes;
}

Members collect_members(const Nodes& nodes, std::span<const int32_t> chosen) {
  Members members;
  members.offsets.push_back(0);
  for (const int32_t node : chosen) members.offsets.push_back(members.offsets.back() + nodes.area[node]);
  if (chosen.empty()) return members;
  members.elements.resize(members.offsets.back());

  // All elements in an order in which those of each node follow one another: a node's own, then its children's.
  const int64_t size = static_cast<int64_t>(nodes.of.size()), count = nodes.count();
  std::vector<int32_t> own(count, 0), first(count), next(count);
  for (const int32_t node : nodes.of) ++own[node];
  for (int64_t node = 0; node < count; ++node) {
    int32_t& free = next[nodes.parent[node]];
    first[node] = node == 0 ? 0 : free;
    if (node > 0) free += nodes.area[node];
    next[node] = first[node] + own[node];
  }
  std::vector<int32_t>& place = next;
  place = first;
  const std::unique_ptr<int32_t[]> elements(new int32_t[size]);
  for (int64_t x = 0; x < size; ++x) elements[place[nodes.of[x]]++] = static_cast<int32_t>(x);
  parallel_for(static_cast<int64_t>(chosen.size()), [&](int64_t i) {
    const int32_t* const from = elements.get() + first[chosen[i]];
    std::copy(from, from + nodes.area[chosen[i]], members.elements.data() + members.offsets[i]);
  });
  return members;
}

std::vector<double> position_moments(const Members& members, int64_t width) {
  constexpr double of_a_pixel = 1.0 / 12;  // the variance of a coordinate within a square of side 1
  const int64_t count = static_cast<int64_t>(members.offsets.size()) - 1;
  std::vector<double> moments(5 * count);
  parallel_for(count, [&](int64_t i) {
    const int32_t* const begin = members.elements.data() + members.offsets[i];
    const int32_t* const end = members.elements.data() + members.offsets[i + 1];
    const double n = static_cast<double>(end - begin);
    const double x0 = static_cast<double>(*begin % width), y0 = static_cast<double>(*begin / width);
    double x = 0, y = 0, xx = 0, xy = 0, yy = 0;  // about one of the elements, so that the sums are exact
    for (const int32_t* e = begin; e < end; ++e) {
      const double dx = static_cast<double>(*e % width) - x0, dy = static_cast<double>(*e / width) - y0;
      x += dx;
      y += dy;
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
    x /= n;
    y /= n;
    double* const to = moments.data() + 5 * i;
    to[0] = x0 + x;
    to[1] = y0 + y;
    to[2] = xx / n - x * x + of_a_pixel;
    to[3] = xy / n - x * y;
    to[4] = yy / n - y * y + of_a_pixel;
  });
  return moments;
}

}  // namespace mk::regions
