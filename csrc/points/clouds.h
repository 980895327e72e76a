// Point clouds as the kernels take them.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace mk::points {

constexpr int64_t kMostDimensions = 64;

// Coordinates up to here keep squared distances finite.
template <class T>
constexpr T kMost = std::is_same_v<T, float> ? T(1e18) : T(1e150);

// `size` points of `dimensions` coordinates, row by row, so small that squared distances are finite.
template <class T>
struct Cloud {
  std::span<const T> values;
  int64_t size = 0, dimensions = 0;
  const T* row(int64_t i) const { return values.data() + i * dimensions; }
};

}  // namespace mk::points
