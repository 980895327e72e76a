// Checks of argument values, shared by all ops. A failed check names the argument, the value and its place.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace mk {

// Throws unless `good(value)` holds for every element.
template <class T, class Good>
void check_values(std::span<const T> values, std::string_view name, std::string_view wanted, const Good& good) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (good(values[i])) continue;
    std::ostringstream message;
    message << name << " must be " << wanted << ", but element " << i << " (in row-major order) is " << values[i];
    throw std::invalid_argument(message.str());
  }
}

template <class T>
void check_finite(std::span<const T> values, std::string_view name) {
  check_values(values, name, "finite", [](T v) { return std::isfinite(v); });
}

}  // namespace mk
