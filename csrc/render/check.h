// Value checks that ellipses and ellipsoids share.
#pragma once

#include <cmath>
#include <span>

#include "common/check.h"

namespace mk::render {

template <class T>
void check_common(std::span<const T> centers, std::span<const T> axes, std::span<const T> colors,
                  std::span<const T> opacity, std::span<const T> background) {
  check_finite(centers, "centers");
  // Beyond these bounds the squares that the kernels compute with leave the range of double.
  check_values(axes, "axes", "finite and greater than 0 (from 1e-30 to 1e30)",
               [](T v) { return v >= T(1e-30) && v <= T(1e30); });
  check_finite(colors, "colors");
  check_values(opacity, "opacity", "at least 0 and less than 1", [](T v) { return v >= T(0) && v < T(1); });
  check_finite(background, "background");
}

}  // namespace mk::render
