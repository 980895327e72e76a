#include "points/ball_query.h"

#include "common/parallel.h"

namespace mk::points {

namespace {

template <class T>
void search_leaf(const PointTree<T>& points, const PointTree<T>& queries, int64_t leaf, double radius,
                 const Neighbours<T>& found) {
  const LeafPasses& passes = leaf_passes();
  const int64_t most = std::min(found.k, points.size);
  SortedLists lists(most);
  const auto take = [&](auto&, int query, int32_t point, double squared) {
    if (point < lists.keys(query)[most - 1]) lists.insert(passes, query, point, squared);
  };
  LeafSearch(points, queries, leaf, radius * radius, take).run();
  for (int query = 0; query < queries.count(leaf); ++query) {
    lists.finish(query);
    const double* points_found = lists.keys(query);
    const auto end = std::lower_bound(points_found, points_found + most, std::numeric_limits<double>::infinity());
    found.write(queries.leaf_order(leaf)[query], end - points_found, points_found, lists.others(query));
  }
}

}  // namespace

template <class T>
void ball_query(const Cloud<T>& points, const Cloud<T>& queries, double radius, const Neighbours<T>& found) {
  found.clear();
  if (points.size == 0 || queries.size == 0) return;
  const bool split = points.dimensions <= kMostSplit;
  const PointTree<T> tree = build_point_tree<T>(points, split), asking = build_point_tree<T>(queries, split);
  parallel_for(asking.leaves, [&](int64_t i) { search_leaf(tree, asking, i, radius, found); });
}

template void ball_query(const Cloud<float>&, const Cloud<float>&, double, const Neighbours<float>&);
template void ball_query(const Cloud<double>&, const Cloud<double>&, double, const Neighbours<double>&);

}  // namespace mk::points
