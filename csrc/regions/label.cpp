#include "regions/label.h"

#include <vector>

#include "regions/bit_rows.h"

namespace mk::regions {

void paint_labels(const RunForest& forest, std::span<int32_t> labels) {
  const int64_t width = forest.grid().width;
  forest.for_each_strip([&](int64_t begin, int64_t end) {
    std::vector<int32_t> values(forest.most_runs_of_a_row() + 1 + kPaintSlack);
    for (int64_t row = begin; row < end; ++row) {
      int32_t* to = values.data() + 1;
      for (const uint32_t label : forest.labels(row)) *to++ = forest.component(label);
      bit_rows().paint(forest.bits(row), values.data(), width, labels.data() + row * width);
    }
  });
}

}  // namespace mk::regions
