// Frames of an image: the maps from the unit disc to ellipses, their normalised patches, shapes and orientations.
#pragma once

#include <vector>

#include "features/scale_space.h"

namespace mk::features {

// p -> (a p.x + b p.y + x, c p.x + d p.y + y), in pixels.
struct Frame {
  double a, b, c, d, x, y;
};

// A frame whose axes are at a right angle: turn by (cos, sin), lengths `major` >= `minor` along x and y.
struct Ellipse {
  double cos, sin, major, minor, x, y;

  Frame frame() const { return {cos * major, -sin * minor, sin * major, cos * minor, x, y}; }
};

// The ellipse of a frame; the turn of the disc within the frame is lost.
Ellipse ellipse_of(const Frame& frame);

// A patch of side x side samples, `step` apart around the centre, in the coordinates of a frame.
struct PatchShape {
  int side;
  double step;
};

// Samples patches of one image again and again; one for each thread.
class PatchSampler {
 public:
  explicit PatchSampler(const ScaleSpace& space) : space_(&space) {}

  // Row by row, as blurred by a Gaussian of sigma 1 of the ellipse's own coordinates. The level of the scale space next
  // below is sampled, and the blur that it lacks along each axis is added. Valid until the next call.
  const float* sample(const Ellipse& ellipse, const PatchShape& shape);

 private:
  // How one axis of a patch is sampled and blurred: `dense` samples for each one that is kept.
  struct Axis {
    int dense, margin;
    std::vector<float> weights;

    void set(double length, double level_sigma, double step);
    int samples(int side) const { return (side - 1) * dense + 1 + 2 * margin; }
  };

  void blur(const std::vector<float>& weights, const float* in, int64_t stride, int64_t size, float* out);

  const ScaleSpace* space_;
  Axis across_, down_;
  std::vector<float> samples_, blurred_, patch_;
  std::vector<const float*> rows_;
};

// Affine adaptation: the ellipse in whose coordinates the second moments of the gradient are alike in all directions,
// with the least axis of the disc it starts from (Lindeberg and Garding 1997; Mikolajczyk and Schmid 2004).
Ellipse adapt(const Ellipse& disc, PatchSampler& sampler);

}  // namespace mk::features
