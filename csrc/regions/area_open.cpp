#include "regions/area_open.h"

#include <algorithm>
#include <vector>

#include "regions/runs.h"

namespace mk::regions {

void area_open(std::span<const uint8_t> mask, const Grid& grid, int64_t least, int64_t most, std::span<uint8_t> kept) {
  const RunForest forest(mask, grid, false);
  std::vector<int64_t> area(forest.count() + 1, 0);
  forest.for_each_run(
      [&](int64_t, int64_t run) { area[forest.component(run)] += forest.stop(run) - forest.start(run); });
  forest.for_each_row([&](int64_t row) {
    uint8_t* const line = kept.data() + row * grid.width;
    std::fill_n(line, grid.width, uint8_t{0});
    for (int64_t run = forest.first(row); run < forest.last(row); ++run) {
      const int64_t found = area[forest.component(run)];
      if (found >= least && found <= most) std::fill(line + forest.start(run), line + forest.stop(run), uint8_t{1});
    }
  });
}

}  // namespace mk::regions
