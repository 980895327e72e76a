// Loops over normalised patches, for the instruction set of this processor.
#pragma once

#include <cstdint>

#include "features/pixel_rows.h"

namespace mk::features {

// Floats from one row of a patch to the next. Samples past the side of a patch, up to here, are finite but mean
// nothing.
inline constexpr int kPatchRow = 48;

// Places of samples, in pixels of an image: the first, and the steps to the next one of its row and of its column.
// Those beyond the rim of the image count as on it.
struct Grid {
  double x, y;
  float right_x, right_y, down_x, down_y;
  int rows, columns;
};

inline constexpr int kShapeSide = 41;                     // of patches whose shape is measured
inline constexpr int kDescribedSide = 45;                 // of patches that are described
inline constexpr int kGradientSide = kDescribedSide - 2;  // samples of these with neighbours on all sides
inline constexpr int kCells = 4, kDirections = 8;         // places along each side of a descriptor; directions

// A grid of kCells x kCells cells around the centre of a patch: the coordinates, in cells, grow by (cos, -sin) from
// one sample to the next of its row and by (sin, cos) from one to the next of its column.
struct CellGrid {
  float cos, sin;
  float turn;  // taken off all angles, in turns, -1 to 1
};

struct PatchLoops {
  // Bilinear values. Rows start `stride` floats apart, and are filled up to a multiple of 16.
  void (*sample)(const Pixels& image, const Grid& grid, int64_t stride, float* out);
  // out[i kPatchRow + j] = sum over k of weights[k] in[i stride + offsets[k] + j], for all j below kPatchRow.
  void (*across)(const float* in, int64_t stride, const int32_t* offsets, const float* weights, int count, int rows,
                 float* out);
  // Sums of weight x^2, weight x y and weight y^2 over the central differences (x, y) of a patch of kShapeSide.
  // Weights are laid out as the patch, and 0 around its rim.
  void (*moments)(const float* patch, const float* weights, float* sums);
  // Central differences of a patch of kDescribedSide (twice the derivative for a step of 1): their length, and their
  // angle in turns, 0 to 1, from +x towards -y. Rows are kPatchRow apart.
  void (*gradients)(const float* patch, float* lengths, float* turns);
  // Adds the gradients, times the window, to cells and directions in linear shares: [kDirections, kCells, kCells].
  void (*histogram)(const float* lengths, const float* turns, const float* window, const CellGrid& cells, float* sums);
};

const PatchLoops& patch_loops();

}  // namespace mk::features
