// Differentiable soft ellipses over a background (arXiv 2411.12070): parameters <-> quadrics, see quadrics.h.
// Pixel (row i, column j) is the point (x = j, y = i).
#pragma once

#include <cstdint>
#include <span>

#include "render/quadrics.h"

namespace mk::render {

template <class T>
struct Ellipses {
  int64_t batch, count, channels, height, width;
  std::span<const T> centers, axes;  // [batch, count, 2] (x, y); semi-axes
  std::span<const T> angles;         // [batch, count] from +x towards +y, rad
  std::span<const T> colors;         // [batch, count, channels]
  std::span<const T> opacity;        // [batch, count]
  std::span<const T> background;     // [batch, channels] or [batch, channels, height, width]
  Look look;
};

template <class T>
struct EllipsesGradient {
  std::span<T> centers, axes, angles, colors, opacity, background;
};

// Both throw std::invalid_argument for values out of range, before anything is computed.
template <class T>
void draw_ellipses(const Ellipses<T>& in, std::span<T> image);
template <class T>
void differentiate_ellipses(const Ellipses<T>& in, std::span<const T> grad_image, const EllipsesGradient<T>& out);

}  // namespace mk::render
