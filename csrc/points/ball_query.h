// The points within a radius of each query, exactly: the search of knn.h with a limit that stays.
// O((N + Q) log + found) time where boxes prune, O(N Q) at worst; O(N + Q) memory beside the result.
#pragma once

#include "points/clouds.h"
#include "points/leaf_search.h"

namespace mk::points {

// The first k of them, by number.
template <class T>
void ball_query(const Cloud<T>& points, const Cloud<T>& queries, double radius, const Neighbours<T>& found);

}  // namespace mk::points
