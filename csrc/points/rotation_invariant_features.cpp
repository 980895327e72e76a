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

// A point with its axis, as seen from a centre: x, y, z, key, and the axis. Rows are copied as one.
constexpr int64_t kRow = 8, kKey = 3, kAxis = 4;

// asin(x) / x = 1 + x^2 / 6 + 3 x^4 / 40 + ... to the precision of the type, for x^2 <= 1/2: the Chebyshev series in
// 4 x^2 - 1, as powers of x^2.
template <class T>
struct Arcsine;
template <>
struct Arcsine<float> {
  static constexpr float terms[]{
      1.0f,           0.166666069f,  0.0750307444f, 0.0440398399f, 0.0362279991f, -0.00881148472f,
      0.111685587f, -0.141247548f, 0.126604223f};
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
[[gnu::always_inline]] inline T angle_between(const T* a, const T* b) {
  constexpr T pi = std::numbers::pi_v<T>;
  const T cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2], sign = cosine < 0 ? T(-1) : T(1);
  const T x = a[0] - sign * b[0], y = a[1] - sign * b[1], z = a[2] - sign * b[2];
  const T quarter = (x * x + y * y + z * z) / 4, least = quarter < T(0.5) ? quarter : T(0.5);
  const T square = cosine == 0 ? T(0.5) : least;
  constexpr int terms = static_cast<int>(std::size(Arcsine<T>::terms));
  T series = Arcsine<T>::terms[terms - 1];
#pragma GCC unroll 32
  for (int term = terms - 2; term >= 0; --term) series = Arcsine<T>::terms[term] + square * series;
  const T angle = 2 * std::sqrt(square) * series;
  return cosine < 0 ? pi - angle : angle;
}

template <class T>
[[gnu::always_inline]] inline T dot(const T* a, const T* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// 1 / |v|, or 0 for 0.
template <class T>
[[gnu::always_inline]] inline T inverse_length(T squared) {
  return squared > 0 ? 1 / std::sqrt(squared) : T(0);
}

// What is known of the neighbours of one centre.
template <class T>
struct Neighbourhood {
  explicit Neighbourhood(int64_t k)
      : rows(k * kRow), sorted((k + 1) * kRow), columns(kColumns * k), stride(k), places(k), present(k) {}
  enum Column { flat_x, flat_y, flat_z, flat, key, rank, kColumns };
  double* column(Column which) { return columns.data() + which * stride; }
  std::vector<T> rows;    // of those that are there
  std::vector<T> sorted;  // in their order around the axis; the last comes once more before the first
  std::vector<double> columns;
  int64_t stride;
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
  const T own[kRow]{centre[0], centre[1], centre[2]};
  int64_t count = 0;
  T* rows = hood.rows.data();
  for (int64_t j = 0; j < k; ++j) {
    if (row[j] < 0) continue;
    const T* from = joined + row[j] * kRow;
    T* to = rows + count * kRow;
    for (int64_t c = 0; c < kRow; ++c) to[c] = from[c] - own[c];
    hood.present[count++] = row[j];
  }
  return count;
}

// Directions in the plane across the axis, and the squared length of what lies in it.
template <class T>
[[gnu::always_inline]] inline void flatten(Neighbourhood<T>& hood, int64_t count, const Coordinates& n) {
  using H = Neighbourhood<T>;
  const T* rows = hood.rows.data();
  double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  double* length = hood.column(H::flat);
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const double x = rows[j * kRow], y = rows[j * kRow + 1], z = rows[j * kRow + 2];
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

// Where each neighbour stands in one turn around the axis, from that which is farthest from it: 1 there, falling to -3.
template <class T>
[[gnu::always_inline]] inline void find_keys(Neighbourhood<T>& hood, int64_t count, const Coordinates& n) {
  using H = Neighbourhood<T>;
  const double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  const double* length = hood.column(H::flat);
  int64_t first = 0;
  for (int64_t j = 1; j < count; ++j) first = length[j] > length[first] ? j : first;
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
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    value[j] = (key[j] + kRoundKey) - kRoundKey + kKeyOffset - static_cast<double>(j) * kStep;
    rank[j] = 0;
  }
  constexpr int64_t together = 4;  // so that ranks are read and written less often
  int64_t i = 0;
  for (; i + together <= count; i += together) {
    const double a = value[i], b = value[i + 1], c = value[i + 2], d = value[i + 3];
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j)
      rank[j] += ((a > value[j] ? 1.0 : 0.0) + (b > value[j] ? 1.0 : 0.0)) +
                 ((c > value[j] ? 1.0 : 0.0) + (d > value[j] ? 1.0 : 0.0));
  }
  for (; i < count; ++i)
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) rank[j] += value[i] > value[j] ? 1.0 : 0.0;
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
  using H = Neighbourhood<T>;
  const double *key = hood.column(H::key), *rank = hood.column(H::rank);
  if (count <= kMostRanked)
    for (int64_t j = 0; j < count; ++j) hood.places[static_cast<int64_t>(rank[j])] = j;
  T* sorted = hood.sorted.data() + kRow;
  for (int64_t i = 0; i < count; ++i) {
    const T* from = hood.rows.data() + hood.places[i] * kRow;
    T* to = sorted + i * kRow;
    for (int64_t c = 0; c < kRow; ++c) to[c] = from[c];
    to[kKey] = static_cast<T>(key[hood.places[i]]);
  }
  std::copy_n(sorted + (count - 1) * kRow, kRow, sorted - kRow);
}

template <class T>
[[gnu::always_inline]] inline void find_features(const Neighbourhood<T>& hood, int64_t count, const T* n, T* out) {
  const T* sorted = hood.sorted.data() + kRow;
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const T *at = sorted + j * kRow, *before = at - kRow, *axis = at + kAxis, *axis_before = before + kAxis;
    const T step[3]{at[0] - before[0], at[1] - before[1], at[2] - before[2]};
    const T squared = dot(at, at), inverse = inverse_length(squared), step_inverse = inverse_length(dot(step, step));
    const T own = dot(at, n) * inverse, other = dot(at, axis) * inverse;
    const T step_own = dot(step, axis) * step_inverse, step_other = dot(step, axis_before) * step_inverse;
    const T turned = angle_between(axis, n), step_turned = angle_between(axis, axis_before);
    out[j * kInvariants] = std::sqrt(squared);
    out[j * kInvariants + 1] = at[kKey] - before[kKey];
    out[j * kInvariants + 2] = own;
    out[j * kInvariants + 3] = other;
    out[j * kInvariants + 4] = own < other ? turned : -turned;
    out[j * kInvariants + 5] = step_own;
    out[j * kInvariants + 6] = step_other;
    out[j * kInvariants + 7] = step_own < step_other ? step_turned : -step_turned;
  }
  out[1] = -3 - sorted[(count - 1) * kRow + kKey];
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
        flatten(hood, count, coordinates(n));
        find_keys(hood, count, coordinates(n));
        if (count <= kMostRanked) rank_keys(hood, count);
      });
      if (count > kMostRanked) sort_keys(hood, count);
      if (count > 0) {
        simd::with_widest([&]() __attribute__((always_inline)) {
          reorder(hood, count);
          find_features(hood, count, n, out);
        });
      }
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
