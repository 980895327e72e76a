// Frames of an image: the maps from the unit disc to ellipses, their normalised patches, shapes and orientations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "features/buffer.h"
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

// Samples patches of one image again and again; one for each thread.
class PatchSampler {
 public:
  explicit PatchSampler(const ScaleSpace& space) : space_(&space) {}

  // A patch of side x side samples, `step` apart around the centre, in the coordinates of the ellipse. Row by row,
  // kPatchRow floats each, as blurred by a Gaussian of sigma 1 of these coordinates. The level of the scale space next
  // below is sampled, and the blur that it lacks along each axis is added. Valid until the next call.
  const float* sample(const Ellipse& ellipse, int side, double step);

 private:
  // How one axis of a patch is sampled and blurred: `dense` samples for each one that is kept.
  struct Axis {
    double length = 0, level_sigma = 0, step = 0;
    int dense = 1, margin = 0;
    std::vector<float> weights;

    void set(double new_length, double new_level_sigma, double new_step);
  };

  // Zeros at first, then whatever was there before.
  struct Scratch {
    Buffer floats;
    size_t size = 0;

    float* at_least(size_t wanted);
  };

  const ScaleSpace* space_;
  Axis across_, down_;
  std::vector<const float*> rows_;
  std::vector<int32_t> offsets_;
  Scratch samples_, blurred_, patch_;
};

// Affine adaptation: the ellipse in whose coordinates the second moments of the gradient are alike in all directions,
// with the area of the disc it starts from (Lindeberg and Garding 1997; Mikolajczyk and Schmid 2004).
Ellipse adapt(const Ellipse& disc, PatchSampler& sampler);

}  // namespace mk::features
