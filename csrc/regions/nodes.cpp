#include "regions/nodes.h"

#include <algorithm>

#include "regions/flood.h"
#include "regions/levels.h"

namespace mk::regions {

Nodes::Nodes(std::span<const uint8_t> image, const Grid& grid, bool negative) : box_(grid, 0, Box::length(grid)) {
  scratch_->nodes.clear();
  if (image.empty()) return;
  fill_bytes(image, box_, negative, *scratch_);
  const std::vector<int32_t> counts = count_bytes(image, negative);
  int32_t* const order = scratch_->elements.resize(grid.size());
  const auto finish = [order](int32_t place, int32_t before, int32_t) { order[before] = place; };
  if (grid.connectivity == 4) {
    flood<4>(box_, counts, *scratch_, finish);
  } else {
    flood<8>(box_, counts, *scratch_, finish);
  }
}

void sort_nodes(const Nodes& nodes, std::span<int32_t> chosen) {
  std::sort(chosen.begin(), chosen.end(), [&](int32_t a, int32_t b) { return before(nodes[a], nodes[b]); });
}

Members collect_members(const Nodes& nodes, std::span<const int32_t> chosen) {
  constexpr double of_a_pixel = 1.0 / 12;  // the variance of a coordinate within a square of side 1
  const Box& box = nodes.box();
  Members members;
  members.offsets.push_back(0);
  for (const int32_t node : chosen) members.offsets.push_back(members.offsets.back() + nodes[node].area());
  members.elements.resize(members.offsets.back());
  members.moments.reserve(5 * chosen.size());
  int32_t* to = members.elements.data();
  for (const int32_t node : chosen) {
    const std::span<const int32_t> places = nodes.places(nodes[node]);
    const Box::Pixel base = box.pixel(places[0]);
    double x = 0, y = 0, xx = 0, xy = 0, yy = 0;  // about one of the elements, so that the sums are exact
    for (const int32_t place : places) {
      const Box::Pixel pixel = box.pixel(place);
      *to++ = static_cast<int32_t>(pixel.y * box.width + pixel.x);
      const auto dx = static_cast<double>(pixel.x - base.x), dy = static_cast<double>(pixel.y - base.y);
      x += dx;
      y += dy;
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
    const auto n = static_cast<double>(places.size());
    x /= n;
    y /= n;
    for (const double moment : {static_cast<double>(base.x) + x, static_cast<double>(base.y) + y,
                                xx / n - x * x + of_a_pixel, xy / n - x * y, yy / n - y * y + of_a_pixel})
      members.moments.push_back(moment);
  }
  return members;
}

}  // namespace mk::regions
