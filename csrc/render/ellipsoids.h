// Differentiable soft ellipsoids over a background: ellipses.h in three dimensions.
// Voxel (slice i, row j, column k) is the point (x = k, y = j, z = i).
#pragma once

#include <cstdint>
#include <span>

#include "render/quadrics.h"

namespace mk::render {

template <class T>
struct Ellipsoids {
  int64_t batch, count, channels, depth, height, width;
  std::span<const T> centers, axes;  // [batch, count, 3] (x, y, z); semi-axes
  std::span<const T> rotations;      // [batch, count, 4] quaternions (w, x, y, z) of any non-zero length
  std::span<const T> colors;         // [batch, count, channels]
  std::span<const T> opacity;        // [batch, count]
  std::span<const T> background;     // [batch, channels] or [batch, channels, depth, height, width]
  Look look;
};

template <class T>
struct EllipsoidsGradient {
  std::span<T> centers, axes, rotations, colors, opacity, background;
};

// Both throw std::invalid_argument for values out of range, before anything is computed.
template <class T>
void draw_ellipsoids(const Ellipsoids<T>& in, std::span<T> volume);
template <class T>
void differentiate_ellipsoids(const Ellipsoids<T>& in, std::span<const T> grad_volume,
                              const EllipsoidsGradient<T>& out);

}  // namespace mk::render
