// Loops inlined into one function for each instruction set; the compiler turns those without vectors into vectors.
#include "features/patch_loops.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/simd.h"
#include "features/float_lanes.h"

namespace mk::features {

namespace {

constexpr int kGroup = 16;  // samples whose places are found together: at least a vector

// Whether a grid, with some more columns that are rounded up to, stays clear of the rim, whatever the rounding.
[[gnu::always_inline]] inline bool inside(const Pixels& image, const Grid& grid) {
  const double columns = (grid.columns + 7) / 8 * 8, rows = grid.rows;
  const double slack = 0.01 + 1e-6 * (image.width + image.height);
  const auto fits = [&](double first, double right, double down, int size) {
    const double low = first + std::min(0.0, columns * right) + std::min(0.0, rows * down);
    const double high = first + std::max(0.0, columns * right) + std::max(0.0, rows * down);
    return low > slack && high < size - 1 - slack;
  };
  return fits(grid.x, grid.right_x, grid.down_x, image.width) && fits(grid.y, grid.right_y, grid.down_y, image.height);
}

template <class L, bool Inside>
[[gnu::always_inline]] inline void sample_rows(const Pixels& image, const Grid& grid, int64_t stride, float* out) {
  using Floats = typename L::Floats;
  const float right = static_cast<float>(image.width - 1), bottom = static_cast<float>(image.height - 1);
  const int32_t width = image.width, last_x = width - 2, last_y = image.height - 2;
  const float dx = grid.right_x, dy = grid.right_y;
  alignas(64) constexpr float steps[kGroup] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int i = 0; i < grid.rows; ++i) {
    const float x0 = static_cast<float>(grid.x + i * static_cast<double>(grid.down_x));
    const float y0 = static_cast<float>(grid.y + i * static_cast<double>(grid.down_y));
    for (int begin = 0; begin < grid.columns; begin += kGroup) {
      alignas(64) int32_t places[kGroup];
      alignas(64) float across[kGroup], down[kGroup];
      for (int j = 0; j < kGroup; ++j) {
        const float along = static_cast<float>(begin) + steps[j];
        float x = x0 + along * dx, y = y0 + along * dy;
        if constexpr (!Inside) {
          x = x > 0 ? x : 0;
          y = y > 0 ? y : 0;
          x = x < right ? x : right;
          y = y < bottom ? y : bottom;
        }
        int32_t column = static_cast<int32_t>(x), row = static_cast<int32_t>(y);
        if constexpr (!Inside) {
          column = column < last_x ? column : last_x;
          row = row < last_y ? row : last_y;
        }
        across[j] = x - static_cast<float>(column);
        down[j] = y - static_cast<float>(row);
        places[j] = row * width + column;
      }
#pragma GCC unroll 4
      for (int v = 0; v < kGroup; v += L::lanes) {
        if (begin + v >= grid.columns) break;
        const bool whole = begin + v + L::lanes / 2 < grid.columns;
        Floats corners[4];
        L::pairs(image.values, places + v, whole, corners[0], corners[1]);
        L::pairs(image.values + width, places + v, whole, corners[2], corners[3]);
        const Floats x = load_vector<Floats>(across + v), y = load_vector<Floats>(down + v);
        const Floats top = L::add(corners[0], x, L::minus(corners[1], corners[0]));
        const Floats low = L::add(corners[2], x, L::minus(corners[3], corners[2]));
        store_vector(out + i * stride + begin + v, L::add(top, y, L::minus(low, top)));
      }
    }
  }
}

template <class L>
[[gnu::always_inline]] inline void sample_grid(const Pixels& image, const Grid& grid, int64_t stride, float* out) {
  if (inside(image, grid))
    sample_rows<L, true>(image, grid, stride, out);
  else
    sample_rows<L, false>(image, grid, stride, out);
}

// Rows are summed side by side where one alone has too few vectors to hide how long a multiply-add takes.
template <class L>
[[gnu::always_inline]] inline void sum_across(const float* in, int64_t stride, const int32_t* offsets,
                                              const float* weights, int count, int rows, float* out) {
  using Floats = typename L::Floats;
  constexpr int vectors = kPatchRow / L::lanes, at_once = vectors < 6 ? 2 : 1;
  for (int first = 0; first < rows; first += at_once) {
    const int row = std::min(first, rows - at_once);
    Floats sums[at_once][vectors] = {};
    for (int k = 0; k < count; ++k) {
      const Floats weight = L::all(weights + k);
      const float* const from = in + row * stride + offsets[k];
#pragma GCC unroll 2
      for (int i = 0; i < at_once; ++i) {
#pragma GCC unroll 12
        for (int v = 0; v < vectors; ++v)
          sums[i][v] = L::add(sums[i][v], weight, load_vector<Floats>(from + i * stride + v * L::lanes));
      }
    }
#pragma GCC unroll 2
    for (int i = 0; i < at_once; ++i) {
#pragma GCC unroll 12
      for (int v = 0; v < vectors; ++v) store_vector(out + (row + i) * kPatchRow + v * L::lanes, sums[i][v]);
    }
  }
}

template <class L>
[[gnu::always_inline]] inline void patch_moments(const float* patch, const float* weights, float* sums) {
  using Floats = typename L::Floats;
  Floats xx{}, xy{}, yy{};
  for (int at = kPatchRow; at < (kShapeSide - 1) * kPatchRow; at += L::lanes) {
    const Floats x = L::minus(load_vector<Floats>(patch + at + 1), load_vector<Floats>(patch + at - 1));
    const Floats y = L::minus(load_vector<Floats>(patch + at + kPatchRow), load_vector<Floats>(patch + at - kPatchRow));
    const Floats weight = load_vector<Floats>(weights + at), weighted = L::times(weight, x);
    xx = L::add(xx, weighted, x);
    xy = L::add(xy, weighted, y);
    yy = L::add(yy, L::times(weight, y), y);
  }
  const Floats moments[3] = {xx, xy, yy};
  for (int m = 0; m < 3; ++m) {
    float parts[L::lanes], sum = 0;
    store_vector(parts, moments[m]);
    for (const float part : parts) sum += part;
    sums[m] = sum;
  }
}

// atan(z) / z for z from 0 to 1, in powers of z^2: the Chebyshev interpolant, off by less than 5e-7.
[[gnu::always_inline]] inline float arc(float z2) {
  return 0.99999934f +
         z2 * (-0.33326375f +
               z2 * (0.19879872f + z2 * (-0.13480406f + z2 * (0.08374155f + z2 * (-0.03689863f + z2 * 0.00782548f)))));
}

[[gnu::always_inline]] inline void patch_gradients(const float* __restrict patch, float* __restrict lengths,
                                                   float* __restrict turns) {
  constexpr float per_radian = 0.15915494309189535f;
  constexpr int count = kGradientSide * kPatchRow;
  const float* const row = patch + kPatchRow + 1;
  for (int i = 0; i < count; ++i) {
    const float x = row[i + 1] - row[i - 1], y = row[i - kPatchRow] - row[i + kPatchRow];
    const float wide = std::abs(x), high = std::abs(y);
    const float greater = wide > high ? wide : high, less = wide > high ? high : wide;
    const float z = less / (greater + 1e-30f);
    float turn = per_radian * z * arc(z * z);
    turn = high > wide ? 0.25f - turn : turn;
    turn = x < 0 ? 0.5f - turn : turn;
    turn = y < 0 ? 1.0f - turn : turn;
    lengths[i] = std::sqrt(x * x + y * y);
    turns[i] = turn < 1.0f ? turn : 0.0f;
  }
}

struct Span {
  int begin, end;
};

// The samples j of a row for which low < first + j step < high, or a few more.
[[gnu::always_inline]] inline Span between(const Span& span, float first, float step, float low, float high) {
  if (std::abs(step) < 1e-4f) return span;
  const float a = (low - first) / step, b = (high - first) / step, least = std::min(a, b), most = std::max(a, b);
  return {std::max(span.begin, static_cast<int>(least)), std::min(span.end, static_cast<int>(most + 2))};
}

// Shares of one row's gradients in each direction: [kDirections, kPatchRow].
[[gnu::always_inline]] inline void direction_shares(const float* __restrict lengths, const float* __restrict turns,
                                                    const float* __restrict window, float turned,
                                                    float* __restrict shares) {
  for (int j = 0; j < kPatchRow; ++j) {
    float place = (turns[j] - turned) * kDirections;
    place = place < 0 ? place + kDirections : place;
    place = place >= kDirections ? place - kDirections : place;
    const float weight = lengths[j] * window[j];
    for (int k = 0; k < kDirections; ++k) {
      float share = 1 - std::abs(place - k);
      if (k == 0) share = std::max(share, place - (kDirections - 1));
      shares[k * kPatchRow + j] = weight * std::max(share, 0.0f);
    }
  }
}

// All cells of a vector take their share of each sample, most of them none: that is faster than finding out which.
template <class L>
[[gnu::always_inline]] inline void add_to_histogram(const float* lengths, const float* turns, const float* window,
                                                    const CellGrid& cells, float* sums) {
  using Floats = typename L::Floats;
  constexpr int all_cells = kCells * kCells, height = L::lanes / kCells;
  alignas(64) constexpr float columns[all_cells] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  alignas(64) constexpr float rows[all_cells] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  constexpr float one = 1, zero = 0, middle = (kCells - 1) / 2.0f;
  const float back = -cells.sin;
  const Floats right_x = L::all(&cells.cos), right_y = L::all(&back), ones = L::all(&one), none = L::all(&zero);
  for (int i = 0; i < kGradientSide; ++i) {
    const float u = -kGradientSide / 2, v = static_cast<float>(i - kGradientSide / 2);
    const float x0 = cells.cos * u + cells.sin * v + middle, y0 = cells.cos * v - cells.sin * u + middle;
    const Span touched = between({0, kGradientSide}, x0, cells.cos, -1, kCells);
    alignas(64) float shares[kDirections * kPatchRow];
    bool known = false;
    for (int first_row = 0; first_row < kCells; first_row += height) {
      const auto lowest = static_cast<float>(first_row - 1), highest = static_cast<float>(first_row + height);
      const Span span = between(touched, y0, back, lowest, highest);
      if (span.begin >= span.end) continue;
      if (!known)
        direction_shares(lengths + i * kPatchRow, turns + i * kPatchRow, window + i * kPatchRow, cells.turn, shares);
      known = true;
      float* const group = sums + first_row * kCells;
      Floats totals[kDirections];
#pragma GCC unroll 8
      for (int k = 0; k < kDirections; ++k) totals[k] = load_vector<Floats>(group + k * all_cells);
      // One less, and one more, the distance from the cell along each axis.
      const float begin = static_cast<float>(span.begin);
      const float x = x0 + begin * cells.cos, y = y0 + begin * back;
      const Floats from_x = L::minus(L::all(&x), load_vector<Floats>(columns));
      const Floats from_y = L::minus(L::all(&y), load_vector<Floats>(rows + first_row * kCells));
      Floats left = L::plus(ones, from_x), right = L::minus(ones, from_x);
      Floats up = L::plus(ones, from_y), down = L::minus(ones, from_y);
      for (int j = span.begin; j < span.end; ++j) {
        const Floats share = L::times(L::greater(L::less(left, right), none), L::greater(L::less(up, down), none));
#pragma GCC unroll 8
        for (int k = 0; k < kDirections; ++k) totals[k] = L::add(totals[k], share, L::all(shares + k * kPatchRow + j));
        left = L::plus(left, right_x);
        right = L::minus(right, right_x);
        up = L::plus(up, right_y);
        down = L::minus(down, right_y);
      }
#pragma GCC unroll 8
      for (int k = 0; k < kDirections; ++k) store_vector(group + k * all_cells, totals[k]);
    }
  }
}

struct Baseline {
  using Lanes = BaselineFloats;
  static void sample(const Pixels& image, const Grid& grid, int64_t stride, float* out) {
    sample_grid<Lanes>(image, grid, stride, out);
  }
  static void across(const float* in, int64_t stride, const int32_t* offsets, const float* weights, int count, int rows,
                     float* out) {
    sum_across<Lanes>(in, stride, offsets, weights, count, rows, out);
  }
  static void moments(const float* patch, const float* weights, float* sums) {
    patch_moments<Lanes>(patch, weights, sums);
  }
  static void gradients(const float* patch, float* lengths, float* turns) { patch_gradients(patch, lengths, turns); }
  static void histogram(const float* lengths, const float* turns, const float* window, const CellGrid& cells,
                        float* sums) {
    add_to_histogram<Lanes>(lengths, turns, window, cells, sums);
  }
};

#if defined(__x86_64__)
struct Avx2 {
  using Lanes = Avx2Floats;
  [[gnu::target("avx2,fma")]] static void sample(const Pixels& image, const Grid& grid, int64_t stride, float* out) {
    sample_grid<Lanes>(image, grid, stride, out);
  }
  [[gnu::target("avx2,fma")]] static void across(const float* in, int64_t stride, const int32_t* offsets,
                                                 const float* weights, int count, int rows, float* out) {
    sum_across<Lanes>(in, stride, offsets, weights, count, rows, out);
  }
  [[gnu::target("avx2,fma")]] static void moments(const float* patch, const float* weights, float* sums) {
    patch_moments<Lanes>(patch, weights, sums);
  }
  [[gnu::target("avx2,fma")]] static void gradients(const float* patch, float* lengths, float* turns) {
    patch_gradients(patch, lengths, turns);
  }
  [[gnu::target("avx2,fma")]] static void histogram(const float* lengths, const float* turns, const float* window,
                                                    const CellGrid& cells, float* sums) {
    add_to_histogram<Lanes>(lengths, turns, window, cells, sums);
  }
};

struct Avx512 {
  using Lanes = Avx512Floats;
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void sample(const Pixels& image,
                                                                                          const Grid& grid,
                                                                                          int64_t stride, float* out) {
    sample_grid<Lanes>(image, grid, stride, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void across(
      const float* in, int64_t stride, const int32_t* offsets, const float* weights, int count, int rows, float* out) {
    sum_across<Lanes>(in, stride, offsets, weights, count, rows, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void moments(const float* patch,
                                                                                           const float* weights,
                                                                                           float* sums) {
    patch_moments<Lanes>(patch, weights, sums);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void gradients(const float* patch,
                                                                                             float* lengths,
                                                                                             float* turns) {
    patch_gradients(patch, lengths, turns);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void histogram(
      const float* lengths, const float* turns, const float* window, const CellGrid& cells, float* sums) {
    add_to_histogram<Lanes>(lengths, turns, window, cells, sums);
  }
};
#endif

template <class Set>
PatchLoops loops_of() {
  return {Set::sample, Set::across, Set::moments, Set::gradients, Set::histogram};
}

}  // namespace

const PatchLoops& patch_loops() {
  static const PatchLoops chosen = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return loops_of<Avx512>();
    if (simd::level() == simd::Level::avx2) return loops_of<Avx2>();
#endif
    return loops_of<Baseline>();
  }();
  return chosen;
}

}  // namespace mk::features
