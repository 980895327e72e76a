// The k nearest points of each query, exactly: k-d trees over points and queries, and a search of the queries of a leaf
// together. Distances are float64; equally near points rank by number. O((N + Q) log) time where boxes prune, O(N Q) at
// worst; O(N + Q) memory beside the result.
#pragma once

#include "points/clouds.h"
#include "points/leaf_search.h"

namespace mk::points {

// Nearest first. With `itself` the queries are the points, and each finds itself too if `include_self`.
template <class T>
void knn(const Cloud<T>& points, const Cloud<T>& queries, bool itself, bool include_self, const Neighbours<T>& found);

}  // namespace mk::points
