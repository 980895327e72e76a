#include "points/ball_query.h"

#include "common/parallel.h"

namespace mk::points {

namespace {

template <class T>
void search_leaf(const PointTree& points, const PointTree& queries, const TreeNode& leaf, double radius,
                 const Neighbours<T>& found) {
  const LeafPasses& passes = leaf_passes();
  const int64_t most = std::min(found.k, points.size);
  SortedLists lists(most);
  Group group(queries, leaf, radius * radius);
  search(points, root(points), passes, group, [&](int query, int32_t point, double squared) {
    if (point < lists.keys(query)[most - 1]) lists.insert(passes, query, point, squared);
  });
  for (int query = 0; query < queries.count(leaf.first); ++query) {
    lists.finish(query);
    for (int64_t i = 0; i < most && lists.keys(query)[i] < std::numeric_limits<double>::infinity(); ++i)
      found.write(queries.leaf_order(leaf.first)[query], i, lists.keys(query)[i], lists.others(query)[i]);
  }
}

}  // namespace

template <class T>
void ball_query(const Cloud<T>& points, const Cloud<T>& queries, double radius, const Neighbours<T>& found) {
  found.clear();
  if (points.size == 0 || queries.size == 0) return;
  const bool split = points.dimensions <= kMostSplit;
  const PointTree tree = build_point_tree(points, split), asking = build_point_tree(queries, split);
  const std::vector<TreeNode> leaves = all_leaves(asking);
  parallel_for(asking.leaves, [&](int64_t i) { search_leaf(tree, asking, leaves[i], radius, found); });
}

template void ball_query(const Cloud<float>&, const Cloud<float>&, double, const Neighbours<float>&);
template void ball_query(const Cloud<double>&, const Cloud<double>&, double, const Neighbours<double>&);

}  // namespace mk::points
