#include "topology/filtration.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/parallel.h"

namespace mk::topology {

namespace {

// Bits of non-negative numbers are in the order of the numbers.
uint32_t key_of(float length) { return std::bit_cast<uint32_t>(length); }
uint64_t key_of(double length) { return std::bit_cast<uint64_t>(length); }

// Below this many edges a comparison sort is quicker than passes over 2048 counters.
constexpr size_t kFewEdges = 512;

// Stable order of lengths. Radix sort, 11 bits a pass; passes in which all keys agree are skipped.
template <class T>
std::vector<uint32_t> order_of(const std::vector<T>& lengths) {
  using Key = decltype(key_of(T{}));
  struct Item {
    Key key;
    uint32_t index;
  };
  constexpr int digit_bits = 11, digits = (sizeof(Key) * 8 + digit_bits - 1) / digit_bits;
  constexpr size_t buckets = size_t{1} << digit_bits;
  std::vector<uint32_t> order(lengths.size());
  if (lengths.size() < kFewEdges) {
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return lengths[a] < lengths[b]; });
    return order;
  }
  std::vector<Item> items(lengths.size()), sorted(lengths.size());
  std::vector<std::array<uint32_t, buckets>> counts(digits);
  for (auto& count : counts) count.fill(0);
  for (size_t i = 0; i < lengths.size(); ++i) {
    const Key key = key_of(lengths[i]);
    items[i] = {key, static_cast<uint32_t>(i)};
    for (int d = 0; d < digits; ++d) ++counts[d][(key >> (d * digit_bits)) & (buckets - 1)];
  }
  for (int d = 0; d < digits; ++d) {
    auto& count = counts[d];
    if (count[(items[0].key >> (d * digit_bits)) & (buckets - 1)] == items.size()) continue;
    std::exclusive_scan(count.begin(), count.end(), count.begin(), 0u);
    for (const Item& item : items) sorted[count[(item.key >> (d * digit_bits)) & (buckets - 1)]++] = item;
    items.swap(sorted);
  }
  std::transform(items.begin(), items.end(), order.begin(), [](const Item& item) { return item.index; });
  return order;
}

template <class T>
Filtration<T> sorted(int64_t size, const std::vector<Edge>& edges, const std::vector<T>& lengths) {
  Filtration<T> result{size, std::vector<Edge>(edges.size()), std::vector<T>(edges.size())};
  const std::vector<uint32_t> order = order_of(lengths);
  for (size_t rank = 0; rank < order.size(); ++rank) {
    result.edges[rank] = edges[order[rank]];
    result.lengths[rank] = lengths[order[rank]];
  }
  return result;
}

// Edges of the complete graph; distance_row(i, out) gives the distances from i to i + 1, ..., size - 1.
template <class T, class Row>
Filtration<T> of_rows(int64_t size, double threshold, const Row& distance_row) {
  std::vector<T> lengths(size * (size - 1) / 2);
  const auto first = [&](int64_t i) { return i * (2 * size - i - 1) / 2; };
  parallel_for((size + 63) / 64, [&](int64_t block) {
    for (int64_t i = block * 64; i < std::min(size, block * 64 + 64); ++i) distance_row(i, lengths.data() + first(i));
  });
  std::vector<T> farthest(size, T(0));
  for (int64_t i = 0; i < size; ++i) {
    const T* row = lengths.data() + first(i);
    T* others = farthest.data() + (i + 1);
    T reach = farthest[i];
    for (int64_t k = 0; k < size - i - 1; ++k) {
      reach = std::max(reach, row[k]);
      others[k] = std::max(others[k], row[k]);
    }
    farthest[i] = reach;
  }
  const T radius = size > 0 ? *std::min_element(farthest.begin(), farthest.end()) : T(0);
  const double limit = std::min<double>({threshold, radius, std::numeric_limits<T>::max()});
  std::vector<Edge> edges;
  std::vector<T> kept;
  edges.reserve(lengths.size());
  kept.reserve(lengths.size());
  for (int32_t i = 0; i < size; ++i) {
    const T* row = lengths.data() + first(i);
    for (int32_t j = i + 1; j < size; ++j) {
      const T length = row[j - i - 1];
      if (!(length <= limit)) continue;
      edges.push_back({i, j});
      kept.push_back(length + T(0));  // -0 becomes 0
    }
  }
  return sorted(size, edges, kept);
}

// Distances are summed in double precision and rounded once.
template <class Add, class Finish, class T>
void distances_from(int64_t i, const std::vector<double>& columns, int64_t size, int64_t dim, std::vector<double>& sums,
                    T* out, const Add& add, const Finish& finish) {
  const int64_t count = size - i - 1;
  sums.assign(count, 0.0);
  for (int64_t d = 0; d < dim; ++d) {
    const double* column = columns.data() + d * size;
    const double here = column[i];
    for (int64_t k = 0; k < count; ++k) sums[k] = add(sums[k], std::abs(column[i + 1 + k] - here));
  }
  for (int64_t k = 0; k < count; ++k) out[k] = static_cast<T>(finish(sums[k]));
}

}  // namespace

template <class T>
Filtration<T> filtration_of_points(const Cloud<T>& cloud, Metric metric, double threshold) {
  const int64_t size = cloud.size, dim = cloud.dim;
  std::vector<double> columns(size * dim);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t d = 0; d < dim; ++d) columns[d * size + i] = cloud.values[i * dim + d];
  const auto plus = [](double sum, double gap) { return sum + gap; };
  const auto plus_square = [](double sum, double gap) { return sum + gap * gap; };
  const auto greatest = [](double sum, double gap) { return std::max(sum, gap); };
  const auto same = [](double sum) { return sum; };
  const auto root = [](double sum) { return std::sqrt(sum); };
  return of_rows<T>(size, threshold, [&](int64_t i, T* out) {
    std::vector<double> sums;
    switch (metric) {
      case Metric::euclidean: return distances_from(i, columns, size, dim, sums, out, plus_square, root);
      case Metric::manhattan: return distances_from(i, columns, size, dim, sums, out, plus, same);
      case Metric::chebyshev: return distances_from(i, columns, size, dim, sums, out, greatest, same);
    }
  });
}

template <class T>
Filtration<T> filtration_of_distances(const Cloud<T>& matrix, double threshold) {
  return of_rows<T>(matrix.size, threshold, [&](int64_t i, T* out) {
    const T* row = matrix.values.data() + i * matrix.size;
    std::copy(row + i + 1, row + matrix.size, out);
  });
}

template <class T>
Filtration<T> filtration_of_graph(const Graph<T>& graph, double threshold) {
  const double limit = std::min<double>(threshold, std::numeric_limits<T>::max());
  std::vector<Edge> edges;
  std::vector<T> lengths;
  for (size_t e = 0; e < graph.lengths.size(); ++e) {
    if (!(graph.lengths[e] <= limit)) continue;
    edges.push_back({graph.rows[e], graph.cols[e]});
    lengths.push_back(graph.lengths[e] + T(0));
  }
  return sorted(graph.size, edges, lengths);
}

template Filtration<float> filtration_of_points(const Cloud<float>&, Metric, double);
template Filtration<double> filtration_of_points(const Cloud<double>&, Metric, double);
template Filtration<float> filtration_of_distances(const Cloud<float>&, double);
template Filtration<double> filtration_of_distances(const Cloud<double>&, double);
template Filtration<float> filtration_of_graph(const Graph<float>&, double);
template Filtration<double> filtration_of_graph(const Graph<double>&, double);

}  // namespace mk::topology
