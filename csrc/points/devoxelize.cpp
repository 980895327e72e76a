#include "points/devoxelize.h"

#include <vector>

#include "common/parallel.h"
#include "common/widest.h"

namespace mk::points {

namespace {

constexpr int64_t kPoints = 1024;  // that a thread takes at a time
constexpr int64_t kTogether = 64;  // points that are interpolated together

// The eight cells around a point; bit 2 of a corner tells whether it is the farther one along x, bit 0 along z.
struct Corners {
  int64_t first;                 // the cell of corner 0
  std::array<int64_t, 3> steps;  // to the next cell along an axis
  std::array<double, 3> parts;   // of the way to it
  std::array<bool, 3> within;    // whether the point was within the grid, so that parts change with it
  int64_t cell(int corner) const {
    return first + (corner & 4 ? steps[0] : 0) + (corner & 2 ? steps[1] : 0) + (corner & 1 ? steps[2] : 0);
  }
  double share(int corner, int axis) const { return corner & (4 >> axis) ? parts[axis] : 1 - parts[axis]; }
  double weight(int corner) const { return share(corner, 0) * share(corner, 1) * share(corner, 2); }
};

template <class T>
std::vector<Corners> find_corners(const PointItems<T>& items, const CellGrid& grid) {
  const int64_t n = grid.resolution;
  const std::array<int64_t, 3> strides{n * n, n, 1};
  std::vector<Corners> found(items.points.size() / 3);
  parallel_for(items.items(), [&](int64_t item) {
    visit_places(items, grid, item, [&](int64_t p, const Place& place) {
      Corners& corners = found[p];
      corners.first = 0;
      for (size_t axis = 0; axis < 3; ++axis) {
        const double at = held(place[axis], grid);
        const int64_t low = std::max<int64_t>(0, std::min(static_cast<int64_t>(at), n - 2));
        corners.first += low * strides[axis];
        corners.steps[axis] = n > 1 ? strides[axis] : 0;
        corners.parts[axis] = at - static_cast<double>(low);
        corners.within[axis] = n > 1 && at == place[axis];
      }
    });
  });
  return found;
}

// The corners of some points, by columns; there are always kTogether, of which the last may be of no point.
struct CornerColumns {
  int64_t count;
  int64_t cells[8][kTogether]{};
  double weights[8][kTogether]{};

  explicit CornerColumns(std::span<const Corners> points) : count(static_cast<int64_t>(points.size())) {
    for (int corner = 0; corner < 8; ++corner)
      for (int64_t p = 0; p < count; ++p) {
        cells[corner][p] = points[p].cell(corner);
        weights[corner][p] = points[p].weight(corner);
      }
  }
};

template <class T>
[[gnu::always_inline]] inline void interpolate(const T* values, const CornerColumns& columns, T* found) {
  for (int64_t p = 0; p < kTogether; ++p) {
    double sum = 0;
#pragma GCC unroll 8
    for (int corner = 0; corner < 8; ++corner)
      sum += columns.weights[corner][p] * static_cast<double>(values[columns.cells[corner][p]]);
    found[p] = static_cast<T>(sum);
  }
}

template <class T>
Place slope_at(const Corners& corners, const T* values, const T* grads, int64_t channels, int64_t size) {
  Place slope{};
  for (int corner = 0; corner < 8; ++corner) {
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c)
      sum += static_cast<double>(values[c * size + corners.cell(corner)]) * static_cast<double>(grads[c]);
    for (int axis = 0; axis < 3; ++axis) {
      const double others = corners.share(corner, (axis + 1) % 3) * corners.share(corner, (axis + 2) % 3);
      slope[axis] += corner & (4 >> axis) ? sum * others : -sum * others;
    }
  }
  for (size_t axis = 0; axis < 3; ++axis) slope[axis] = corners.within[axis] ? slope[axis] : 0;
  return slope;
}

template <class T>
void differentiate_points(std::span<const T> grads, std::span<const T> grids, const PointItems<T>& items,
                          const CellGrid& grid, int64_t channels, const std::vector<Corners>& corners,
                          std::span<T> grad_points) {
  const int64_t size = grid.cells();
  const double scale = static_cast<double>(grid.resolution) / 2;
  std::vector<Place> slopes(corners.size());
  for (int64_t item = 0; item < items.items(); ++item) {
    const int64_t first = items.starts[item], count = items.starts[item + 1] - first;
    const T* const values = grids.data() + item * channels * size;
    parallel_blocks(count, [&](int64_t begin, int64_t end) {
      for (int64_t p = first + begin; p < first + end; ++p)
        slopes[p] = slope_at(corners[p], values, grads.data() + p * channels, channels, size);
    });
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
  struct Work {
    int64_t item, begin, end;  // some points of an item
  };
  std::vector<Work> work;
  for (int64_t item = 0; item < items.items(); ++item)
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; p += kPoints)
      work.push_back({item, p, std::min(items.starts[item + 1], p + kPoints)});
  const std::vector<Corners> corners = find_corners(items, grid);
  const int64_t size = grid.cells();
  parallel_for(static_cast<int64_t>(work.size()), [&](int64_t i) {
    const auto [item, begin, end] = work[i];
    std::vector<CornerColumns> columns;
    for (int64_t p = begin; p < end; p += kTogether)
      columns.emplace_back(std::span(corners).subspan(p, std::min(kTogether, end - p)));
    for (int64_t c = 0; c < channels; ++c) {  // the outer loop, so that a channel stays in the cache
      const T* const values = grids.data() + (item * channels + c) * size;
      T* to = features.data() + begin * channels + c;
      for (const CornerColumns& some : columns) {
        T found[kTogether];
        simd::with_widest([&]() __attribute__((always_inline)) { interpolate(values, some, found); });
        for (int64_t p = 0; p < some.count; ++p, to += channels) *to = found[p];
      }
    }
  });
}

template <class T>
void devoxelize_backward(std::span<const T> grads, std::span<const T> grids, const PointItems<T>& items,
                         const CellGrid& grid, int64_t channels, std::span<T> grad_grids, std::span<T> grad_points) {
  const std::vector<Corners> corners = find_corners(items, grid);
  const int64_t size = grid.cells();
  parallel_for(items.items() * channels, [&](int64_t layer) {
    const int64_t item = layer / channels, c = layer % channels;
    T* const out = grad_grids.data() + layer * size;
    std::fill(out, out + size, T(0));
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p)
      for (int corner = 0; corner < 8; ++corner)
        out[corners[p].cell(corner)] +=
            static_cast<T>(corners[p].weight(corner) * static_cast<double>(grads[p * channels + c]));
  });
  differentiate_points(grads, grids, items, grid, channels, corners, grad_points);
}

template void devoxelize(std::span<const float>, const PointItems<float>&, const CellGrid&, int64_t, std::span<float>);
template void devoxelize(std::span<const double>, const PointItems<double>&, const CellGrid&, int64_t,
                         std::span<double>);
template void devoxelize_backward(std::span<const float>, std::span<const float>, const PointItems<float>&,
                                  const CellGrid&, int64_t, std::span<float>, std::span<float>);
template void devoxelize_backward(std::span<const double>, std::span<const double>, const PointItems<double>&,
                                  const CellGrid&, int64_t, std::span<double>, std::span<double>);

}  // namespace mk::points
