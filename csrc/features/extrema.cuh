// Blobs on a CUDA device: extrema of the differences of neighbouring scales, one thread a pixel. The arithmetic is that
// of features/extrema.cpp, operation by operation.
#pragma once

#include "features/scale_space.cuh"

namespace mk::cuda::affine {

constexpr int kNewtonSteps = 5;
constexpr double kNextPixel = 0.6;  // an extremum further off than this belongs to the next pixel
constexpr double kFurthest = 1.5;   // one that stays further off than this is none
constexpr double kPromising = 0.8;  // share of the threshold that a pixel must reach before refinement

struct FoundBlob {
  double dx, dy, ds, response;
  int32_t image, octave, s, y, x;
};

struct Differences {
  const float* values;  // of level 0
  int64_t pixels;
  int32_t width, height;

  __device__ float at(int s, int32_t y, int32_t x) const {
    const float* const low = values + s * pixels + int64_t{y} * width + x;
    return low[pixels] - low[0];
  }

  __device__ bool beats(float value, int s, int32_t y, int32_t x) const {
    return value > 0 ? value > at(s, y, x) : value < at(s, y, x);
  }

  // Greater, or less, than all 26 neighbours. Few pixels beat the four beside them.
  __device__ bool is_extremum(float value, int s, int32_t y, int32_t x) const {
    if (!beats(value, s, y, x - 1) || !beats(value, s, y, x + 1) || !beats(value, s, y - 1, x) ||
        !beats(value, s, y + 1, x))
      return false;
    for (int ds = -1; ds <= 1; ++ds) {
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          if ((ds != 0 || dy != 0 || dx != 0) && !beats(value, s + ds, y + dy, x + dx)) return false;
        }
      }
    }
    return true;
  }
};

// Solves [a b c; b d e; c e f] v = r by Cramer's rule; false where the matrix is singular.
__device__ inline bool solve(const double (&m)[6], const double (&r)[3], double (&v)[3]) {
  const double a = m[0], b = m[1], c = m[2], d = m[3], e = m[4], f = m[5];
  const double p = d * f - e * e, q = c * e - b * f, s = b * e - c * d;
  const double determinant = a * p + b * q + c * s;
  const double size = fmax(fmax(fmax(fabs(a), fabs(b)), fmax(fabs(c), fabs(d))), fmax(fabs(e), fabs(f)));
  if (!(fabs(determinant) > 1e-10 * size * size * size)) return false;
  const double t = a * f - c * c, u = b * c - a * e, w = a * d - b * b;
  v[0] = (p * r[0] + q * r[1] + s * r[2]) / determinant;
  v[1] = (q * r[0] + t * r[1] + u * r[2]) / determinant;
  v[2] = (s * r[0] + u * r[1] + w * r[2]) / determinant;
  return true;
}

__device__ inline int pixel_move(double by, int32_t at, int32_t size) {
  return (by > kNextPixel && at < size - 2 ? 1 : 0) - (by < -kNextPixel && at > 1 ? 1 : 0);
}

// Newton's method on the quadratic through a pixel's neighbours; false for flat, edge-like or runaway extrema.
__device__ inline bool refine(const Differences& d, const features::BlobOptions& options, FoundBlob& blob) {
  const int s = blob.s;
  int32_t y = blob.y, x = blob.x;
  double gradient[3], offset[3], xx, xy, yy;
  for (int step = 0;; ++step) {
    const auto value = [&](int ds, int dy, int dx) -> double { return d.at(s + ds, y + dy, x + dx); };
    const double middle = value(0, 0, 0);
    gradient[0] = (value(0, 0, 1) - value(0, 0, -1)) / 2;
    gradient[1] = (value(0, 1, 0) - value(0, -1, 0)) / 2;
    gradient[2] = (value(1, 0, 0) - value(-1, 0, 0)) / 2;
    xx = value(0, 0, 1) + value(0, 0, -1) - 2 * middle;
    yy = value(0, 1, 0) + value(0, -1, 0) - 2 * middle;
    xy = (value(0, 1, 1) + value(0, -1, -1) - value(0, -1, 1) - value(0, 1, -1)) / 4;
    const double ss = value(1, 0, 0) + value(-1, 0, 0) - 2 * middle;
    const double xs = (value(1, 0, 1) + value(-1, 0, -1) - value(-1, 0, 1) - value(1, 0, -1)) / 4;
    const double ys = (value(1, 1, 0) + value(-1, -1, 0) - value(-1, 1, 0) - value(1, -1, 0)) / 4;
    if (!solve({xx, xy, xs, yy, ys, ss}, {-gradient[0], -gradient[1], -gradient[2]}, offset)) return false;
    if (step + 1 == kNewtonSteps) break;
    const int dx = pixel_move(offset[0], x, d.width), dy = pixel_move(offset[1], y, d.height);
    if (dx == 0 && dy == 0) break;
    x += dx;
    y += dy;
  }
  const double response =
      d.at(s, y, x) + (gradient[0] * offset[0] + gradient[1] * offset[1] + gradient[2] * offset[2]) / 2;
  // The ratio r of the curvatures follows from trace^2 / determinant = (r + 1)^2 / r.
  const double determinant = xx * yy - xy * xy, share = (xx + yy) * (xx + yy) / determinant;
  const double ratio = (share / 2 - 1) + sqrt(fmax(share / 4 - 1, 0.0) * share);
  const bool near = fabs(offset[0]) < kFurthest && fabs(offset[1]) < kFurthest && fabs(offset[2]) < kFurthest;
  if (!near || !(fabs(response) >= options.peak_threshold) || !(determinant > 0) || !(ratio < options.edge_threshold))
    return false;
  blob = {offset[0], offset[1], offset[2], response, blob.image, blob.octave, s, y, x};
  return true;
}

// Blobs of one octave in any order, and how many there are, which may be more than there is room for. Neighbours may
// be led to the same pixel, which is then listed more than once, with the same numbers.
__global__ void __launch_bounds__(kThreads)
    find_extrema(DeviceSpace space, int octave, Pieces pieces, features::BlobOptions options, FoundBlob* found,
                 uint32_t room, uint32_t* count) {
  const DeviceOctave& from = space.octaves[octave];
  const float least = static_cast<float>(kPromising * options.peak_threshold);
  pieces.visit([&](int32_t plane, int32_t inner_y, int32_t inner_x) {
    const int image = plane / space.levels, s = 1 + plane % space.levels;
    const int32_t y = inner_y + 1, x = inner_x + 1;
    const Differences differences{space.plane(octave, image, 0), from.pixels(), from.width, from.height};
    const float value = differences.at(s, y, x);
    if (!(fabsf(value) >= least) || !differences.is_extremum(value, s, y, x)) return;
    FoundBlob blob{0, 0, 0, 0, image, octave, s, y, x};
    if (!refine(differences, options, blob)) return;
    const uint32_t at = atomicAdd(count, 1u);
    if (at < room) found[at] = blob;
  });
}

}  // namespace mk::cuda::affine
