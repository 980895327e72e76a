#include "points/knn.h"

#include "common/parallel.h"

namespace mk::points {

namespace {

template <class T>
void search_leaf(const PointTree<T>& points, const PointTree<T>& queries, int64_t leaf, bool skip_self,
                 const Neighbours<T>& found) {
  const LeafPasses& passes = leaf_passes();
  const int32_t* numbers = queries.leaf_order(leaf);
  const int64_t most = std::min(found.k, points.size);
  SortedLists lists(most);
  const auto take = [&](auto& limits, int query, int32_t point, double squared) {
    if (skip_self && point == numbers[query]) return;
    lists.insert(passes, query, squared, point);
    limits[query] = lists.keys(query)[most - 1];
  };
  LeafSearch(points, queries, leaf, std::numeric_limits<double>::infinity(), take).run();
  for (int query = 0; query < queries.count(leaf); ++query) {
    lists.finish(query);
    found.write(numbers[query], most, lists.others(query), lists.keys(query));
  }
}

}  // namespace

template <class T>
void knn(const Cloud<T>& points, const Cloud<T>& queries, bool itself, bool include_self, const Neighbours<T>& found) {
  if (points.size < found.k) found.clear();
  if (points.size == 0 || queries.size == 0) return;
  const bool split = points.dimensions <= kMostSplit;
  const PointTree<T> tree = build_point_tree<T>(points, split);
  const PointTree<T> other = itself ? PointTree<T>{} : build_point_tree<T>(queries, split);
  const PointTree<T>& asking = itself ? tree : other;
  parallel_for(asking.leaves, [&](int64_t i) { search_leaf(tree, asking, i, itself && !include_self, found); });
}

template void knn(const Cloud<float>&, const Cloud<float>&, bool, bool, const Neighbours<float>&);
template void knn(const Cloud<double>&, const Cloud<double>&, bool, bool, const Neighbours<double>&);

}  // namespace mk::points
