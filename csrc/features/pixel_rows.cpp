// Loops inlined into one function for each instruction set; the compiler turns those without vectors into vectors.
#include "features/pixel_rows.h"

#include <algorithm>
#include <cmath>

#include "common/simd.h"
#include "features/float_lanes.h"

namespace mk::features {

namespace {

// Vectors that are summed in registers.
constexpr int kSums = 4;

// The sums of kSums vectors at x.
template <class L>
[[gnu::always_inline]] inline void sum_vectors(const float* const* rows, const float* weights, int count, int64_t x,
                                               float* out) {
  typename L::Floats sums[kSums] = {};
  for (int k = 0; k < count; ++k) {
    const typename L::Floats weight = L::all(weights + k);
    const float* row = rows[k] + x;
#pragma GCC unroll 4
    for (int i = 0; i < kSums; ++i)
      sums[i] = L::add(sums[i], weight, load_vector<typename L::Floats>(row + i * L::lanes));
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSums; ++i) store_vector(out + x + i * L::lanes, sums[i]);
}

template <class L>
[[gnu::always_inline]] inline void sum_rows(const float* const* rows, const float* weights, int count, int64_t width,
                                            float* out) {
  constexpr int64_t block = kSums * L::lanes;
  for (int64_t x = 0; x + block <= width; x += block) sum_vectors<L>(rows, weights, count, x, out);
  const int64_t rest = width % block;
  if (rest == 0) return;
  if (width > block) {
    sum_vectors<L>(rows, weights, count, width - block, out);
    return;
  }
  for (int64_t x = 0; x < width; ++x) {
    float sum = 0;
    for (int k = 0; k < count; ++k) sum += weights[k] * rows[k][x];
    out[x] = sum;
  }
}

// In blocks: places of all samples, their four pixels, their values.
template <class L>
[[gnu::always_inline]] inline void sample_ray(const Pixels& image, const Ray& ray, int count, float* out) {
  constexpr int block = 64;
  int32_t places[block];
  float across[block], down[block], upper[2 * block], lower[2 * block];
  const float right = static_cast<float>(image.width - 1), bottom = static_cast<float>(image.height - 1);
  const int32_t width = image.width, last_x = width - 2, last_y = image.height - 2;
  const float x0 = ray.x0, y0 = ray.y0, dx = ray.dx, dy = ray.dy;
  const float* const values = image.values;
  for (int begin = 0; begin < count; begin += block) {
    for (int i = 0; i < block; ++i) {
      const float along = static_cast<float>(begin + i);
      float x = x0 + along * dx, y = y0 + along * dy;
      x = x > 0 ? x : 0;
      y = y > 0 ? y : 0;
      x = x < right ? x : right;
      y = y < bottom ? y : bottom;
      int32_t column = static_cast<int32_t>(x), row = static_cast<int32_t>(y);
      column = column < last_x ? column : last_x;
      row = row < last_y ? row : last_y;
      across[i] = x - static_cast<float>(column);
      down[i] = y - static_cast<float>(row);
      places[i] = row * width + column;
    }
    const int kept = std::min(block, count - begin);
    for (int i = 0; i < kept; i += L::lanes / 2) {
      L::gather_pairs(values, places + i, upper + 2 * i);
      L::gather_pairs(values + width, places + i, lower + 2 * i);
    }
    for (int i = 0; i < kept; ++i) {
      const float top = upper[2 * i] + across[i] * (upper[2 * i + 1] - upper[2 * i]);
      const float low = lower[2 * i] + across[i] * (lower[2 * i + 1] - lower[2 * i]);
      out[begin + i] = top + down[i] * (low - top);
    }
  }
}

// atan(z) / z for z from 0 to 1, in powers of z^2: the Chebyshev interpolant, off by less than 5e-7.
[[gnu::always_inline]] inline float arc(float z2) {
  return 0.99999934f +
         z2 * (-0.33326375f +
               z2 * (0.19879872f + z2 * (-0.13480406f + z2 * (0.08374155f + z2 * (-0.03689863f + z2 * 0.00782548f)))));
}

[[gnu::always_inline]] inline void row_gradients(const float* __restrict above, const float* __restrict row,
                                                 const float* __restrict below, int count, float* __restrict lengths,
                                                 float* __restrict turns) {
  constexpr float per_radian = 0.15915494309189535f;
  for (int i = 0; i < count; ++i) {
    const float x = row[i + 1] - row[i - 1], y = above[i] - below[i];
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

[[gnu::always_inline]] inline void row_moments(const float* __restrict above, const float* __restrict row,
                                               const float* __restrict below, const float* __restrict weights,
                                               int count, float* __restrict sums) {
  float *const xx = sums, *const xy = sums + count, *const yy = sums + 2 * count;
  for (int i = 0; i < count; ++i) {
    const float x = row[i + 1] - row[i - 1], y = below[i] - above[i];
    xx[i] += weights[i] * x * x;
    xy[i] += weights[i] * x * y;
    yy[i] += weights[i] * y * y;
  }
}

struct Baseline {
  static void sum(const float* const* rows, const float* weights, int count, int64_t width, float* out) {
    sum_rows<BaselineFloats>(rows, weights, count, width, out);
  }
  static void sample(const Pixels& image, const Ray& ray, int count, float* out) {
    sample_ray<BaselineFloats>(image, ray, count, out);
  }
  static void gradients(const float* above, const float* row, const float* below, int count, float* lengths,
                        float* turns) {
    row_gradients(above, row, below, count, lengths, turns);
  }
  static void moments(const float* above, const float* row, const float* below, const float* weights, int count,
                      float* sums) {
    row_moments(above, row, below, weights, count, sums);
  }
};

#if defined(__x86_64__)
struct Avx2 {
  [[gnu::target("avx2,fma")]] static void sum(const float* const* rows, const float* weights, int count, int64_t width,
                                              float* out) {
    sum_rows<Avx2Floats>(rows, weights, count, width, out);
  }
  [[gnu::target("avx2,fma")]] static void sample(const Pixels& image, const Ray& ray, int count, float* out) {
    sample_ray<Avx2Floats>(image, ray, count, out);
  }
  [[gnu::target("avx2,fma")]] static void gradients(const float* above, const float* row, const float* below, int count,
                                                    float* lengths, float* turns) {
    row_gradients(above, row, below, count, lengths, turns);
  }
  [[gnu::target("avx2,fma")]] static void moments(const float* above, const float* row, const float* below,
                                                  const float* weights, int count, float* sums) {
    row_moments(above, row, below, weights, count, sums);
  }
};
struct Avx512 {
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void sum(const float* const* rows,
                                                                                       const float* weights, int count,
                                                                                       int64_t width, float* out) {
    sum_rows<Avx512Floats>(rows, weights, count, width, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void sample(const Pixels& image,
                                                                                          const Ray& ray, int count,
                                                                                          float* out) {
    sample_ray<Avx512Floats>(image, ray, count, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void gradients(
      const float* above, const float* row, const float* below, int count, float* lengths, float* turns) {
    row_gradients(above, row, below, count, lengths, turns);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] static void moments(
      const float* above, const float* row, const float* below, const float* weights, int count, float* sums) {
    row_moments(above, row, below, weights, count, sums);
  }
};
#endif

template <class Set>
PixelRows rows_of() {
  return {Set::sum, Set::sample, Set::gradients, Set::moments};
}

}  // namespace

const PixelRows& pixel_rows() {
  static const PixelRows chosen = [] {
#if defined(__x86_64__)
    if (simd::level() == simd::Level::avx512) return rows_of<Avx512>();
    if (simd::level() == simd::Level::avx2) return rows_of<Avx2>();
#endif
    return rows_of<Baseline>();
  }();
  return chosen;
}

}  // namespace mk::features
