#include "regions/area_open.h"

#include <algorithm>

#include "regions/runs.h"

namespace mk::regions {

void area_open(std::span<const uint8_t> mask, const Grid& grid, int64_t least, int64_t most, std::span<uint8_t> kept) {
  const RunForest forest(mask, grid, false);
  const auto area = forest.gather<int64_t>(
      [](int64_t) { return [](int64_t& sum, int64_t start, int64_t stop) { sum += stop - start; }; },
      [](int64_t& sum, int64_t more) { sum += more; });
  forest.for_each_strip([&](int64_t begin, int64_t end) {
    std::fill(kept.data() + begin * grid.width, kept.data() + end * grid.width, uint8_t{0});
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* const line = kept.data() + row * grid.width;
      forest.for_each_run(row, [&](int64_t start, int64_t stop, uint32_t label) {
        const int64_t found = area[forest.component(label) - 1];
        if (found >= least && found <= most) std::fill(line + start, line + stop, uint8_t{1});
      });
    }
  });
}

}  // namespace mk::regions
