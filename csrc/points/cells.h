// Where points lie in a cubic grid of cells over [-1, 1]^3, as PVCNN puts them there (Z. Liu et al. 2019, "Point-Voxel
// CNN for Efficient 3D Deep Learning").
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace mk::points {

// Points of all items, one item after the other.
template <class T>
struct PointItems {
  std::span<const T> points;        // [points, 3]
  std::span<const int64_t> starts;  // [items + 1]: the first point of each item, and the number of points
  int64_t items() const { return static_cast<int64_t>(starts.size()) - 1; }
};

struct CellGrid {
  int64_t resolution;  // cells along each edge
  bool subtract_mean;  // of the points of an item
  int64_t cells() const { return resolution * resolution * resolution; }
};

using Place = std::array<double, 3>;

template <class T>
Place mean_of(const PointItems<T>& items, int64_t item) {
  Place mean{};
  const int64_t begin = items.starts[item], end = items.starts[item + 1];
  for (int64_t p = begin; p < end; ++p)
    for (int64_t axis = 0; axis < 3; ++axis) mean[axis] += static_cast<double>(items.points[p * 3 + axis]);
  for (double& value : mean) value /= static_cast<double>(std::max<int64_t>(1, end - begin));
  return mean;
}

// In cells from the middle of the first one, not yet held within the grid.
inline double scaled(double value, double mean, const CellGrid& grid) {
  return (value - mean + 1) / 2 * static_cast<double>(grid.resolution);
}

inline double held(double place, const CellGrid& grid) {
  return std::clamp(place, 0.0, static_cast<double>(grid.resolution - 1));
}

// Calls visit(item, point, place) for all points, in their order within an item.
template <class T, class Visit>
void visit_places(const PointItems<T>& items, const CellGrid& grid, int64_t item, const Visit& visit) {
  const Place mean = grid.subtract_mean ? mean_of(items, item) : Place{};
  for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p) {
    Place place;
    for (int64_t axis = 0; axis < 3; ++axis)
      place[axis] = scaled(static_cast<double>(items.points[p * 3 + axis]), mean[axis], grid);
    visit(p, place);
  }
}

}  // namespace mk::points
