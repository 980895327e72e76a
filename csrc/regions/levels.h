// Values of a box as levels from 1, for floods.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "regions/box.h"
#include "regions/flood_scratch.h"

namespace mk::regions {

// Calls copy(values of a row, their levels, how many) for all rows of the box, and sets the border to 0.
template <class T, class Copy>
void fill_levels(std::span<const T> image, const Box& box, FloodScratch& scratch, const Copy& copy) {
  uint16_t* const levels = scratch.levels.resize(box.places());
  const T* from = image.data() + box.first_row() * box.width;
  std::fill(levels, levels + box.before, uint16_t{0});
  for (int64_t r = 0; r < box.rows(); ++r, from += box.width) {
    uint16_t* const to = levels + box.place_of_row(r);
    copy(from, to, box.width);
    const int64_t next = r + 1 < box.rows() ? box.place_of_row(r + 1) : box.places();
    std::fill(to + box.width, levels + next, uint16_t{0});
  }
}

// Elements of each level. Counts in turn, so that equal values do not wait for each other.
inline std::vector<int32_t> count_bytes(std::span<const uint8_t> values, bool negative) {
  constexpr size_t bins = 256, turns = 4;
  std::array<std::array<int32_t, bins>, turns> seen{};
  size_t i = 0;
  for (; i + turns <= values.size(); i += turns)
    for (size_t t = 0; t < turns; ++t) ++seen[t][values[i + t]];
  for (; i < values.size(); ++i) ++seen[0][values[i]];
  std::vector<int32_t> counts(bins + 1, 0);
  for (size_t v = 0; v < bins; ++v)
    for (const auto& part : seen) counts[1 + (negative ? bins - 1 - v : v)] += part[v];
  return counts;
}

// The levels of bytes: 1 + value, or 256 - value for the negative.
inline void fill_bytes(std::span<const uint8_t> image, const Box& box, bool negative, FloodScratch& scratch) {
  const int flip = negative ? 255 : 0;
  fill_levels(image, box, scratch, [&](const uint8_t* from, uint16_t* to, int64_t count) {
    for (int64_t x = 0; x < count; ++x) to[x] = static_cast<uint16_t>((from[x] ^ flip) + 1);
  });
}

}  // namespace mk::regions
