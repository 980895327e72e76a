// Elements of a picture or volume with a border around them, so that every element has all its neighbours.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>

#include "regions/grid.h"

namespace mk::regions {

struct Step {
  int z, y, x;
  constexpr int axes() const { return (z != 0) + (y != 0) + (x != 0); }  // along which it goes
};

// The steps to the neighbours of an element in raster order.
template <int Connectivity>
constexpr auto neighbour_steps() {
  constexpr bool volume = Connectivity == 6 || Connectivity > 8;
  constexpr int axes = Connectivity == 4 || Connectivity == 6 ? 1 : Connectivity == 26 ? 3 : 2;
  std::array<Step, Connectivity> steps{};
  int count = 0;
  for (int z = volume ? -1 : 0; z <= (volume ? 1 : 0); ++z)
    for (int y = -1; y <= 1; ++y)
      for (int x = -1; x <= 1; ++x)
        if (const Step step{z, y, x}; step.axes() > 0 && step.axes() <= axes) steps[count++] = step;
  return steps;
}

// Rows of a picture, or slices of a volume, [begin, end), each with one more column, and one more row in slices; these
// and what lies before and after are the border.
struct Box {
  int64_t begin, end, height, width;  // of an element: (z, y, x); a picture has rows as y and one slice
  int64_t row, slice, before;         // places
  bool volume;

  Box(const Grid& grid, int64_t first, int64_t last)
      : begin(first),
        end(last),
        height(grid.height),
        width(grid.width),
        row(width + 1),
        slice((height + 1) * row),
        before(is_volume(grid) ? slice + row + 1 : row + 1),
        volume(is_volume(grid)) {}

  static bool is_volume(const Grid& grid) { return grid.connectivity == 6 || grid.connectivity > 8; }
  // What boxes are cut along: slices of a volume, rows of a picture.
  static int64_t length(const Grid& grid) { return is_volume(grid) ? grid.depth : grid.height; }

  int64_t places() const { return 2 * before + (end - begin) * (volume ? slice : row); }
  int64_t rows() const { return (end - begin) * (volume ? height : 1); }
  int64_t first_row() const { return begin * (volume ? height : 1); }  // in raster order
  int64_t size() const { return rows() * width; }

  int64_t offset(Step step) const { return step.z * slice + step.y * row + step.x; }
  // Of an element of the box, z and y counted from its beginning.
  int64_t place(int64_t z, int64_t y, int64_t x) const { return before + z * slice + y * row + x; }
  int64_t place_of_row(int64_t r) const { return volume ? place(r / height, r % height, 0) : place(0, r, 0); }

  struct Pixel {
    int64_t y, x;
  };
  // Of a place in a picture whose rows are all in the box.
  Pixel pixel(int64_t place) const {
    const auto from = static_cast<uint32_t>(place - before), columns = static_cast<uint32_t>(row);
    return {from / columns, from % columns};
  }

  // The number of the element at a place, in raster order.
  int64_t element(int64_t place) const {
    const int64_t from = place - before;
    if (!volume) return (from / row + begin) * width + from % row;
    const int64_t inside = from % slice;
    return ((from / slice + begin) * height + inside / row) * width + inside % row;
  }
};

}  // namespace mk::regions
