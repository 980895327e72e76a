#include "points/devoxelize.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "common/parallel.h"
#include "common/widest.h"

namespace mk::points {

namespace {

constexpr int64_t kPoints = 512;   // that a thread takes at a time
constexpr int64_t kTogether = 64;  // points that are interpolated together

template <class T>
constexpr int64_t kLine = 64 / sizeof(T);  // values

constexpr int64_t kNear = 1 << 18;  // bytes of a grid that stay in the cache of a core

// Where a point lies among the eight cells around it; bit 2 of a corner tells whether it is the farther one along x,
// bit 0 along z.
struct Corners {
  int64_t first;                // the cell of corner 0
  std::array<double, 3> parts;  // of the way to the next cell along an axis
  std::array<bool, 3> within;   // whether the point was within the grid, so that parts change with it
  double share(int corner, int axis) const { return corner & (4 >> axis) ? parts[axis] : 1 - parts[axis]; }
  double weight(int corner) const { return share(corner, 0) * share(corner, 1) * share(corner, 2); }
};

// From the cell of corner 0 to that of another.
int64_t step_to(int corner, const CellGrid& grid) {
  const int64_t n = grid.resolution;
  return n > 1 ? (corner & 4 ? n * n : 0) + (corner & 2 ? n : 0) + (corner & 1) : 0;
}

template <class T>
void find_corners(const PointItems<T>& items, const CellGrid& grid, int64_t item, std::span<Corners> found) {
  const int64_t n = grid.resolution;
  const std::array<int64_t, 3> strides{n * n, n, 1};
  visit_places(items, grid, item, [&](int64_t p, const Place& place) {
    Corners& corners = found[p];
    corners.first = 0;
    for (size_t axis = 0; axis < 3; ++axis) {
      const double at = held(place[axis], grid);
      const int64_t low = std::max<int64_t>(0, std::min(static_cast<int64_t>(at), n - 2));
      corners.first += low * strides[axis];
      corners.parts[axis] = at - static_cast<double>(low);
      corners.within[axis] = n > 1 && at == place[axis];
    }
  });
}

// Points in the order of their cells, or nearly so: those whose first cells share a line of memory stay as they are.
// Reading a channel for one after the other then goes through memory once, from its beginning to its end.
void sort_by_cell(std::span<const Corners> corners, const CellGrid& grid, std::span<int64_t> order) {
  int line = 4;  // its cells, as a power of 2
  while (grid.cells() >> line > 2 * std::ssize(corners)) ++line;
  std::vector<int64_t> starts(static_cast<size_t>((grid.cells() >> line) + 2));
  for (const Corners& point : corners) ++starts[(point.first >> line) + 1];
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  for (int64_t p = 0; p < std::ssize(corners); ++p) order[starts[corners[p].first >> line]++] = p;
}

// The corners of some points, by columns, and the values there; there are always kTogether, of which the last may be of
// no point.
template <class T>
struct Together {
  int64_t count, rows[kTogether]{}, cells[kTogether]{};
  int64_t steps[4];                              // to the corners with the lower z
  int64_t lines[4 * kTogether], line_count = 0;  // of memory that have them
  double weights[8][kTogether]{};
  T values[4][2 * kTogether];  // side by side those of two corners along z

  Together(const std::vector<Corners>& points, std::span<const int64_t> order, int64_t first, const CellGrid& grid,
           int64_t channels)
      : count(std::ssize(order)) {
    for (int pair = 0; pair < 4; ++pair) steps[pair] = step_to(2 * pair, grid);
    for (int64_t p = 0; p < count; ++p) {
      const Corners& corners = points[rows[p] = first + order[p]];
      cells[p] = corners.first;
      for (int corner = 0; corner < 8; ++corner) weights[corner][p] = corners.weight(corner);
    }
    if (channels * grid.cells() * int64_t{sizeof(T)} <= kNear) return;
    for (const int64_t step : steps) {
      int64_t last = -1;
      for (int64_t p = 0; p < count; ++p)
        if (const int64_t line = (cells[p] + step) / kLine<T>; line != last) lines[line_count++] = last = line;
    }
  }

  // Reads channel c of `grids`, [channels, cells], and asks for the next one. Two values are copied at a time, which is
  // faster than the instructions that gather single ones.
  void read(const T* grids, const CellGrid& grid, int64_t c, int64_t channels) {
    const T* const channel = grids + c * grid.cells();
    if (c + 1 < channels)
      for (int64_t i = 0; i < line_count; ++i) __builtin_prefetch(channel + grid.cells() + lines[i] * kLine<T>);
    const T only[2] = {channel[0], channel[0]};
    const T* const from = grid.resolution > 1 ? channel : only;
    for (int64_t p = 0; p < kTogether; ++p)
      for (int pair = 0; pair < 4; ++pair)
        std::memcpy(values[pair] + 2 * p, from + cells[p] + steps[pair], 2 * sizeof(T));
  }
};

template <class T>
[[gnu::always_inline]] inline void interpolate(const Together<T>& points, T* found) {
  for (int64_t p = 0; p < kTogether; ++p) {
    double sum = 0;
#pragma GCC unroll 8
    for (int corner = 0; corner < 8; ++corner)
      sum += points.weights[corner][p] * static_cast<double>(points.values[corner / 2][2 * p + corner % 2]);
    found[p] = static_cast<T>(sum);
  }
}

template <class T>
[[gnu::always_inline]] inline void add_products(const Together<T>& points, const T* grads,
                                                double (&sums)[8][kTogether]) {
#pragma GCC unroll 8
  for (int corner = 0; corner < 8; ++corner)
    for (int64_t p = 0; p < kTogether; ++p)
      sums[corner][p] +=
          static_cast<double>(points.values[corner / 2][2 * p + corner % 2]) * static_cast<double>(grads[p]);
}

// Corners of all points, and calls of visit(item, Together) that together have each point once.
template <class T>
class PlacedPoints {
 public:
  PlacedPoints(const PointItems<T>& items, const CellGrid& grid)
      : items_(items), grid_(grid), corners_(items.points.size() / 3), order_(corners_.size()) {
    parallel_for(items.items(), [&](int64_t item) {
      find_corners(items, grid, item, corners_);
      const int64_t first = items.starts[item], count = items.starts[item + 1] - first;
      sort_by_cell(std::span(corners_).subspan(first, count), grid, std::span(order_).subspan(first, count));
    });
  }
  const std::vector<Corners>& corners() const { return corners_; }

  template <class Visit>
  void visit(int64_t channels, const Visit& visit) const {
    struct Work {
      int64_t item, begin, end;  // some points of an item
    };
    std::vector<Work> work;
    for (int64_t item = 0; item < items_.items(); ++item)
      for (int64_t p = items_.starts[item]; p < items_.starts[item + 1]; p += kPoints)
        work.push_back({item, p, std::min(items_.starts[item + 1], p + kPoints)});
    parallel_for(std::ssize(work), [&](int64_t i) {
      const auto [item, begin, end] = work[i];
      for (int64_t p = begin; p < end; p += kTogether) {
        const auto some = std::span(order_).subspan(p, std::min(kTogether, end - p));
        Together<T> points(corners_, some, items_.starts[item], grid_, channels);
        visit(item, points);
      }
    });
  }

 private:
  const PointItems<T>& items_;
  const CellGrid& grid_;
  std::vector<Corners> corners_;
  std::vector<int64_t> order_;  // of the points of each item
};

Place slope_at(const Corners& corners, const double (&sums)[8][kTogether], int64_t p) {
  Place slope{};
  for (int corner = 0; corner < 8; ++corner)
    for (int axis = 0; axis < 3; ++axis) {
      const double others = corners.share(corner, (axis + 1) % 3) * corners.share(corner, (axis + 2) % 3);
      slope[axis] += corner & (4 >> axis) ? sums[corner][p] * others : -sums[corner][p] * others;
    }
  for (size_t axis = 0; axis < 3; ++axis) slope[axis] = corners.within[axis] ? slope[axis] : 0;
  return slope;
}

template <class T>
void differentiate_points(std::span<const T> grads, std::span<const T> grids, const PointItems<T>& items,
                          const CellGrid& grid, int64_t channels, const PlacedPoints<T>& placed,
                          std::span<T> grad_points) {
  const int64_t size = grid.cells();
  const double scale = static_cast<double>(grid.resolution) / 2;
  std::vector<Place> slopes(placed.corners().size());
  placed.visit(channels, [&](int64_t item, Together<T>& points) {
    double sums[8][kTogether]{};
    for (int64_t c = 0; c < channels; ++c) {
      T own[kTogether]{};
      for (int64_t p = 0; p < points.count; ++p) own[p] = grads[points.rows[p] * channels + c];
      points.read(grids.data() + item * channels * size, grid, c, channels);
      simd::with_widest([&]() __attribute__((always_inline)) { add_products(points, own, sums); });
    }
    for (int64_t p = 0; p < points.count; ++p)
      slopes[points.rows[p]] = slope_at(placed.corners()[points.rows[p]], sums, p);
  });
  for (int64_t item = 0; item < items.items(); ++item) {
    const int64_t first = items.starts[item], count = items.starts[item + 1] - first;
    Place mean{};  // what each point moves all others by
    if (grid.subtract_mean)
      for (size_t axis = 0; axis < 3; ++axis) {
        for (int64_t p = first; p < first + count; ++p) mean[axis] += slopes[p][axis];
        mean[axis] /= static_cast<double>(std::max<int64_t>(1, count));
      }
    for (int64_t p = first; p < first + count; ++p)
      for (size_t axis = 0; axis < 3; ++axis)
        grad_points[p * 3 + axis] = static_cast<T>((slopes[p][axis] - mean[axis]) * scale);
  }
}

}  // namespace

template <class T>
void devoxelize(std::span<const T> grids, const PointItems<T>& items, const CellGrid& grid, int64_t channels,
                std::span<T> features) {
  const int64_t size = grid.cells();
  PlacedPoints<T>(items, grid).visit(channels, [&](int64_t item, Together<T>& points) {
    for (int64_t c = 0; c < channels; ++c) {
      points.read(grids.data() + item * channels * size, grid, c, channels);
      T found[kTogether];
      simd::with_widest([&]() __attribute__((always_inline)) { interpolate(points, found); });
      for (int64_t p = 0; p < points.count; ++p) features[points.rows[p] * channels + c] = found[p];
    }
  });
}

template <class T>
void devoxelize_backward(std::span<const T> grads, std::span<const T> grids, const PointItems<T>& items,
                         const CellGrid& grid, int64_t channels, std::span<T> grad_grids, std::span<T> grad_points) {
  const PlacedPoints<T> placed(items, grid);
  const std::vector<Corners>& corners = placed.corners();
  const int64_t size = grid.cells();
  int64_t steps[8];
  for (int corner = 0; corner < 8; ++corner) steps[corner] = step_to(corner, grid);
  parallel_for(items.items() * channels, [&](int64_t layer) {
    const int64_t item = layer / channels, c = layer % channels;
    T* const out = grad_grids.data() + layer * size;
    std::fill(out, out + size, T(0));
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p)
      for (int corner = 0; corner < 8; ++corner)
        out[corners[p].first + steps[corner]] +=
            static_cast<T>(corners[p].weight(corner) * static_cast<double>(grads[p * channels + c]));
  });
  differentiate_points(grads, grids, items, grid, channels, placed, grad_points);
}

template void devoxelize(std::span<const float>, const PointItems<float>&, const CellGrid&, int64_t, std::span<float>);
template void devoxelize(std::span<const double>, const PointItems<double>&, const CellGrid&, int64_t,
                         std::span<double>);
template void devoxelize_backward(std::span<const float>, std::span<const float>, const PointItems<float>&,
                                  const CellGrid&, int64_t, std::span<float>, std::span<float>);
template void devoxelize_backward(std::span<const double>, std::span<const double>, const PointItems<double>&,
                                  const CellGrid&, int64_t, std::span<double>, std::span<double>);

}  // namespace mk::points
