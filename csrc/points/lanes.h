// Small arrays that plain loops go over, lane by lane.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "common/widest.h"
#include "points/clouds.h"

namespace mk::points {

// Coordinates of this type are wrong by about this share, with room for those that were rotated or moved.
template <class T>
constexpr double kRounding = sizeof(T) == sizeof(float) ? 1e-5 : 1e-12;

// Rows of k indices of points; -1 where there is no neighbour.
struct Table {
  std::span<const int64_t> indices;
  int64_t rows = 0, k = 0;
  const int64_t* row(int64_t i) const { return indices.data() + i * k; }
};

struct Coordinates {
  double x, y, z;
};
template <class T>
[[gnu::always_inline]] inline Coordinates coordinates(const T* row) {
  return {row[0], row[1], row[2]};
}
[[gnu::always_inline]] inline double dot(const Coordinates& a, const Coordinates& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
[[gnu::always_inline]] inline Coordinates cross(const Coordinates& a, const Coordinates& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

}  // namespace mk::points
