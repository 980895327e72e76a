// Where a primitive lies on a sheet, row by row and vector by vector, and its profile there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "render/sheets.h"

namespace mk::render {

// Rounding may put a voxel on either side of the cut-off: rows are widened by this much (px), and the comparison
// of rho^2 with the cut-off decides.
constexpr double kRowSlack = 1e-3;
// Larger curvatures would overflow float; the primitive is then far thinner than a voxel and only its centre shows.
constexpr double kMaxCurvature = 1e30;

struct Range {
  int64_t begin, end;
};

// Integers in [center - half, center + half] and in [low, high).
inline Range clip(double center, double half, int64_t low, int64_t high) {
  const double begin = std::max(std::ceil(center - half), static_cast<double>(low));
  const double end = std::min(std::floor(center + half) + 1.0, static_cast<double>(high));
  return begin < end ? Range{static_cast<int64_t>(begin), static_cast<int64_t>(end)} : Range{low, low};
}

// Everything a vector of one row needs, in the precision of the image.
template <class T>
struct Row {
  int64_t y, x_begin, x_end;
  double x_center;  // where rho^2 is smallest on this row
  double b;
  T floor, curvature;  // rho^2 = floor + curvature (x - x_center)^2
};

// Rows are measured a block at a time, one lane a row: for small primitives this is half of the work.
constexpr int kRowBlock = 16;

struct RowBlock {
  double x_center[kRowBlock], b[kRowBlock], floor[kRowBlock];
  int64_t x_begin[kRowBlock], x_end[kRowBlock];
};

template <class V>
[[gnu::always_inline]] inline void measure_rows(const Quadric& q, double c, double reach2, int64_t y, int64_t count,
                                                int64_t width, RowBlock& rows) {
  using Real = typename V::Real;
  for (int64_t i = 0; i < count; i += V::lanes) {
    const Real dy = V::iota() + (static_cast<double>(y + i) - q.cy);
    const Real b = dy + q.tyz * c;
    const Real floor = q.kz * c * c + q.ky * b * b;
    const Real x_center = (q.cx - q.txz * c) - q.txy * dy;
    const Real left = reach2 - floor;
    const Real inside = left > 0.0 ? left : Real{};
    const Real half = V::sqrt(inside / q.kx) + kRowSlack;
    const auto begin = V::round(V::clamp(x_center - half, 0.0, static_cast<double>(width)));
    const auto end = V::round(V::clamp(x_center + half, -1.0, static_cast<double>(width - 1))) + 1;
    const auto kept_end = left < 0.0 ? begin : end;
    V::store(rows.x_center + i, x_center);
    V::store(rows.b + i, b);
    V::store(rows.floor + i, floor);
    std::memcpy(rows.x_begin + i, &begin, sizeof(begin));
    std::memcpy(rows.x_end + i, &kept_end, sizeof(kept_end));
  }
}

// Calls visit(Row) for each row of the sheet that the primitive touches.
template <class V, class T, class Visit>
[[gnu::always_inline]] inline void for_each_row(const Sheet<T>& sheet, const Quadric& q, double reach2,
                                                const Visit& visit) {
  const double c = static_cast<double>(sheet.z) - q.cz;
  const double slice_floor = q.kz * c * c;
  if (slice_floor > reach2) return;
  const Range ys = clip(q.cy - q.tyz * c, std::sqrt((reach2 - slice_floor) / q.ky), sheet.y_begin, sheet.y_end);
  const T curvature = static_cast<T>(std::min(q.kx, kMaxCurvature));
  RowBlock rows;
  for (int64_t y = ys.begin; y < ys.end; y += kRowBlock) {
    const int64_t count = std::min<int64_t>(kRowBlock, ys.end - y);
    measure_rows<typename V::Double>(q, c, reach2, y, count, sheet.width, rows);
    for (int64_t i = 0; i < count; ++i) {
      visit(Row<T>{y + i, rows.x_begin[i], rows.x_end[i], rows.x_center[i], rows.b[i], static_cast<T>(rows.floor[i]),
                   curvature});
    }
  }
}

template <class T>
struct ProfileConstants {
  bool sigmoid;
  T inverse_tau, reach2;
  explicit ProfileConstants(const Look& look)
      : sigmoid(look.profile == Profile::sigmoid),
        inverse_tau(static_cast<T>(1.0 / look.tau)),
        reach2(static_cast<T>(look.reach_squared())) {}
};

// Profile value at rho^2 and its derivative by rho^2, zero beyond the cut-off.
template <class V, class T, bool WithSlope>
[[gnu::always_inline]] inline void evaluate(const ProfileConstants<T>& p, const typename V::Real& rho2,
                                            typename V::Real& value, typename V::Real& slope) {
  using Real = typename V::Real;
  const Real square = rho2 + T(kRhoEps);
  if (p.sigmoid) {
    const Real inverse = V::rsqrt(square);
    const Real rho = square * inverse;
    value = V::reciprocal(T(1) + V::exp((rho - T(1)) * p.inverse_tau));
    if constexpr (WithSlope) slope = value * (value - T(1)) * inverse * (T(0.5) * p.inverse_tau);
  } else {
    value = V::exp(square * T(-0.5));
    if constexpr (WithSlope) slope = value * T(-0.5);
  }
  const auto inside = rho2 <= p.reach2;
  value = inside ? value : Real{};
  if constexpr (WithSlope) slope = inside ? slope : Real{};
}

// Calls visit(offset into a plane, e = x - x_center, value, slope) for each vector of the row.
template <class V, class T, bool WithSlope, class Visit>
[[gnu::always_inline]] inline void for_each_vector(const Sheet<T>& sheet, const Row<T>& row,
                                                   const ProfileConstants<T>& profile, const Visit& visit) {
  using Real = typename V::Real;
  const int64_t row_offset = (row.y - sheet.y_begin) * sheet.row_stride;
  const Real iota = V::iota();
  for (int64_t x = row.x_begin; x < row.x_end; x += V::lanes) {
    const Real e = iota + static_cast<T>(static_cast<double>(x) - row.x_center);
    const Real rho2 = row.floor + row.curvature * e * e;
    Real value, slope;
    evaluate<V, T, WithSlope>(profile, rho2, value, slope);
    visit(row_offset + x, e, value, slope);
  }
}

}  // namespace mk::render
