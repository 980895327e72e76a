// Affine-covariant features: blobs, the ellipses around them that deform with the image, and SIFT descriptors.
#pragma once

#include <cstdint>
#include <vector>

#include "features/extrema.h"
#include "features/frames.h"
#include "features/sift.h"

namespace mk::features {

struct FeatureOptions {
  BlobOptions blobs;
  int levels;            // scales in an octave
  bool doubled;          // whether the image is doubled first, to find the smallest blobs
  bool adapt;            // ellipses rather than discs
  bool orient;           // frames turned along the gradients rather than upright
  int64_t max_features;  // blobs that are kept, the strongest; orientations may make more frames of them
};

struct Features {
  std::vector<Frame> frames;
  std::vector<float> descriptors;  // [frames, kDescriptorLength]
  std::vector<double> responses;
};

// `image` has values around 0 to 1 and at least 2 x 2 pixels. Features come by response, strongest first.
Features affine_covariant(const Pixels& image, const FeatureOptions& options);

}  // namespace mk::features
