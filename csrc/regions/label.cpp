#include "regions/label.h"

#include <algorithm>
#include <array>
#include <vector>

#include "regions/bit_rows.h"

namespace mk::regions {

namespace {

// Sums over the elements of a component, offsets taken from its first element.
struct Sums {
  std::array<int64_t, 3> origin;
  std::array<double, 3> first{};
  std::array<double, 6> second{};  // zz, zy, zx, yy, yx, xx
};

}  // namespace

void paint_labels(const RunForest& forest, std::span<int32_t> labels) {
  const int64_t width = forest.grid().width;
  forest.for_each_strip([&](int64_t begin, int64_t end) {
    std::vector<int32_t> values(forest.most_runs_of_a_row() + 1 + kPaintSlack);
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t i = 0; i < forest.runs(row); ++i) values[i + 1] = forest.component(row, i);
      bit_rows().paint(forest.bits(row), values.data(), width, labels.data() + row * width);
    }
  });
}

Measures measure(const RunForest& forest) {
  const Grid& grid = forest.grid();
  const bool volume = grid.connectivity == 6 || grid.connectivity > 8;
  const int dims = volume ? 3 : 2, skip = 3 - dims;
  const int64_t count = forest.count();
  Measures m;
  m.area.resize(count);
  m.perimeter.resize(count);
  m.box.resize(count * 2 * dims);
  std::vector<Sums> sums(count);

  const auto add = [&](int64_t row, int64_t start, int64_t stop, int64_t c) {
    const std::array<int64_t, 3> low{row / grid.height, row % grid.height, start};
    const std::array<int64_t, 3> high{low[0] + 1, low[1] + 1, stop};
    int64_t* const box = m.box.data() + c * 2 * dims;
    const bool fresh = m.area[c] == 0;
    if (fresh) sums[c].origin = low;
    for (int d = 0; d < dims; ++d) {
      box[d] = fresh ? low[d + skip] : std::min(box[d], low[d + skip]);
      box[dims + d] = fresh ? high[d + skip] : std::max(box[dims + d], high[d + skip]);
    }
    const int64_t length = stop - start;
    m.area[c] += length;
    // A side between two elements of a component, in this row and one before, is counted by both and exposed by
    // neither.
    int64_t covered = 0;
    if (low[1] > 0) covered += forest.count_set(row - 1, start, stop);
    if (volume && low[0] > 0) covered += forest.count_set(row - grid.height, start, stop);
    m.perimeter[c] += 2 + 2 * (dims - 1) * length - 2 * covered;

    Sums& s = sums[c];
    const double n = static_cast<double>(length), z = static_cast<double>(low[0] - s.origin[0]),
                 y = static_cast<double>(low[1] - s.origin[1]), x0 = static_cast<double>(start - s.origin[2]);
    const double x = n * x0 + n * (n - 1) / 2;  // the sum of x0, x0 + 1, ...
    const double xx = n * x0 * x0 + x0 * n * (n - 1) + n * (n - 1) * (2 * n - 1) / 6;
    s.first = {s.first[0] + n * z, s.first[1] + n * y, s.first[2] + x};
    const std::array<double, 6> more{n * z * z, n * z * y, z * x, n * y * y, y * x, xx};
    for (int i = 0; i < 6; ++i) s.second[i] += more[i];
  };
  for (int64_t row = 0; row < grid.rows(); ++row)
    forest.for_each_run(row,
                        [&](int64_t start, int64_t stop, int32_t component) { add(row, start, stop, component - 1); });

  m.centroid.resize(count * dims);
  m.moments.resize(count * dims * dims);
  static constexpr int place[3][3] = {{0, 1, 2}, {1, 3, 4}, {2, 4, 5}};
  for (int64_t c = 0; c < count; ++c) {
    const double area = static_cast<double>(m.area[c]);
    for (int i = 0; i < dims; ++i) {
      const int a = i + skip;
      const double mean = sums[c].first[a] / area;
      m.centroid[c * dims + i] = static_cast<double>(sums[c].origin[a]) + mean;
      for (int j = 0; j < dims; ++j)
        m.moments[(c * dims + i) * dims + j] =
            sums[c].second[place[a][j + skip]] / area - mean * (sums[c].first[j + skip] / area);
    }
  }
  return m;
}

}  // namespace mk::regions
