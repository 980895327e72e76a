// Blobs: extrema of the differences of neighbouring scales (Lowe 2004).
#pragma once

#include <vector>

#include "features/scale_space.h"

namespace mk::features {

struct Blob {
  double x, y, sigma;  // in pixels of the image
  double response;     // the difference of scales there, at the sub-pixel extremum
};

struct BlobOptions {
  double peak_threshold;  // least size of the response
  double edge_threshold;  // greatest ratio of the two curvatures
};

// By size of the response, greatest first; then by scale and place.
std::vector<Blob> find_blobs(const ScaleSpace& space, const BlobOptions& options);

}  // namespace mk::features
