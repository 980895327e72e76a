// Checks of argument values, shared by all ops. A failed check names the argument, the value and its place.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace mk {

// Throws unless `good(value)` holds for every element. Looks at a block without leaving it early, so that the
// compiler can use vectors, and searches only a block that failed.
template <class T, class Good>
void check_values(std::span<const T> values, std::string_view name, std::string_view wanted, const Good& good) {
  constexpr size_t block = 1024;
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const size_t end = std::min(begin + block, values.size());
    int bad = 0;
    for (size_t i = begin; i < end; ++i) bad |= !good(values[i]);
    if (!bad) continue;
    const size_t i = std::find_if_not(values.begin() + begin, values.begin() + end, good) - values.begin();
    std::ostringstream message;
    message << name << " must be " << wanted << ", but element " << i << " (in row-major order) is " << values[i];
    throw std::invalid_argument(message.str());
  }
}

template <class T>
void check_finite(std::span<const T> values, std::string_view name) {
  check_values(values, name, "finite", [](T v) { return std::abs(v) <= std::numeric_limits<T>::max(); });
}

}  // namespace mk
