// Eight numbers for each neighbour of a centre that do not change when the cloud is turned, and the neighbours in their
// order around the axis of the centre: Z. Zhang, B.-S. Hua and S.-K. Yeung, "RIConv++: effective rotation invariant
// convolutions for 3D point clouds deep learning" (2022), section 3. The order is found in float64, and angles from the
// length of the difference of two axes, exact also near 0. Up to 32 neighbours are sorted in registers; for k up to 256
// ranks are counted, O(M k^2), then O(M k log k).
#pragma once

#include "points/clouds.h"
#include "points/lanes.h"

namespace mk::points {

constexpr int64_t kInvariants = 8;

// axes: [points, 3]; neighbours: one row for each of `centers`. features: [centers, k, kInvariants]; ordered:
// [centers, k]. Absent neighbours come last, with 0.
template <class T>
void rotation_invariant_features(const Cloud<T>& cloud, std::span<const T> axes, std::span<const int64_t> centers,
                                 const Table& neighbours, std::span<T> features, std::span<int64_t> ordered);

}  // namespace mk::points
