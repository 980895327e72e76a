// An image at growing scales: octaves of half the size each, and levels within them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "features/buffer.h"
#include "features/pixel_rows.h"

namespace mk::features {

// Of a pixel. Squares of gradients, and sums of them, stay far from the end of float32.
inline constexpr float kMostGrey = 1e15f;

// Blur of level 0 of each octave, in its own pixels, and blur that an image comes with, in its own (Lowe 2004).
inline constexpr double kBaseSigma = 1.6, kInputSigma = 0.5;

struct Octave {
  int32_t width, height;
  double step;                 // pixels of the image from one pixel of the octave to the next
  std::vector<Buffer> levels;  // blurred by kBaseSigma 2^(s / levels) of its own pixels

  Pixels level(int s) const { return {levels[s].get(), width, height}; }
};

struct ScaleSpace {
  int levels;  // that an octave adds; each holds three more, so that differences have neighbours
  std::vector<Octave> octaves;

  // In pixels of the image.
  double sigma(size_t octave, double level) const;
};

// `image` has at least 2 x 2 pixels. Pixel (0, 0) of all octaves lies at the centre of its pixel (0, 0). With `doubled`
// the first octave has twice the size.
ScaleSpace scale_space(const Pixels& image, int levels, bool doubled);

// A Gaussian sampled at whole numbers up to `reach` sigmas from 0, of sum 1; one weight where sigma is (nearly) 0.
void gaussian(double sigma, double reach, std::vector<float>& weights);

}  // namespace mk::features
