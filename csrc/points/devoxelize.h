// The features of a cubic grid at points, interpolated linearly along each axis, and the gradients (Z. Liu et al. 2019,
// "Point-Voxel CNN for Efficient 3D Deep Learning"). Points are read in the order of their cells, all channels of a few
// at a time. O(points * channels), and O(cells * channels) for the gradient, where a cell is summed in the order of the
// points as they came, by one thread.
#pragma once

#include "points/cells.h"

namespace mk::points {

// grids: [items, channels, resolution, resolution, resolution]. features: [points, channels].
template <class T>
void devoxelize(std::span<const T> grids, const PointItems<T>& items, const CellGrid& grid, int64_t channels,
                std::span<T> features);

// grads: of the features. grad_grids and grad_points: as the grids and points.
template <class T>
void devoxelize_backward(std::span<const T> grads, std::span<const T> grids, const PointItems<T>& items,
                         const CellGrid& grid, int64_t channels, std::span<T> grad_grids, std::span<T> grad_points);

}  // namespace mk::points
