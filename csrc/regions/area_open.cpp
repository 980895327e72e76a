#include "regions/area_open.h"

#include <algorithm>
#include <vector>

#include "regions/runs.h"

namespace mk::regions {

void area_open(std::span<const uint8_t> mask, const Grid& grid, int64_t least, int64_t most, std::span<uint8_t> kept) {
  const RunForest forest(mask, grid, false);
  std::vector<int64_t> area(forest.count() + 1, 0);
  for (int64_t row = 0; row < grid.rows(); ++row)
    forest.for_each_run(row, [&](int64_t start, int64_t stop, int32_t component) { area[component] += stop - start; });
  forest.for_each_strip([&](int64_t begin, int64_t end) {
    std::fill(kept.data() + begin * grid.width, kept.data() + end * grid.width, uint8_t{0});
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* const line = kept.data() + row * grid.width;
      forest.for_each_run(row, [&](int64_t start, int64_t stop, int32_t component) {
        if (area[component] >= least && area[component] <= most) std::fill(line + start, line + stop, uint8_t{1});
      });
    }
  });
}

}  // namespace mk::regions
