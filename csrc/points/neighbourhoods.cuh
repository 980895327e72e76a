// Clouds with tables of neighbours in device memory: their checks, and the arithmetic of points/lanes.h for one thread.
#pragma once

#include <algorithm>
#include <vector>

#include "points/neighbourhoods_cuda.h"
#include "points/value_checks.cuh"

namespace mk::cuda {

// As kRounding in points/lanes.h.
template <class T>
constexpr double kNearly = sizeof(T) == sizeof(float) ? 1e-5 : 1e-12;

struct Double3 {
  double x, y, z;
};

template <class T>
__device__ inline Double3 double3_of(const T* row) {
  return {static_cast<double>(row[0]), static_cast<double>(row[1]), static_cast<double>(row[2])};
}
__device__ inline double dot(const Double3& a, const Double3& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
__device__ inline Double3 cross(const Double3& a, const Double3& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

inline int64_t most_rows(const std::vector<DeviceNeighbourhoods>& clouds) {
  int64_t most = 0;
  for (const auto& cloud : clouds) most = std::max(most, cloud.rows);
  return most;
}

// Starts the checks of the points, whose numbers are from `of_points` on, and of the neighbours.
template <class T>
void check_neighbourhoods(const Checks& checks, const std::vector<DeviceNeighbourhoods>& clouds, int of_points,
                          int of_neighbours) {
  std::vector<CheckedArray<T, AreCoordinates<T>>> points;
  std::vector<CheckedArray<int64_t, AreIndices>> tables;
  for (const DeviceNeighbourhoods& cloud : clouds) {
    points.push_back({static_cast<const T*>(cloud.points), cloud.size * 3, of_points++, {}});
    tables.push_back({cloud.neighbours, cloud.rows * cloud.k, of_neighbours++, {-1, cloud.size}});
  }
  checks.start(points);
  checks.start(tables);
}

}  // namespace mk::cuda
