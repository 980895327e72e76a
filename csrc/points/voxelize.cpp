#include "points/voxelize.h"

#include <vector>

#include "common/parallel.h"

namespace mk::points {

namespace {

// Channels that a task goes over together, so that a line of features is read once for all of them.
constexpr int64_t kChannels = 16;

struct Cells {
  std::vector<int64_t> cells;    // [points]
  std::vector<int32_t> fellows;  // [points]: how many points are in the cell of this one
};

template <class T>
Cells find_cells(const PointItems<T>& items, const CellGrid& grid) {
  const int64_t n = grid.resolution;
  const size_t points = items.points.size() / 3;
  Cells found{std::vector<int64_t>(points), std::vector<int32_t>(points)};
  parallel_for(items.items(), [&](int64_t item) {
    std::vector<int32_t> counts(grid.cells());
    visit_places(items, grid, item, [&](int64_t p, const Place& place) {
      int64_t cell = 0;
      // The nearest cell, the even one of two that are equally near.
      for (const double along : place) cell = cell * n + static_cast<int64_t>(std::nearbyint(held(along, grid)));
      found.cells[p] = cell;
      ++counts[cell];
    });
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p) found.fellows[p] = counts[found.cells[p]];
  });
  return found;
}

}  // namespace

template <class T>
void voxelize(const PointItems<T>& items, std::span<const T> features, const CellGrid& grid, int64_t channels,
              std::span<T> grids) {
  const Cells found = find_cells(items, grid);
  const int64_t blocks = (channels + kChannels - 1) / kChannels, size = grid.cells();
  parallel_for(items.items() * blocks, [&](int64_t task) {
    const int64_t item = task / blocks, first = task % blocks * kChannels;
    const int64_t last = std::min(channels, first + kChannels);
    T* const out = grids.data() + item * channels * size;
    std::fill(out + first * size, out + last * size, T(0));
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p)
      for (int64_t c = first; c < last; ++c) out[c * size + found.cells[p]] += features[p * channels + c];
    std::vector<bool> done(size);
    for (int64_t p = items.starts[item]; p < items.starts[item + 1]; ++p) {
      const int64_t cell = found.cells[p];
      if (done[cell]) continue;
      done[cell] = true;
      for (int64_t c = first; c < last; ++c) out[c * size + cell] /= static_cast<T>(found.fellows[p]);
    }
  });
}

template <class T>
void voxelize_backward(std::span<const T> grad_grids, const PointItems<T>& items, const CellGrid& grid,
                       int64_t channels, std::span<T> features) {
  const Cells found = find_cells(items, grid);
  const int64_t size = grid.cells();
  for (int64_t item = 0; item < items.items(); ++item) {
    const int64_t first = items.starts[item];
    const T* const grad = grad_grids.data() + item * channels * size;
    parallel_blocks(items.starts[item + 1] - first, [&](int64_t begin, int64_t end) {
      for (int64_t p = first + begin; p < first + end; ++p)
        for (int64_t c = 0; c < channels; ++c)
          features[p * channels + c] = grad[c * size + found.cells[p]] / static_cast<T>(found.fellows[p]);
    });
  }
}

template void voxelize(const PointItems<float>&, std::span<const float>, const CellGrid&, int64_t, std::span<float>);
template void voxelize(const PointItems<double>&, std::span<const double>, const CellGrid&, int64_t, std::span<double>);
template void voxelize_backward(std::span<const float>, const PointItems<float>&, const CellGrid&, int64_t,
                                std::span<float>);
template void voxelize_backward(std::span<const double>, const PointItems<double>&, const CellGrid&, int64_t,
                                std::span<double>);

}  // namespace mk::points
