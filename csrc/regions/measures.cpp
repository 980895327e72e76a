#include "regions/measures.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/parallel.h"

namespace mk::regions {

namespace {

// What is added over the elements of a component. Sums of integers are exact and do not depend on their order.
template <int dims, class Product>
struct Sums {
  using Place = std::array<int32_t, dims>;

  int64_t area = 0, perimeter = 0;
  Place origin{};  // the first element
  Place low = everywhere(std::numeric_limits<int32_t>::max()), high{};
  std::array<int64_t, dims> first{};
  std::array<Product, dims*(dims + 1) / 2> second{};  // yy, xy, xx or zz, yz, yy, xz, xy, xx

  static constexpr int product(int i, int j) { return i * (i + 1) / 2 + j; }

  void merge(const Sums& other) {
    area += other.area;
    perimeter += other.perimeter;
    for (int i = 0; i < dims; ++i) {
      low[i] = std::min(low[i], other.low[i]);
      high[i] = std::max(high[i], other.high[i]);
      first[i] += other.first[i];
    }
    for (size_t i = 0; i < second.size(); ++i) second[i] += other.second[i];
  }

  // The sum of products of offsets from the first element, from one of products of positions.
  Product about_origin(int i, int j) const {
    return second[product(i, j)] - Product{first[i]} * origin[j] - Product{first[j]} * origin[i] +
           Product{area} * origin[i] * origin[j];
  }

 private:
  static constexpr Place everywhere(int32_t value) {
    Place place{};
    place.fill(value);
    return place;
  }
};

// Adds runs of a row.
template <int dims, class Product>
class RowAdder {
 public:
  RowAdder(const RunForest& forest, int64_t row) : forest_(forest) {
    const Grid& grid = forest.grid();
    const int64_t z = row / grid.height, y = row % grid.height;
    if constexpr (dims == 3) {
      place_ = {static_cast<int32_t>(z), static_cast<int32_t>(y)};
      if (z > 0) before_[rows_before_++] = row - grid.height;
    } else {
      place_ = {static_cast<int32_t>(y)};
    }
    if (y > 0) before_[rows_before_++] = row - 1;
  }

  void operator()(Sums<dims, Product>& sums, int64_t start, int64_t stop) const {
    constexpr int x_axis = dims - 1;
    const int64_t length = stop - start;
    if (sums.area == 0) {
      std::copy(place_.begin(), place_.end(), sums.origin.begin());
      sums.origin[x_axis] = static_cast<int32_t>(start);
    }
    sums.area += length;

    // A side between two elements of a component, in this row and one before, is counted by both and exposed by
    // neither.
    int64_t covered = 0;
    for (int i = 0; i < rows_before_; ++i) covered += forest_.count_set(before_[i], start, stop);
    sums.perimeter += 2 + 2 * x_axis * length - 2 * covered;

    const int64_t x = length * start + length * (length - 1) / 2;  // the sum of start, start + 1, ...
    const Product n = length, x0 = start;
    for (int i = 0; i < x_axis; ++i) {
      sums.low[i] = std::min(sums.low[i], place_[i]);
      sums.high[i] = std::max(sums.high[i], place_[i] + 1);
      sums.first[i] += length * place_[i];
      for (int j = 0; j <= i; ++j) sums.second[sums.product(i, j)] += n * place_[i] * place_[j];
      sums.second[sums.product(x_axis, i)] += Product{x} * place_[i];
    }
    sums.low[x_axis] = std::min(sums.low[x_axis], static_cast<int32_t>(start));
    sums.high[x_axis] = std::max(sums.high[x_axis], static_cast<int32_t>(stop));
    sums.first[x_axis] += x;
    sums.second.back() += n * x0 * x0 + x0 * n * (n - 1) + (n - 1) * n * (2 * n - 1) / 6;
  }

 private:
  const RunForest& forest_;
  std::array<int32_t, dims - 1> place_;
  std::array<int64_t, 2> before_{};  // rows that touch this one with a side
  int rows_before_ = 0;
};

template <int dims, class Product>
Measures measure_sums(const RunForest& forest) {
  const auto found = forest.gather<Sums<dims, Product>>(
      [&](int64_t row) { return RowAdder<dims, Product>(forest, row); },
      [](Sums<dims, Product>& sums, const Sums<dims, Product>& more) { sums.merge(more); });
  const int64_t count = forest.count();
  Measures m{count,
             dims,
             allocate_pages<int64_t>(count),
             allocate_pages<int64_t>(count * 2 * dims),
             allocate_pages<double>(count * dims),
             allocate_pages<int64_t>(count),
             allocate_pages<double>(count * dims * dims)};
  parallel_blocks(count, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const Sums<dims, Product>& sums = found[c];
      m.area[c] = sums.area;
      m.perimeter[c] = sums.perimeter;
      std::copy(sums.low.begin(), sums.low.end(), m.box.get() + c * 2 * dims);
      std::copy(sums.high.begin(), sums.high.end(), m.box.get() + (c * 2 + 1) * dims);
      const double area = static_cast<double>(sums.area);
      std::array<double, dims> mean;
      for (int i = 0; i < dims; ++i) {
        mean[i] = static_cast<double>(sums.first[i] - sums.area * sums.origin[i]) / area;
        m.centroid[c * dims + i] = sums.origin[i] + mean[i];
        for (int j = 0; j <= i; ++j) {
          const double moment = static_cast<double>(sums.about_origin(i, j)) / area - mean[i] * mean[j];
          m.moments[(c * dims + i) * dims + j] = m.moments[(c * dims + j) * dims + i] = moment;
        }
      }
    }
  });
  return m;
}

}  // namespace

Measures measure(const RunForest& forest) {
  const Grid& grid = forest.grid();
  // Sums of products need more than 64 bits in masks of extreme shapes only.
  const double extent = static_cast<double>(std::max({grid.depth, grid.height, grid.width}));
  const bool small = static_cast<double>(grid.size()) * extent * extent < 0x1p60;
  if (grid.connectivity == 4 || grid.connectivity == 8)
    return small ? measure_sums<2, int64_t>(forest) : measure_sums<2, __int128>(forest);
  return small ? measure_sums<3, int64_t>(forest) : measure_sums<3, __int128>(forest);
}

}  // namespace mk::regions
