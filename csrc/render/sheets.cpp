#include "render/sheets.h"

#include <algorithm>
#include <vector>

#include "common/simd.h"
#include "render/rows.h"

namespace mk::render {

namespace {

template <class V, class T, int Channels>
[[gnu::always_inline]] inline void draw_union(const Sheet<T>& sheet, const Shapes<T>& shapes) {
  using Real = typename V::Real;
  const int channels = Channels > 0 ? Channels : sheet.channels;
  // In locals: the compiler must assume that a store to a plane changes the sheet.
  const int64_t plane_size = sheet.plane_size();
  T* const colors = sheet.plane(kColorPlane);
  const double reach2 = shapes.look.reach_squared();
  const ProfileConstants<T> profile(shapes.look);
  T* through = sheet.plane(kThroughPlane);
  T* weight = sheet.plane(kWeightPlane);
  for (const int32_t id : shapes.ids) {
    const T opacity = shapes.opacity[id];
    const T* color = shapes.colors + int64_t(id) * channels;
    for_each_row<V, T>(sheet, shapes.quadrics[id], reach2, [&](const Row<T>& row) __attribute__((always_inline)) {
      for_each_vector<V, T, false>(sheet, row, profile,
                                   [&](int64_t at, const Real&, const Real& value, const Real&)
                                       __attribute__((always_inline)) {
                                         const Real alpha = opacity * value;
                                         V::store(through + at, V::load(through + at) * (T(1) - alpha));
                                         V::store(weight + at, V::load(weight + at) + alpha);
                                         for (int c = 0; c < channels; ++c) {
                                           T* plane = colors + c * plane_size + at;
                                           V::store(plane, V::load(plane) + alpha * color[c]);
                                         }
                                       });
    });
  }
}

template <class V, class T, int Channels>
[[gnu::always_inline]] inline void draw_over(const Sheet<T>& sheet, const Shapes<T>& shapes) {
  using Real = typename V::Real;
  const int channels = Channels > 0 ? Channels : sheet.channels;
  // In locals: the compiler must assume that a store to a plane changes the sheet.
  const int64_t plane_size = sheet.plane_size();
  T* const colors = sheet.plane(kColorPlane);
  const double reach2 = shapes.look.reach_squared();
  const ProfileConstants<T> profile(shapes.look);
  for (const int32_t id : shapes.ids) {
    const T opacity = shapes.opacity[id];
    const T* color = shapes.colors + int64_t(id) * channels;
    for_each_row<V, T>(sheet, shapes.quadrics[id], reach2, [&](const Row<T>& row) __attribute__((always_inline)) {
      for_each_vector<V, T, false>(sheet, row, profile,
                                   [&](int64_t at, const Real&, const Real& value, const Real&)
                                       __attribute__((always_inline)) {
                                         const Real alpha = opacity * value;
                                         for (int c = 0; c < channels; ++c) {
                                           T* plane = colors + c * plane_size + at;
                                           const Real below = V::load(plane);
                                           V::store(plane, below + alpha * (color[c] - below));
                                         }
                                       });
    });
  }
}

template <class V, class T>
[[gnu::always_inline]] inline void log_transmittance(const Sheet<T>& sheet, const Shapes<T>& shapes) {
  using Real = typename V::Real;
  const double reach2 = shapes.look.reach_squared();
  const ProfileConstants<T> profile(shapes.look);
  T* through = sheet.plane(kThroughPlane);
  for (const int32_t id : shapes.ids) {
    const T opacity = shapes.opacity[id];
    for_each_row<V, T>(sheet, shapes.quadrics[id], reach2, [&](const Row<T>& row) __attribute__((always_inline)) {
      for_each_vector<V, T, false>(sheet, row, profile,
                                   [&](int64_t at, const Real&, const Real& value, const Real&)
                                       __attribute__((always_inline)) {
                                         V::store(through + at, V::load(through + at) + V::log(T(1) - opacity * value));
                                       });
    });
  }
}

// Vector accumulators of one primitive over one sheet.
template <class V, class T>
struct Sums {
  using Real = typename V::Real;
  Real q{}, qa{}, qb{}, qaa{}, qab{}, qbb{}, opacity{};

  [[gnu::always_inline]] inline void add_row(T b, const Real& row_q, const Real& row_qa, const Real& row_qaa) {
    const Real row_qb = row_q * b;
    q += row_q;
    qa += row_qa;
    qaa += row_qaa;
    qb += row_qb;
    qab += row_qa * b;
    qbb += row_qb * b;
  }

  [[gnu::always_inline]] inline void add_to(SheetSums& sums) const {
    sums.q += V::sum(q);
    sums.qa += V::sum(qa);
    sums.qb += V::sum(qb);
    sums.qaa += V::sum(qaa);
    sums.qab += V::sum(qab);
    sums.qbb += V::sum(qbb);
    sums.opacity += V::sum(opacity);
  }
};

// The channel sums of one primitive: in registers for the counts that have kernels of their own, else in a buffer.
template <class V, class T, int Channels>
struct ChannelSums {
  typename V::Real values[Channels]{};
  [[gnu::always_inline]] inline ChannelSums(T*, int) {}
  [[gnu::always_inline]] inline void add(int c, const typename V::Real& value) { values[c] += value; }
  [[gnu::always_inline]] inline T total(int c) const { return V::sum(values[c]); }
};

template <class V, class T>
struct ChannelSums<V, T, 0> {
  T* values;
  [[gnu::always_inline]] inline ChannelSums(T* buffer, int channels) : values(buffer) {
    std::fill_n(values, channels * V::lanes, T(0));
  }
  [[gnu::always_inline]] inline void add(int c, const typename V::Real& value) {
    V::store(values + c * V::lanes, V::load(values + c * V::lanes) + value);
  }
  [[gnu::always_inline]] inline T total(int c) const { return V::sum(V::load(values + c * V::lanes)); }
};

// Runs one primitive: `dalpha(at, alpha, channel_sums)` returns dL/dalpha of a vector and adds to the channel sums.
template <class V, class T, int Channels, class DAlpha>
[[gnu::always_inline]] inline void differentiate_shape(const Sheet<T>& sheet, const Shapes<T>& shapes, int32_t id,
                                                       const ProfileConstants<T>& profile, double reach2,
                                                       T* channel_buffer, SheetSums& sums, double* color_sums,
                                                       const DAlpha& dalpha) {
  using Real = typename V::Real;
  const int channels = Channels > 0 ? Channels : sheet.channels;
  const T opacity = shapes.opacity[id];
  ChannelSums<V, T, Channels> colors(channel_buffer, channels);
  Sums<V, T> total;
  bool touched = false;
  for_each_row<V, T>(sheet, shapes.quadrics[id], reach2, [&](const Row<T>& row) __attribute__((always_inline)) {
    Real row_q{}, row_qa{}, row_qaa{};
    for_each_vector<V, T, true>(sheet, row, profile,
                                [&](int64_t at, const Real& e, const Real& value, const Real& slope)
                                    __attribute__((always_inline)) {
                                      const Real alpha = opacity * value;
                                      const Real d = dalpha(at, alpha, colors);
                                      total.opacity += d * value;
                                      const Real q = d * opacity * slope, qa = q * e;
                                      row_q += q;
                                      row_qa += qa;
                                      row_qaa += qa * e;
                                    });
    total.add_row(static_cast<T>(row.b), row_q, row_qa, row_qaa);
    touched = true;
  });
  if (!touched) return;
  total.add_to(sums);
  for (int c = 0; c < channels; ++c) color_sums[c] += colors.total(c);
}

// Planes hold, per voxel, X = T sum g (C - b), Z = -sum G C and G = g (1 - T) / D: dL/dalpha = X/(1-alpha) + Z +
// G.color.
template <class V, class T, int Channels>
[[gnu::always_inline]] inline void differentiate_union(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums,
                                                       double* color_sums) {
  using Real = typename V::Real;
  const int channels = Channels > 0 ? Channels : sheet.channels;
  // In locals: the compiler must assume that a store to a plane changes the sheet.
  const int64_t plane_size = sheet.plane_size();
  T* const colors = sheet.plane(kColorPlane);
  const double reach2 = shapes.look.reach_squared();
  const ProfileConstants<T> profile(shapes.look);
  const T* x_plane = sheet.plane(kThroughPlane);
  const T* z_plane = sheet.plane(kWeightPlane);
  std::vector<T> buffer(Channels > 0 ? 0 : channels * V::lanes);
  for (size_t i = 0; i < shapes.ids.size(); ++i) {
    const int32_t id = shapes.ids[i];
    const T* color = shapes.colors + int64_t(id) * channels;
    differentiate_shape<V, T, Channels>(
        sheet, shapes, id, profile, reach2, buffer.data(), sums[i], color_sums + int64_t(i) * channels,
        [&](int64_t at, const Real& alpha, ChannelSums<V, T, Channels>& channel_sums) __attribute__((always_inline)) {
          Real d = V::load(x_plane + at) * V::reciprocal(T(1) - alpha) + V::load(z_plane + at);
          for (int c = 0; c < channels; ++c) {
            const Real g = V::load(colors + c * plane_size + at);
            d += g * color[c];
            channel_sums.add(c, g * alpha);
          }
          return d;
        });
  }
}

// Goes in painting order: the image below each primitive is at hand, and what lies above it lets through
// exp(L), L being the log-transmittance of the primitives not yet painted.
template <class V, class T, int Channels>
[[gnu::always_inline]] inline void differentiate_over(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums,
                                                      double* color_sums) {
  using Real = typename V::Real;
  const int channels = Channels > 0 ? Channels : sheet.channels;
  // In locals: the compiler must assume that a store to a plane changes the sheet.
  const int64_t plane_size = sheet.plane_size();
  T* const colors = sheet.plane(kColorPlane);
  const double reach2 = shapes.look.reach_squared();
  const ProfileConstants<T> profile(shapes.look);
  T* through = sheet.plane(kThroughPlane);
  std::vector<T> buffer(Channels > 0 ? 0 : channels * V::lanes);
  for (size_t i = 0; i < shapes.ids.size(); ++i) {
    const int32_t id = shapes.ids[i];
    const T* color = shapes.colors + int64_t(id) * channels;
    differentiate_shape<V, T, Channels>(
        sheet, shapes, id, profile, reach2, buffer.data(), sums[i], color_sums + int64_t(i) * channels,
        [&](int64_t at, const Real& alpha, ChannelSums<V, T, Channels>& channel_sums) __attribute__((always_inline)) {
          const Real above = V::load(through + at) - V::log(T(1) - alpha);
          V::store(through + at, above);
          const Real seen = V::exp(above);
          Real d{};
          for (int c = 0; c < channels; ++c) {
            T* image = colors + c * plane_size + at;
            const Real g = V::load(colors + (channels + c) * plane_size + at) * seen;
            const Real below = V::load(image);
            const Real change = color[c] - below;
            d += g * change;
            channel_sums.add(c, g * alpha);
            V::store(image, below + alpha * change);
          }
          return d;
        });
  }
}

// These two loop over whole rows: plain code, which the compiler turns into vectors.
template <class T>
[[gnu::always_inline]] inline void finish_row(int64_t width, const T* __restrict ground, const T* __restrict through,
                                              const T* __restrict weight, const T* __restrict color,
                                              T* __restrict out) {
  for (int64_t x = 0; x < width; ++x) {
    const T mean_color = color[x] / (weight[x] + T(kWeightEps));
    out[x] = through[x] * ground[x] + (T(1) - through[x]) * mean_color;
  }
}

template <class T>
[[gnu::always_inline]] inline void factors_row(int64_t width, const T* __restrict g, const T* __restrict ground,
                                               const T* __restrict through, const T* __restrict scale,
                                               T* __restrict color, T* __restrict passed, T* __restrict x_factor,
                                               T* __restrict z_factor) {
  for (int64_t x = 0; x < width; ++x) {
    const T mean_color = color[x] * scale[x];
    const T gathered = g[x] * (T(1) - through[x]) * scale[x];
    passed[x] = g[x] * through[x];
    x_factor[x] += passed[x] * (mean_color - ground[x]);
    z_factor[x] -= gathered * mean_color;
    color[x] = gathered;
  }
}

// The loops above at one vector width. Each instruction set needs functions of its own marked with its target.
#if defined(__x86_64__)
template <class T, int Channels>
struct Avx512 {
  using V = simd::Vector<T, 64 / sizeof(T)>;
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void union_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) {
    draw_union<V, T, Channels>(sheet, shapes);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void over_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) {
    draw_over<V, T, Channels>(sheet, shapes);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void transmittance(const Sheet<T>& sheet,
                                                                         const Shapes<T>& shapes) {
    log_transmittance<V, T>(sheet, shapes);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void union_diff(const Sheet<T>& sheet, const Shapes<T>& shapes,
                                                                      SheetSums* sums, double* color_sums) {
    differentiate_union<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void over_diff(const Sheet<T>& sheet, const Shapes<T>& shapes,
                                                                     SheetSums* sums, double* color_sums) {
    differentiate_over<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void finish(int64_t width, const T* ground, const T* through,
                                                                  const T* weight, const T* color, T* out) {
    finish_row(width, ground, through, weight, color, out);
  }
  [[gnu::target("avx512f,avx512dq,avx512vl")]] static void factors(int64_t width, const T* g, const T* ground,
                                                                   const T* through, const T* scale, T* color,
                                                                   T* passed, T* x_factor, T* z_factor) {
    factors_row(width, g, ground, through, scale, color, passed, x_factor, z_factor);
  }
};

template <class T, int Channels>
struct Avx2 {
  using V = simd::Vector<T, 32 / sizeof(T)>;
  [[gnu::target("avx2,fma")]] static void union_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) {
    draw_union<V, T, Channels>(sheet, shapes);
  }
  [[gnu::target("avx2,fma")]] static void over_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) {
    draw_over<V, T, Channels>(sheet, shapes);
  }
  [[gnu::target("avx2,fma")]] static void transmittance(const Sheet<T>& sheet, const Shapes<T>& shapes) {
    log_transmittance<V, T>(sheet, shapes);
  }
  [[gnu::target("avx2,fma")]] static void union_diff(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums,
                                                     double* color_sums) {
    differentiate_union<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  [[gnu::target("avx2,fma")]] static void over_diff(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums,
                                                    double* color_sums) {
    differentiate_over<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  [[gnu::target("avx2,fma")]] static void finish(int64_t width, const T* ground, const T* through, const T* weight,
                                                 const T* color, T* out) {
    finish_row(width, ground, through, weight, color, out);
  }
  [[gnu::target("avx2,fma")]] static void factors(int64_t width, const T* g, const T* ground, const T* through,
                                                  const T* scale, T* color, T* passed, T* x_factor, T* z_factor) {
    factors_row(width, g, ground, through, scale, color, passed, x_factor, z_factor);
  }
};
#endif

template <class T, int Channels>
struct Baseline {
  using V = simd::Vector<T, 16 / sizeof(T)>;
  static void union_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) { draw_union<V, T, Channels>(sheet, shapes); }
  static void over_draw(const Sheet<T>& sheet, const Shapes<T>& shapes) { draw_over<V, T, Channels>(sheet, shapes); }
  static void transmittance(const Sheet<T>& sheet, const Shapes<T>& shapes) { log_transmittance<V, T>(sheet, shapes); }
  static void union_diff(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums, double* color_sums) {
    differentiate_union<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  static void over_diff(const Sheet<T>& sheet, const Shapes<T>& shapes, SheetSums* sums, double* color_sums) {
    differentiate_over<V, T, Channels>(sheet, shapes, sums, color_sums);
  }
  static void finish(int64_t width, const T* ground, const T* through, const T* weight, const T* color, T* out) {
    finish_row(width, ground, through, weight, color, out);
  }
  static void factors(int64_t width, const T* g, const T* ground, const T* through, const T* scale, T* color, T* passed,
                      T* x_factor, T* z_factor) {
    factors_row(width, g, ground, through, scale, color, passed, x_factor, z_factor);
  }
};

template <class T, template <class, int> class Isa, int Channels>
SheetKernels<T> kernels_of(Composition composition) {
  using K = Isa<T, Channels>;
  if (composition == Composition::over) return {K::over_draw, K::transmittance, K::over_diff, K::finish, K::factors};
  return {K::union_draw, K::transmittance, K::union_diff, K::finish, K::factors};
}

// One and three channels (grey, RGB) have kernels of their own; any other count runs the general one.
template <class T, template <class, int> class Isa>
SheetKernels<T> kernels_of(Composition composition, int channels) {
  if (channels == 1) return kernels_of<T, Isa, 1>(composition);
  if (channels == 3) return kernels_of<T, Isa, 3>(composition);
  return kernels_of<T, Isa, 0>(composition);
}

}  // namespace

template <class T>
SheetKernels<T> sheet_kernels(Composition composition, int channels) {
#if defined(__x86_64__)
  if (simd::level() == simd::Level::avx512) return kernels_of<T, Avx512>(composition, channels);
  if (simd::level() == simd::Level::avx2) return kernels_of<T, Avx2>(composition, channels);
#endif
  return kernels_of<T, Baseline>(composition, channels);
}

template SheetKernels<float> sheet_kernels<float>(Composition, int);
template SheetKernels<double> sheet_kernels<double>(Composition, int);

}  // namespace mk::render
