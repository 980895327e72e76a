// Arrays of a call as the bindings of this domain take them, and their checks.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "common/check.h"
#include "points/clouds.h"

namespace mk::points {

// C-contiguous and of the exact type: the Python layer has already converted. Items of one call share their dtype.
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;
template <class T>
using Arrays = std::vector<Array<T>>;

template <class T>
std::vector<Cloud<T>> clouds(const Arrays<T>& arrays) {
  std::vector<Cloud<T>> result;
  for (const auto& array : arrays)
    result.push_back({{array.data(), static_cast<size_t>(array.size())}, array.shape(0), array.shape(1)});
  return result;
}

template <class T>
void check_clouds(const std::vector<Cloud<T>>& items, const std::vector<std::string>& names) {
  const char* wanted =
      std::is_same_v<T, float> ? "finite and at most 1e18 in size" : "finite and at most 1e150 in size";
  for (size_t i = 0; i < items.size(); ++i)
    check_values(items[i].values, names[i], wanted, [](T value) { return std::abs(value) <= kMost<T>; });
}

template <class T>
std::span<const T> input(const Array<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <class T>
std::vector<std::span<const T>> inputs(const Arrays<T>& arrays) {
  std::vector<std::span<const T>> result;
  for (const auto& array : arrays) result.push_back(input(array));
  return result;
}

template <class T>
std::span<T> output(Array<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

template <class T>
std::vector<std::span<T>> outputs(Arrays<T>& arrays) {
  std::vector<std::span<T>> result;
  for (auto& array : arrays) result.push_back(output(array));
  return result;
}

// Numbers of points, or -1 where `absent` are allowed.
inline void check_indices(std::span<const int64_t> indices, const std::string& name, int64_t points, bool absent) {
  const int64_t least = absent ? -1 : 0;
  const std::string wanted = "from " + std::to_string(least) + " to " + std::to_string(points - 1);
  check_values(indices, name, wanted, [=](int64_t index) { return index >= least && index < points; });
}

}  // namespace mk::points
