#include "points/knn.h"

#include "common/parallel.h"

namespace mk::points {

namespace {

template <class T>
void search_leaf(const PointTree& points, const PointTree& queries, const TreeNode& leaf, bool skip_self,
                 const Neighbours<T>& found) {
  const LeafPasses& passes = leaf_passes();
  const int64_t most = std::min(found.k, points.size);
  SortedLists lists(most);
  Group group(queries, leaf, std::numeric_limits<double>::infinity());
  const int32_t* numbers = queries.leaf_order(leaf.first);
  search(points, root(points), passes, group, [&](int query, int32_t point, double squared) {
    if (skip_self && point == numbers[query]) return;
    lists.insert(passes, query, squared, point);
    group.limits[query] = lists.keys(query)[most - 1];
  });
  for (int query = 0; query < queries.count(leaf.first); ++query) {
    lists.finish(query);
    for (int64_t i = 0; i < most; ++i) found.write(numbers[query], i, lists.others(query)[i], lists.keys(query)[i]);
  }
}

}  // namespace

template <class T>
void knn(const Cloud<T>& points, const Cloud<T>& queries, bool itself, bool include_self, const Neighbours<T>& found) {
  if (points.size < found.k) found.clear();
  if (points.size == 0 || queries.size == 0) return;
  const bool split = points.dimensions <= kMostSplit;
  const PointTree tree = build_point_tree(points, split);
  const PointTree other = itself ? PointTree{} : build_point_tree(queries, split);
  const PointTree& asking = itself ? tree : other;
  const std::vector<TreeNode> leaves = all_leaves(asking);
  parallel_for(asking.leaves, [&](int64_t i) { search_leaf(tree, asking, leaves[i], itself && !include_self, found); });
}

template void knn(const Cloud<float>&, const Cloud<float>&, bool, bool, const Neighbours<float>&);
template void knn(const Cloud<double>&, const Cloud<double>&, bool, bool, const Neighbours<double>&);

}  // namespace mk::points
