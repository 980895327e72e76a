// The direction in which the neighbours y_j of a point, seen from it, spread least: the eigenvector of the smallest
// eigenvalue of sum_j w_j y_j y_j^T, by Jacobi's rotations in float64, for several points at once. O(N k).
// Weights m - |y_j|, m the greatest |y_j|: F. Tombari, S. Salti and L. Di Stefano, "Unique signatures of histograms for
// local surface description" (2010), equation 1.
#pragma once

#include "points/clouds.h"
#include "points/lanes.h"

namespace mk::points {

// axes: [points, 3], unit vectors, or 0 where no direction stands out.
template <class T>
void local_reference_axis(const Cloud<T>& cloud, const Table& neighbours, bool weighted, std::span<T> axes);

}  // namespace mk::points
