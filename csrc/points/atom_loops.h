// One atom over a slab of a grid: the inner loops of grid_atoms.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/widest.h"

namespace mk::points {

// Points of a row that are computed together.
constexpr int64_t kTogether = 16;

// Rows of a grid are far apart in memory: they are asked for so many planes before they are read.
constexpr int64_t kPlanesAhead = 2;

// Offsets beyond this many radii are all the same: nothing reaches there, and squares stay finite.
constexpr double kFar = 1e6;

struct Density {
  double squared_core, squared_reach, reach, parabola;
  bool binary;
};

// Points [begin, end) of an axis that an atom may reach.
struct AxisRange {
  int32_t begin, end;
  int64_t count() const { return end - begin; }
};

// The points of an axis as an atom sees them, in radii; padded with points that are out of reach.
template <class T>
struct AxisTable {
  std::vector<T> offsets, squares, gaussians;
  std::vector<double> exact_squares;  // for binary grids, in the unit of the coordinates

  explicit AxisTable(int64_t points) {
    const int64_t size = (points + kTogether - 1) / kTogether * kTogether;
    for (auto* column : {&offsets, &squares, &gaussians}) column->resize(size);
    exact_squares.resize(size);
  }
};

// Some planes of one channel.
template <class Value>
struct Slab {
  Value* values;
  int64_t points, first, planes;
  Value* row(int64_t i, int64_t j) const { return values + ((i - first) * points + j) * points; }
  Value* end() const { return values + planes * points * points; }
};

// exp(x) for x from -F::exp_limit to 0; lower ones as the limit. As simd::Vector::exp, in a form that the compiler
// turns into vectors.
template <class T>
[[gnu::always_inline]] inline T exp_of(T unclamped) {
  using F = simd::Format<T>;
  const T x = unclamped > -F::exp_limit ? unclamped : -F::exp_limit;
  const T shifted = x * T(1.44269504088896340736) + F::round_magic;
  const T n = shifted - F::round_magic;
  const T r = (x - n * F::ln2_high) - n * F::ln2_low;
  T series = simd::inverse_factorial<T>(F::exp_terms);
#pragma GCC unroll 16
  for (int k = F::exp_terms - 1; k >= 0; --k) series = series * r + simd::inverse_factorial<T>(k);
  const auto exponent = std::bit_cast<typename F::Int>(shifted) - std::bit_cast<typename F::Int>(F::round_magic);
  return series * std::bit_cast<T>((exponent + F::bias) << F::mantissa_bits);
}

// `first` is the offset of the first point of the range from the atom.
template <class T>
[[gnu::always_inline]] inline void tabulate(const AxisRange& range, double first, double step, double radius,
                                            bool binary, AxisTable<T>& table) {
  const int64_t count = range.count(), padded = (count + kTogether - 1) / kTogether * kTogether;
  T* const offsets = table.offsets.data();
  T* const squares = table.squares.data();
  T* const gaussians = table.gaussians.data();
  if (binary) {
    for (int64_t k = 0; k < padded; ++k) {
      const double offset = first + step * static_cast<double>(k);
      table.exact_squares[k] = k < count ? offset * offset : HUGE_VAL;
    }
    return;
  }
  for (int32_t k = 0; k < padded; ++k) {
    const double offset = (first + step * static_cast<double>(k)) / radius;
    offsets[k] = static_cast<T>(offset < kFar ? (offset > -kFar ? offset : -kFar) : kFar);
  }
  for (int64_t k = 0; k < padded; ++k) {
    squares[k] = offsets[k] * offsets[k];
    gaussians[k] = exp_of(T(-2) * squares[k]);
  }
  for (int64_t k = count; k < padded; ++k) {
    squares[k] = T(kFar * kFar);
    offsets[k] = 0;
  }
}

template <class T>
struct AtomTables {
  AxisTable<T> x, y, z;
  explicit AtomTables(int64_t points) : x(points), y(points), z(points) {}
};

// Adds an atom to rows of a slab; `ranges` are those within it.
template <class T>
[[gnu::always_inline]] inline void add_atom(const Slab<T>& slab, const AxisRange* ranges, const AtomTables<T>& tables,
                                            const Density& density) {
  const T core = static_cast<T>(density.squared_core), squared_reach = static_cast<T>(density.squared_reach);
  const T reach = static_cast<T>(density.reach), parabola = static_cast<T>(density.parabola);
  const int64_t count = ranges[2].count();
  T staged[kTogether];
  for (int64_t i = ranges[0].begin; i < ranges[0].end; ++i)
    for (int64_t j = ranges[1].begin; j < ranges[1].end; ++j) {
      const int64_t at_x = i - ranges[0].begin, at_y = j - ranges[1].begin;
      const T square = tables.x.squares[at_x] + tables.y.squares[at_y];
      if (square >= squared_reach) continue;
      const T gaussian = tables.x.gaussians[at_x] * tables.y.gaussians[at_y];
      T* const row = slab.row(i, j) + ranges[2].begin;
      for (int64_t k = 0; k < count; k += kTogether) {
        const T* const squares = tables.z.squares.data() + k;
        const T* const gaussians = tables.z.gaussians.data() + k;
        // What follows the row is added zeros to, unless it belongs to another slab.
        const int64_t room = std::min<int64_t>(kTogether, slab.end() - (row + k));
        T* const out = room < kTogether ? staged : row + k;
        if (room < kTogether) std::copy_n(row + k, room, staged);
        for (int64_t l = 0; l < kTogether; ++l) {
          const T squared = square + squares[l];
          const T left = reach - std::sqrt(squared);
          const T tail = left > T(0) ? parabola * left * left : T(0);
          out[l] += squared <= core ? gaussian * gaussians[l] : tail;
        }
        if (room < kTogether) std::copy_n(staged, room, row + k);
      }
    }
}

template <class T>
[[gnu::always_inline]] inline void mark_atom(const Slab<T>& slab, const AxisRange* ranges, const AtomTables<T>& tables,
                                             double squared_radius) {
  for (int64_t i = ranges[0].begin; i < ranges[0].end; ++i)
    for (int64_t j = ranges[1].begin; j < ranges[1].end; ++j) {
      const double square = tables.x.exact_squares[i - ranges[0].begin] + tables.y.exact_squares[j - ranges[1].begin];
      if (square >= squared_radius) continue;
      T* const row = slab.row(i, j) + ranges[2].begin;
      for (int64_t k = 0; k < ranges[2].count(); ++k)
        row[k] = square + tables.z.exact_squares[k] < squared_radius ? T(1) : row[k];
    }
}

// Sums over an atom's points of w = g rho'(u) / u: w times the offsets, and w u^2, all in radii.
struct AtomSums {
  double x, y, z, squared;
};

template <class T>
[[gnu::always_inline]] inline AtomSums gather_atom(const Slab<const T>& slab, const AxisRange* ranges,
                                                   const AtomTables<T>& tables, const Density& density) {
  const T core = static_cast<T>(density.squared_core), squared_reach = static_cast<T>(density.squared_reach);
  const T reach = static_cast<T>(density.reach), twice = static_cast<T>(-2 * density.parabola);
  const int64_t count = ranges[2].count();
  T sums[4][kTogether] = {}, staged[kTogether] = {};
  for (int64_t i = ranges[0].begin; i < ranges[0].end; ++i)
    for (int64_t j = ranges[1].begin; j < ranges[1].end; ++j) {
      const int64_t at_x = i - ranges[0].begin, at_y = j - ranges[1].begin;
      if (i + kPlanesAhead < ranges[0].end) {
        const T* const ahead = slab.row(i + kPlanesAhead, j) + ranges[2].begin;
        __builtin_prefetch(ahead);
        __builtin_prefetch(ahead + count - 1);
      }
      const T square = tables.x.squares[at_x] + tables.y.squares[at_y];
      if (square >= squared_reach) continue;
      const T gaussian = T(-4) * (tables.x.gaussians[at_x] * tables.y.gaussians[at_y]);
      const T x = tables.x.offsets[at_x], y = tables.y.offsets[at_y];
      const T* const row = slab.row(i, j) + ranges[2].begin;
      for (int64_t k = 0; k < count; k += kTogether) {
        const T* const squares = tables.z.squares.data() + k;
        const T* const gaussians = tables.z.gaussians.data() + k;
        const T* const offsets = tables.z.offsets.data() + k;
        const int64_t room = std::min<int64_t>(kTogether, slab.end() - (row + k));
        if (room < kTogether) std::copy_n(row + k, room, staged);
        const T* const grad = room < kTogether ? staged : row + k;
        for (int64_t l = 0; l < kTogether; ++l) {
          const T squared = square + squares[l], distance = std::sqrt(squared);
          const T slope = squared <= core ? gaussian * gaussians[l] : twice * ((reach - distance) / distance);
          const T product = grad[l] * slope;
          const T w = squared < squared_reach ? product : T(0);  // what lies beyond may be NaN
          sums[0][l] += w * x;
          sums[1][l] += w * y;
          sums[2][l] += w * offsets[l];
          sums[3][l] += w * squared;
        }
      }
    }
  double totals[4] = {};
  for (int64_t s = 0; s < 4; ++s)
    for (int64_t l = 0; l < kTogether; ++l) totals[s] += static_cast<double>(sums[s][l]);
  return {totals[0], totals[1], totals[2], totals[3]};
}

}  // namespace mk::points
