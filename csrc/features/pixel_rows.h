// Loops over rows of pixels, for the instruction set of this processor.
#pragma once

#include <cstdint>

namespace mk::features {

struct Pixels {
  const float* values;
  int32_t width, height;
};

struct PixelRows {
  // out[x] = sum over k of weights[k] rows[k][x].
  void (*weighted_sum)(const float* const* rows, const float* weights, int count, int64_t width, float* out);
  // The first x from `begin` to before `end` where high - low is at least `least` in size and exceeds, or falls short
  // of, its neighbours left, right, above and below, `width` floats away; `end` where there is none.
  int64_t (*next_peak)(const float* low, const float* high, int64_t width, int64_t begin, int64_t end, float least);
};

const PixelRows& pixel_rows();

}  // namespace mk::features
