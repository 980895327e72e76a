// Farthest point sampling (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"): each pick is the
// point farthest from all picks before it; of equally far ones that with the lowest number. Exact in float64.
// Few picks, or many coordinates: every pick goes over all points, O(N m D), in float32 where a bound of its rounding
// errors decides. Otherwise a k-d tree keeps the farthest point of each box, and a pick only visits boxes that it comes
// nearer to (as in Han et al. 2023, "QuickFPS"), about O(N log N + m log N).
#pragma once

#include <cstdint>
#include <span>

#include "points/clouds.h"

namespace mk::points {

// picks: as many as wanted; the first is `start`.
template <class T>
void farthest_point_sampling(const Cloud<T>& cloud, int64_t start, std::span<int64_t> picks);

}  // namespace mk::points
