// The inner loops: primitives over a block of rows of one slice, one vector of voxels at a time.
#pragma once

#include <cstdint>
#include <span>

#include "render/quadrics.h"

namespace mk::render {

// Rows [y_begin, y_end) of slice z, as planes of `row_stride` x (y_end - y_begin) values. Rows are padded by
// kRowPadding, so a vector may start at any voxel of a row; what lands in the padding is never used.
template <class T>
struct Sheet {
  int64_t z, y_begin, y_end, width, row_stride;
  int channels;
  T* planes;

  int64_t plane_size() const { return row_stride * (y_end - y_begin); }
  T* plane(int index) const { return planes + index * plane_size(); }
};

constexpr int64_t kRowPadding = 16;

// The primitives that may touch a sheet, in index order, as indices into one image's arrays.
template <class T>
struct Shapes {
  std::span<const int32_t> ids;
  const Quadric* quadrics;
  const T* colors;
  const T* opacity;
  Look look;
};

// Planes of a sheet. Order-free drawing needs the first two and one a channel from kColorPlane on. The
// backward pass reuses the same planes for per-voxel factors of the gradient; "over" needs a second set
// of channel planes for dL/dimage.
constexpr int kThroughPlane = 0;  // prod(1 - alpha); for "over" its logarithm
constexpr int kWeightPlane = 1;   // sum(alpha)
constexpr int kColorPlane = 2;    // sum(alpha color); for "over" the image so far

// Sums of one primitive over one sheet: q = dL/d(rho^2) against powers of (a, b) of its Quadric.
struct SheetSums {
  double q, qa, qb, qaa, qab, qbb, opacity;
};

template <class T>
struct SheetKernels {
  void (*draw)(const Sheet<T>&, const Shapes<T>&);               // union: all planes; over: color planes
  void (*log_transmittance)(const Sheet<T>&, const Shapes<T>&);  // over: adds log(1 - alpha) to kThroughPlane
  // sums[i] and color_sums[i * channels + c] belong to shapes.ids[i]; both are added to.
  void (*differentiate)(const Sheet<T>&, const Shapes<T>&, SheetSums* sums, double* color_sums);
  // One row of one channel of an order-free image.
  void (*union_finish)(int64_t width, const T* ground, const T* through, const T* weight, const T* color, T* out);
  // One row of one channel of what an order-free `differentiate` reads: color becomes G, passed is dL/dbackground,
  // x_factor and z_factor add up over the channels; scale is 1 / sum(alpha).
  void (*union_factors)(int64_t width, const T* g, const T* ground, const T* through, const T* scale, T* color,
                        T* passed, T* x_factor, T* z_factor);
};

// The kernels for this composition and channel count on this processor.
template <class T>
SheetKernels<T> sheet_kernels(Composition composition, int channels);

}  // namespace mk::render
