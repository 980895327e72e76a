// The mean of the features of the points in each cell of a cubic grid, and its gradient (Z. Liu et al. 2019,
// "Point-Voxel CNN for Efficient 3D Deep Learning"). A cell is summed in the order of the points, by one thread.
// O(points * features + cells * features).
#pragma once

#include "points/cells.h"

namespace mk::points {

// features: [points, channels]. grids: [items, channels, resolution, resolution, resolution]; 0 in empty cells.
template <class T>
void voxelize(const PointItems<T>& items, std::span<const T> features, const CellGrid& grid, int64_t channels,
              std::span<T> grids);

// The gradient with respect to the features.
template <class T>
void voxelize_backward(std::span<const T> grad_grids, const PointItems<T>& items, const CellGrid& grid,
                       int64_t channels, std::span<T> features);

}  // namespace mk::points
