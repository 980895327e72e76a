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

// The row dz slices and dy rows away that comes before in raster order; elements touch where their x differ by at most
// `reach`. Earlier links of the same list may screen it: their rows touch it too, with `screen_reach`, and the row
// itself with reach 1, so that what is joined through them need not be joined once more.
struct RowLink {
  int dz, dy, reach;
  int screens = 0;  // of the list's first links
  int screen_reach = 0;
};

inline std::span<const RowLink> row_links(int connectivity) {
  static constexpr std::array<RowLink, 1> four{{{0, -1, 0}}}, eight{{{0, -1, 1}}};
  static constexpr std::array<RowLink, 2> six{{{-1, 0, 0}, {0, -1, 0}}};
  static constexpr std::array<RowLink, 4> eighteen{{{-1, 0, 1}, {0, -1, 1, 1, 0}, {-1, -1, 0, 2, 1}, {-1, 1, 0, 1, 1}}};
  static constexpr std::array<RowLink, 4> all{{{-1, 0, 1}, {0, -1, 1, 1, 1}, {-1, -1, 1, 2, 1}, {-1, 1, 1, 1, 1}}};
  switch (connectivity) {
    case 4: return four;
    case 8: return eight;
    case 6: return six;
    case 18: return eighteen;
    default: return all;
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

}  // namespace mk::regions
