// Rows of inputs interpolated along z and y, one a class: what the outputs of one row lie between.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "segmentation/resampling.h"

namespace mk::segmentation {

// The logits of one item, [classes, depth, height, width] in row-major order.
template <class T>
struct Volume {
  const T* data;
  int64_t classes, depth, height, width;

  int64_t row_offset(int64_t c, int64_t z, int64_t y) const { return ((c * depth + z) * height + y) * width; }
  const T* row(int64_t c, int64_t z, int64_t y) const { return data + row_offset(c, z, y); }
};

// How the outputs of items are computed from their inputs.
template <class T>
struct Resampling {
  Axis<T> z, y;
  Slots<T> x;

  Resampling(const Volume<T>& from, int64_t depth, int64_t height, int64_t width)
      : z(from.depth, depth), y(from.height, height), x(Axis<T>(from.width, width)) {}
  int64_t outputs() const { return z.to * y.to * x.outputs; }
};

// The outputs between two inputs along z and two along y are computed one after the other, for some classes only where
// that is enough. Products are rounded before they are added: low a_k + high a_{k+1}, along z, then along y.
//
// Rows are copied once, for their distance in memory is often a power of two, at which few stay in a cache. Those that
// a cell shares with the one before it are kept.
template <class T>
class NodeRows {
 public:
  NodeRows(int64_t classes, const Resampling<T>& resampling);

  // Begins with the outputs between these planes and rows of inputs.
  void enter_cell(const Volume<T>& volume, int64_t z0, int64_t z1, int64_t y0, int64_t y1);
  // Interpolates the two rows between the two planes.
  void enter_plane(T low, T high, std::span<const int32_t> classes);
  // Interpolates between the two rows of the plane.
  void enter_row(T low, T high, std::span<const int32_t> classes);

  // Those of class c start at c * stride; a copy of the first input follows the last.
  const T* rows() const { return rows_.data(); }
  // The rows of the cell, laid out in the same way: y0 or y1, of plane z0 or z1.
  const T* corner(int64_t plane, int64_t row) const { return corners_[(row + turned_) % 2].data() + plane * size_; }

 private:
  void copy_row(const Volume<T>& volume, int64_t z0, int64_t z1, int64_t y, T* to);

  int64_t inputs_, stride_, width_, size_;
  std::array<std::vector<T>, 2> corners_;  // of each row both planes
  int64_t turned_ = 0;                     // y0 is in the second of them
  std::vector<T> sides_, rows_;
  const T* last_data_ = nullptr;  // the cell before
  int64_t last_plane_ = 0, last_row_ = 0;
};

// The rows of inputs of one item, over all planes, in parts that are worked on one row after the other.
struct Parts {
  int64_t rows, share, count;
  explicit Parts(int64_t all_rows)
      : rows(all_rows), share((rows + kMostParts - 1) / kMostParts), count((rows + share - 1) / share) {}
  int64_t begin(int64_t part) const { return part * share; }
  int64_t end(int64_t part) const { return std::min(rows, (part + 1) * share); }

  static constexpr int64_t kMostParts = 128;
};

}  // namespace mk::segmentation
