// Checks of argument values, shared by all ops. A failed check names the argument, the value and its place.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string_view>

#include "common/parallel.h"
#include "common/widest.h"

namespace mk {

// Throws unless `good(value)` holds for every element. Looks at blocks without leaving them early, so that the
// compiler can use vectors, in parallel; then searches the first block that failed.
template <class T, class Good>
void check_values(std::span<const T> values, std::string_view name, std::string_view wanted, const Good& good) {
  constexpr int64_t block = 1 << 15;
  const int64_t size = static_cast<int64_t>(values.size()), blocks = (size + block - 1) / block;
  std::atomic<bool> all_good{true};
  parallel_for(blocks, [&](int64_t b) {
    const auto part = values.subspan(b * block, std::min(block, size - b * block));
    int bad = 0;
    simd::with_widest([&]() __attribute__((always_inline)) {
      for (const T& value : part) bad |= !good(value);
    });
    if (bad) all_good = false;
  });
  if (all_good) return;
  const auto first = std::find_if_not(values.begin(), values.end(), good);
  std::ostringstream message;
  message << name << " must be " << wanted << ", but element " << first - values.begin() << " (in row-major order) is "
          << *first;
  throw std::invalid_argument(message.str());
}

template <class T>
void check_finite(std::span<const T> values, std::string_view name) {
  check_values(values, name, "finite", [](T v) { return std::abs(v) <= std::numeric_limits<T>::max(); });
}

}  // namespace mk
