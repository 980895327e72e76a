// Loops over rows of pixels, for the instruction set of this processor.
#pragma once

#include <cstdint>

namespace mk::features {

// Positions x0 + i dx, y0 + i dy, in pixels of an image at least 2 x 2; those beyond its rim count as on it.
struct Ray {
  float x0, y0, dx, dy;
};

struct Pixels {
  const float* values;
  int32_t width, height;
};

struct PixelRows {
  // out[x] = sum over k of weights[k] rows[k][x].
  void (*weighted_sum)(const float* const* rows, const float* weights, int count, int64_t width, float* out);
  // Bilinear values along a ray.
  void (*sample)(const Pixels& image, const Ray& ray, int count, float* out);
  // Central differences of neighbouring values (twice the derivative for a step of 1): their length, and their angle
  // in turns, 0 to 1, from +x towards -y. `row` has its own neighbours left and right.
  void (*gradients)(const float* above, const float* row, const float* below, int count, float* lengths, float* turns);
  // Adds weight x^2, weight x y and weight y^2 of the central differences (x, y) to three rows of sums.
  void (*moments)(const float* above, const float* row, const float* below, const float* weights, int count,
                  float* sums);
};

const PixelRows& pixel_rows();

}  // namespace mk::features
