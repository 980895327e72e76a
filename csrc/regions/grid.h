// A picture or volume as rows of elements, and which earlier rows touch a row.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "common/parallel.h"

namespace mk::regions {

// Row z * height + y holds the elements (z, y, 0..width). A picture has depth 1.
struct Grid {
  int64_t depth, height, width;
  int connectivity;  // 4 or 8 in a picture; 6, 18 or 26 in a volume

  int64_t rows() const { return depth * height; }
  int64_t size() const { return rows() * width; }
};

// The row dz slices and dy rows away, both 0 or less in raster order; elements touch where their x differ by at most
// `reach`.
struct RowLink {
  int dz, dy, reach;
};

inline std::span<const RowLink> row_links(int connectivity) {
  static constexpr std::array<RowLink, 1> four{{{0, -1, 0}}}, eight{{{0, -1, 1}}};
  static constexpr std::array<RowLink, 2> six{{{0, -1, 0}, {-1, 0, 0}}};
  static constexpr std::array<RowLink, 4> eighteen{{{0, -1, 1}, {-1, 0, 1}, {-1, -1, 0}, {-1, 1, 0}}};
  static constexpr std::array<RowLink, 4> all{{{0, -1, 1}, {-1, 0, 1}, {-1, -1, 1}, {-1, 1, 1}}};
  switch (connectivity) {
    case 4: return four;
    case 8: return eight;
    case 6: return six;
    case 18: return eighteen;
    default: return all;
  }
}

// Calls visit(earlier row, reach) for the rows in [first, last) that touch `row` and come before it.
template <class Visit>
void for_each_link(const Grid& grid, int64_t row, int64_t first, int64_t last, const Visit& visit) {
  const int64_t z = row / grid.height, y = row % grid.height;
  for (const RowLink& link : row_links(grid.connectivity)) {
    if (z + link.dz < 0 || y + link.dy < 0 || y + link.dy >= grid.height) continue;
    const int64_t other = row + link.dz * grid.height + link.dy;
    if (other >= first && other < last) visit(other, link.reach);
  }
}

// Consecutive rows that one thread works on. Results may not depend on how many strips there are.
struct Strips {
  int64_t rows, count;

  Strips(const Grid& grid, int64_t per_thread) : rows(grid.rows()) {
    constexpr int64_t worthwhile = 1 << 15;  // elements
    count = std::clamp<int64_t>(grid.size() / worthwhile, 1, per_thread * num_threads());
    count = std::min(count, std::max<int64_t>(rows, 1));
  }
  std::pair<int64_t, int64_t> operator[](int64_t i) const { return {rows * i / count, rows * (i + 1) / count}; }
};

// Calls link(row, earlier row, reach) for all pairs of touching rows with a border of strips between them.
template <class Link>
void link_strips(const Grid& grid, const Strips& strips, const Link& link) {
  const int64_t back = (grid.depth > 1 ? grid.height : 0) + 1;  // the earliest row that a row can touch
  for (int64_t s = 1; s < strips.count; ++s) {
    const auto [first, last] = strips[s];
    for (int64_t row = first; row < std::min(last, first + back); ++row)
      for_each_link(grid, row, 0, first, [&](int64_t other, int reach) { link(row, other, reach); });
  }
}

}  // namespace mk::regions
