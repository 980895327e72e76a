#include "points/rotation_invariant_features.h"

#include <algorithm>
#include <iterator>
#include <numbers>
#include <numeric>
#include <vector>

#include "common/parallel.h"

namespace mk::points {

namespace {

constexpr int64_t kTogether = 32;     // centres of one piece of work
constexpr int64_t kMostRanked = 256;  // with more neighbours, sorting is faster than counting
// Keys are rounded to multiples of 2^-39, so that those equal but for rounding are equal. Of the bits below, a step
// for each neighbour decides between them.
constexpr double kRoundKey = 3.0 * (1 << 12), kKeyOffset = 4, kStep = 1.0 / (int64_t{1} << 50);

// Columns are padded with zeros to a multiple of this, so that vector loops leave no rest.
constexpr int64_t kPadding = 16;
// A point with its axis, as seen from a centre: x, y, z, 0, the axis, 0. Rows move as one.
constexpr int64_t kRow = 8, kAxis = 4;

// asin(x) / x = 1 + x^2 / 6 + 3 x^4 / 40 + ... to the precision of the type, for x^2 <= 1/2: the Chebyshev series in
// 4 x^2 - 1, as powers of x^2.
template <class T>
struct Arcsine;
template <>
struct Arcsine<float> {
  static constexpr float terms[]{1.0f,          0.166666069f,  0.0750307444f,
                                 0.0440398399f, 0.0362279991f, -0.00881148472f,
                                 0.111685587f,  -0.141247548f, 0.126604223f};
};
template <>
struct Arcsine<double> {
  static constexpr double terms[]{1,
                                  0.16666666666667013,
                                  0.074999999999091099,
                                  0.044642857237233012,
                                  0.030381939269829593,
                                  0.022372332125967096,
                                  0.017348920740304967,
                                  0.014024786117637567,
                                  0.010870488350221809,
                                  0.015552297027080917,
                                  -0.029050122587066223,
                                  0.19339500225015105,
                                  -0.70765501426140576,
                                  2.1185503218296082,
                                  -4.7747147527859264,
                                  8.1325682724019686,
                                  -10.071307779732635,
                                  8.6270946601684582,
                                  -4.5775398173981596,
                                  1.155747740211758};
};

// The angle between vectors of length 1 from the length of their difference, exact also near 0 and pi; pi / 2 if one
// of them is 0.
template <class T>
[[gnu::always_inline]] inline T angle_between(T ax, T ay, T az, T bx, T by, T bz) {
  constexpr T pi = std::numbers::pi_v<T>;
  const T cosine = ax * bx + ay * by + az * bz, sign = cosine < 0 ? T(-1) : T(1);
  const T x = ax - sign * bx, y = ay - sign * by, z = az - sign * bz;
  const T quarter = (x * x + y * y + z * z) / 4, least = quarter < T(0.5) ? quarter : T(0.5);
  const T square = cosine == 0 ? T(0.5) : least;
  constexpr int terms = static_cast<int>(std::size(Arcsine<T>::terms));
  T series = Arcsine<T>::terms[terms - 1];
#pragma GCC unroll 32
  for (int term = terms - 2; term >= 0; --term) series = Arcsine<T>::terms[term] + square * series;
  const T angle = 2 * std::sqrt(square) * series;
  return cosine < 0 ? pi - angle : angle;
}

// 1 / |v|, or 0 for 0.
template <class T>
[[gnu::always_inline]] inline T inverse_length(T squared) {
  return squared > 0 ? 1 / std::sqrt(squared) : T(0);
}

int64_t padded(int64_t count) { return (count + kPadding - 1) / kPadding * kPadding; }

// What is known of the neighbours of one centre.
template <class T>
struct Neighbourhood {
  explicit Neighbourhood(int64_t k)
      : stride(padded(k) + kPadding),
        rows(stride * kRow),
        sorted(stride * kRow),
        fields(stride * kRow),
        columns(stride * kColumns),
        keys(stride),
        features(stride * kInvariants),
        places(k),
        present(k) {}
  enum Column { flat_x, flat_y, flat_z, flat, key, rank, kColumns };
  double* column(Column which) { return columns.data() + which * stride; }
  T* field(int64_t which) { return fields.data() + which * stride; }
  int64_t stride;
  std::vector<T> rows;    // of those that are there
  std::vector<T> sorted;  // in their order around the axis; the last comes once more before the first
  std::vector<T> fields;  // rows by columns
  std::vector<double> columns;
  std::vector<T> keys;  // as `sorted`
  std::vector<T> features;
  std::vector<int64_t> places;   // in `rows`, in their order around the axis
  std::vector<int64_t> present;  // indices
};

template <class T>
std::vector<T> join(const Cloud<T>& cloud, std::span<const T> axes) {
  std::vector<T> rows(cloud.size * kRow);
  for (int64_t i = 0; i < cloud.size; ++i) {
    std::copy_n(cloud.row(i), 3, &rows[i * kRow]);
    std::copy_n(&axes[i * 3], 3, &rows[i * kRow + kAxis]);
  }
  return rows;
}

template <class T>
[[gnu::always_inline]] inline int64_t fill(const T* joined, const T* centre, const int64_t* row, int64_t k,
                                           Neighbourhood<T>& hood) {
  using V = simd::Vector<T, kRow>;
  const typename V::Real own{centre[0], centre[1], centre[2]};
  int64_t count = 0;
  T* rows = hood.rows.data();
  for (int64_t j = 0; j < k; ++j) {
    V::store(rows + count * kRow, V::load(joined + std::max<int64_t>(row[j], 0) * kRow) - own);
    hood.present[count] = row[j];
    count += row[j] >= 0;
  }
  std::fill(rows + count * kRow, rows + padded(count) * kRow, T(0));
  return count;
}

template <class T>
[[gnu::always_inline]] inline void transpose(const T* rows, int64_t count, Neighbourhood<T>& hood) {
  T *f0 = hood.field(0), *f1 = hood.field(1), *f2 = hood.field(2), *f3 = hood.field(3);
  T *f4 = hood.field(4), *f5 = hood.field(5), *f6 = hood.field(6), *f7 = hood.field(7);
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const T* row = rows + j * kRow;
    f0[j] = row[0];
    f1[j] = row[1];
    f2[j] = row[2];
    f3[j] = row[3];
    f4[j] = row[4];
    f5[j] = row[5];
    f6[j] = row[6];
    f7[j] = row[7];
  }
}

// Directions in the plane across the axis, and the squared length of what lies in it.
template <class T>
[[gnu::always_inline]] inline void flatten(Neighbourhood<T>& hood, int64_t count, const Coordinates& n) {
  using H = Neighbourhood<T>;
  const T *at_x = hood.field(0), *at_y = hood.field(1), *at_z = hood.field(2);
  double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  double* length = hood.column(H::flat);
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const double x = at_x[j], y = at_y[j], z = at_z[j];
    const double height = x * n.x + y * n.y + z * n.z;
    const double a = x - height * n.x, b = y - height * n.y, c = z - height * n.z;
    const double squared = a * a + b * b + c * c, whole = x * x + y * y + z * z;
    const double in_plane = squared > kRounding<T> * kRounding<T> * whole ? squared : 0;
    const double inverse = inverse_length(in_plane);
    u[j] = a * inverse;
    v[j] = b * inverse;
    w[j] = c * inverse;
    length[j] = in_plane;
  }
}

// The first of the greatest lengths; `count` is padded.
[[gnu::always_inline]] inline int64_t find_greatest(const double* length, int64_t count) {
  constexpr int64_t lanes = 8;
  double most[lanes]{};
  for (int64_t j = 0; j < count; j += lanes)
#pragma GCC unroll 1
    for (int64_t l = 0; l < lanes; ++l) most[l] = most[l] < length[j + l] ? length[j + l] : most[l];
  const double greatest = *std::max_element(most, most + lanes);
  int64_t first = 0;
  while (length[first] != greatest) ++first;
  return first;
}

// Where each neighbour stands in one turn around the axis, from that which is farthest from it: 1 there, falling to -3.
template <class T>
[[gnu::always_inline]] inline void find_keys(Neighbourhood<T>& hood, int64_t count, const Coordinates& n) {
  using H = Neighbourhood<T>;
  const double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  const int64_t first = find_greatest(hood.column(H::flat), count);
  const Coordinates start{u[first], v[first], w[first]}, sideways = cross(start, n);
  double* key = hood.column(H::key);
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const double along = u[j] * start.x + v[j] * start.y + w[j] * start.z;
    const double side = u[j] * sideways.x + v[j] * sideways.y + w[j] * sideways.z;
    const double low = along < -1 ? -1 : along, cosine = low > 1 ? 1 : low;
    key[j] = side < -kRounding<T> ? -cosine - 2 : cosine;
  }
}

// Places in descending order of their keys; of equal keys, as they stand in the row.
template <class T>
[[gnu::always_inline]] inline void rank_keys(Neighbourhood<T>& hood, int64_t count) {
  using H = Neighbourhood<T>;
  const double* key = hood.column(H::key);
  double *value = hood.column(H::flat), *rank = hood.column(H::rank);
  const int64_t end = padded(count);
#pragma GCC ivdep
  for (int64_t j = 0; j < end; ++j) {
    value[j] = (key[j] + kRoundKey) - kRoundKey + kKeyOffset - static_cast<double>(j) * kStep;
    rank[j] = 0;
  }
  for (int64_t j = count; j < end; ++j) value[j] = 0;  // below all
  constexpr int64_t together = 8;                      // so that ranks are read and written less often
  for (int64_t i = 0; i < end; i += together) {
    const double a = value[i], b = value[i + 1], c = value[i + 2], d = value[i + 3];
    const double e = value[i + 4], f = value[i + 5], g = value[i + 6], h = value[i + 7];
#pragma GCC ivdep
    for (int64_t j = 0; j < end; ++j)
      rank[j] += (((a > value[j] ? 1.0 : 0.0) + (b > value[j] ? 1.0 : 0.0)) +
                  ((c > value[j] ? 1.0 : 0.0) + (d > value[j] ? 1.0 : 0.0))) +
                 (((e > value[j] ? 1.0 : 0.0) + (f > value[j] ? 1.0 : 0.0)) +
                  ((g > value[j] ? 1.0 : 0.0) + (h > value[j] ? 1.0 : 0.0)));
  }
  for (int64_t j = 0; j < count; ++j) hood.places[static_cast<int64_t>(rank[j])] = j;
}

template <class T>
void sort_keys(Neighbourhood<T>& hood, int64_t count) {
  const double* key = hood.column(Neighbourhood<T>::key);
  const auto rounded = [&](int64_t j) { return (key[j] + kRoundKey) - kRoundKey; };
  std::iota(hood.places.begin(), hood.places.begin() + count, int64_t{0});
  std::stable_sort(hood.places.begin(), hood.places.begin() + count,
                   [&](int64_t i, int64_t j) { return rounded(i) > rounded(j); });
}

template <class T>
[[gnu::always_inline]] inline void reorder(Neighbourhood<T>& hood, int64_t count) {
  using V = simd::Vector<T, kRow>;
  const double* key = hood.column(Neighbourhood<T>::key);
  T *sorted = hood.sorted.data() + kRow, *keys = hood.keys.data() + 1;
  for (int64_t i = 0; i < count; ++i) {
    V::store(sorted + i * kRow, V::load(hood.rows.data() + hood.places[i] * kRow));
    keys[i] = static_cast<T>(key[hood.places[i]]);
  }
  V::store(sorted - kRow, V::load(sorted + (count - 1) * kRow));
  keys[-1] = keys[count - 1];
}

// `count` is padded; from the columns of the sorted rows.
template <class T>
[[gnu::always_inline]] inline void find_features(Neighbourhood<T>& hood, int64_t count, const T* axis) {
  const T *x = hood.field(0) + 1, *y = hood.field(1) + 1, *z = hood.field(2) + 1;
  const T *p = hood.field(kAxis) + 1, *q = hood.field(kAxis + 1) + 1, *r = hood.field(kAxis + 2) + 1;
  const T *key = hood.keys.data() + 1, nx = axis[0], ny = axis[1], nz = axis[2];
  // An axis may be at right angles to its neighbours by construction: rounding must not decide on signs there.
  constexpr T margin = kRounding<T>;
  T* out = hood.features.data();
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const T a = x[j] - x[j - 1], b = y[j] - y[j - 1], c = z[j] - z[j - 1];
    const T squared = x[j] * x[j] + y[j] * y[j] + z[j] * z[j];
    const T inverse = inverse_length(squared), step_inverse = inverse_length(a * a + b * b + c * c);
    const T own = (x[j] * nx + y[j] * ny + z[j] * nz) * inverse;
    const T other = (x[j] * p[j] + y[j] * q[j] + z[j] * r[j]) * inverse;
    const T step_own = (a * p[j] + b * q[j] + c * r[j]) * step_inverse;
    const T step_other = (a * p[j - 1] + b * q[j - 1] + c * r[j - 1]) * step_inverse;
    const T turned = angle_between(p[j], q[j], r[j], nx, ny, nz);
    const T step_turned = angle_between(p[j], q[j], r[j], p[j - 1], q[j - 1], r[j - 1]);
    T* to = out + j * kInvariants;
    to[0] = std::sqrt(squared);
    to[1] = key[j] - key[j - 1];
    to[2] = own;
    to[3] = other;
    to[4] = own + margin < other ? turned : -turned;
    to[5] = step_own;
    to[6] = step_other;
    to[7] = step_own + margin < step_other ? step_turned : -step_turned;
  }
  out[1] = -3 - key[-1];
}

}  // namespace

template <class T>
void rotation_invariant_features(const Cloud<T>& cloud, std::span<const T> axes, std::span<const int64_t> centers,
                                 const Table& neighbours, std::span<T> features, std::span<int64_t> ordered) {
  const int64_t k = neighbours.k;
  const std::vector<T> joined = join(cloud, axes);
  parallel_for((neighbours.rows + kTogether - 1) / kTogether, [&](int64_t piece) {
    Neighbourhood<T> hood(k);
    const int64_t end = std::min(neighbours.rows, (piece + 1) * kTogether);
    for (int64_t row = piece * kTogether; row < end; ++row) {
      const T *centre = &joined[centers[row] * kRow], *n = centre + kAxis;
      T* out = features.data() + row * k * kInvariants;
      int64_t count = 0;
      simd::with_widest([&]() __attribute__((always_inline)) {
        count = fill(joined.data(), centre, neighbours.row(row), k, hood);
        const int64_t end = padded(count);
        transpose(hood.rows.data(), end, hood);
        flatten(hood, end, coordinates(n));
        if (count == 0) return;
        find_keys(hood, end, coordinates(n));
        if (count <= kMostRanked) rank_keys(hood, count);
      });
      if (count > kMostRanked) sort_keys(hood, count);
      if (count > 0) {
        simd::with_widest([&]() __attribute__((always_inline)) {
          reorder(hood, count);
          transpose(hood.sorted.data(), padded(count + 1), hood);
          find_features(hood, padded(count), n);
        });
      }
      std::copy_n(hood.features.data(), count * kInvariants, out);
      int64_t* order = ordered.data() + row * k;
      for (int64_t i = 0; i < count; ++i) order[i] = hood.present[hood.places[i]];
      std::fill(order + count, order + k, -1);
      std::fill(out + count * kInvariants, out + k * kInvariants, T(0));
    }
  });
}

template void rotation_invariant_features(const Cloud<float>&, std::span<const float>, std::span<const int64_t>,
                                          const Table&, std::span<float>, std::span<int64_t>);
template void rotation_invariant_features(const Cloud<double>&, std::span<const double>, std::span<const int64_t>,
                                          const Table&, std::span<double>, std::span<int64_t>);

}  // namespace mk::points
