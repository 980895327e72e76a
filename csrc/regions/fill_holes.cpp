#include "regions/fill_holes.h"

#include <algorithm>
#include <vector>

#include "regions/runs.h"

namespace mk::regions {

void fill_holes(std::span<const uint8_t> mask, const Grid& grid, std::span<uint8_t> filled) {
  const RunForest forest(mask, grid, true);
  const bool volume = grid.connectivity == 6 || grid.connectivity > 8;
  std::vector<uint8_t> open(forest.count() + 1, 0);
  forest.for_each_run([&](int64_t row, int64_t run) {
    const int64_t z = row / grid.height, y = row % grid.height;
    const bool at_border = forest.start(run) == 0 || forest.stop(run) == grid.width || y == 0 || y == grid.height - 1 ||
                           (volume && (z == 0 || z == grid.depth - 1));
    if (at_border) open[forest.component(run)] = 1;
  });
  forest.for_each_row([&](int64_t row) {
    uint8_t* const line = filled.data() + row * grid.width;
    std::fill_n(line, grid.width, uint8_t{1});
    for (int64_t run = forest.first(row); run < forest.last(row); ++run)
      if (open[forest.component(run)]) std::fill(line + forest.start(run), line + forest.stop(run), uint8_t{0});
  });
}

}  // namespace mk::regions
