#include "regions/fill_holes.h"

#include <algorithm>

#include "regions/runs.h"

namespace mk::regions {

void fill_holes(std::span<const uint8_t> mask, const Grid& grid, std::span<uint8_t> filled) {
  const RunForest forest(mask, grid, true);
  const bool volume = grid.connectivity == 6 || grid.connectivity > 8;
  const auto open = forest.gather<uint8_t>(
      [&](int64_t row) {
        const int64_t z = row / grid.height, y = row % grid.height;
        const bool border_row = y == 0 || y == grid.height - 1 || (volume && (z == 0 || z == grid.depth - 1));
        return [&, border_row](uint8_t& reaches, int64_t start, int64_t stop) {
          reaches |= border_row || start == 0 || stop == grid.width;
        };
      },
      [](uint8_t& reaches, uint8_t more) { reaches |= more; });
  forest.for_each_strip([&](int64_t begin, int64_t end) {
    std::fill(filled.data() + begin * grid.width, filled.data() + end * grid.width, uint8_t{1});
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* const line = filled.data() + row * grid.width;
      forest.for_each_run(row, [&](int64_t start, int64_t stop, uint32_t label) {
        if (open[forest.component(label) - 1]) std::fill(line + start, line + stop, uint8_t{0});
      });
    }
  });
}

}  // namespace mk::regions
