// Orientations and descriptors of normalised patches (Lowe 2004).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "features/frames.h"
#include "features/patch_loops.h"

namespace mk::features {

inline constexpr int kDescriptorLength = kCells * kCells * kDirections;

// The gradients of the patch around an ellipse, from which orientations and descriptors are made.
class PatchGradients {
 public:
  PatchGradients(const Ellipse& ellipse, PatchSampler& sampler);

  // At most four turns (cos, sin) of the disc within the ellipse that lay its x-axis along a direction in which many
  // gradients point, by how many.
  std::vector<std::array<double, 2>> orientations() const;

  // 4 x 4 places by 8 directions, of length 1, in a frame turned by (cos, sin) within the ellipse. All zero where the
  // patch is flat.
  void describe(double cos, double sin, std::span<float> descriptor) const;

 private:
  std::array<float, kGradientSide * kPatchRow> lengths_, turns_;
};

}  // namespace mk::features
