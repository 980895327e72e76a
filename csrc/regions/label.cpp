#include "regions/label.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace mk::regions {

namespace {

constexpr int kLanes = 8;

// Writes `value` to [from, to), and possibly up to kLanes - 1 elements more if they lie before `limit`: short
// stretches then cost one unconditional store. What is written too far is written again later.
void fill(int32_t* from, int32_t* to, int32_t* limit, int32_t value) {
  std::array<int32_t, kLanes> lanes;
  lanes.fill(value);
  for (; from < to; from += kLanes) {
    if (limit - from >= kLanes) {
      std::memcpy(from, lanes.data(), sizeof(lanes));
    } else {
      std::fill(from, to, value);
      return;
    }
  }
}

// Sums over the elements of a component, offsets taken from its first element.
struct Sums {
  std::array<int64_t, 3> origin;
  std::array<double, 3> first{};
  std::array<double, 6> second{};  // zz, zy, zx, yy, yx, xx
};

}  // namespace

void paint_labels(const RunForest& forest, std::span<int32_t> labels) {
  const int64_t width = forest.grid().width;
  forest.for_each_row([&](int64_t row) {
    int32_t* const line = labels.data() + row * width;
    int32_t* const end = line + width;
    int64_t x = 0;
    for (int64_t run = forest.first(row); run < forest.last(row); ++run) {
      fill(line + x, line + forest.start(run), end, 0);
      x = forest.stop(run);
      fill(line + forest.start(run), line + x, end, forest.component(run));
    }
    fill(line + x, end, end, 0);
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

  forest.for_each_run([&](int64_t row, int64_t run) {
    const int64_t c = forest.component(run) - 1, start = forest.start(run), stop = forest.stop(run);
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
    m.perimeter[c] += 2 + 2 * (dims - 1) * length;

    Sums& s = sums[c];
    const double n = static_cast<double>(length), z = static_cast<double>(low[0] - s.origin[0]),
                 y = static_cast<double>(low[1] - s.origin[1]), x0 = static_cast<double>(start - s.origin[2]);
    const double x = n * x0 + n * (n - 1) / 2;  // the sum of x0, x0 + 1, ...
    const double xx = n * x0 * x0 + x0 * n * (n - 1) + n * (n - 1) * (2 * n - 1) / 6;
    s.first = {s.first[0] + n * z, s.first[1] + n * y, s.first[2] + x};
    const std::array<double, 6> more{n * z * z, n * z * y, z * x, n * y * y, y * x, xx};
    for (int i = 0; i < 6; ++i) s.second[i] += more[i];

    // A side between two elements of a component, in this row and one before, is counted by both and exposed by
    // neither.
    const auto subtract_overlaps = [&](int64_t other) {
      const auto stops_before = [&](int64_t r) { return forest.stop(r) <= start; };
      int64_t r = forest.first(other), beyond = forest.last(other);
      while (r < beyond) {
        const int64_t middle = r + (beyond - r) / 2;
        if (stops_before(middle))
          r = middle + 1;
        else
          beyond = middle;
      }
      for (; r < forest.last(other) && forest.start(r) < stop; ++r)
        m.perimeter[c] -= 2 * (std::min(stop, forest.stop(r)) - std::max(start, forest.start(r)));
    };
    if (low[1] > 0) subtract_overlaps(row - 1);
    if (volume && low[0] > 0) subtract_overlaps(row - grid.height);
  });

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
