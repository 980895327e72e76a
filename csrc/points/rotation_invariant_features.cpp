#include "points/rotation_invariant_features.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "common/parallel.h"
#include "points/columns.h"
#include "points/sorted_words.h"

namespace mk::points {

namespace {

constexpr int64_t kTogether = 64;  // centres of one piece of work
// Centres that go through a step before any goes through the next, so that none waits for what it has just stored.
constexpr int64_t kAtOnce = 4;
constexpr int64_t kMostRanked = 256;  // with more neighbours, sorting is faster than counting
// Keys are rounded to multiples of 2^-39, so that those equal but for rounding are equal. Of the bits below, a step
// for each neighbour decides between them.
constexpr double kRoundKey = 3.0 * (1 << 12), kKeyOffset = 4, kStep = 1.0 / (int64_t{1} << 50);
// Keys as integers of 32 bits that ascend while keys fall. With the places of up to kSorted neighbours in the last bits
// they are sorted in registers. They mostly tell keys apart; where not, the keys themselves decide.
constexpr double kCodes = 1 << 29;
constexpr int kSorted = 32;

// Columns are padded to a multiple of this, so that vector loops leave no rest.
constexpr int64_t kPadding = 16;

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
  constexpr T right = std::numbers::pi_v<T> / 2;
  const T cosine = ax * bx + ay * by + az * bz;
  // Selected by arithmetic, since of a condition the compiler would make two series. Adding 0 makes 0 of -0.
  const T sign = std::copysign(T(1), cosine + T(0));
  const T x = ax - sign * bx, y = ay - sign * by, z = az - sign * bz;
  const T quarter = (x * x + y * y + z * z) / 4, least = quarter < T(0.5) ? quarter : T(0.5);
  const T square = cosine == 0 ? T(0.5) : least;
  constexpr int terms = static_cast<int>(std::size(Arcsine<T>::terms));
  T series = Arcsine<T>::terms[terms - 1];
#pragma GCC unroll 32
  for (int term = terms - 2; term >= 0; --term) series = Arcsine<T>::terms[term] + square * series;
  const T angle = 2 * std::sqrt(square) * series;
  return (right - sign * right) + sign * angle;
}

// 1 / |v|, or 0 for 0.
template <class T>
[[gnu::always_inline]] inline T inverse_length(T squared) {
  return squared > 0 ? 1 / std::sqrt(squared) : T(0);
}

int64_t padded(int64_t count) { return (count + kPadding - 1) / kPadding * kPadding; }

// A point with its axis.
template <class T>
struct alignas(2 * kRow * sizeof(T)) Place {
  T at[kRow]{}, axis[kRow]{};
};

template <class T>
std::vector<Place<T>> join(const Cloud<T>& cloud, std::span<const T> axes) {
  std::vector<Place<T>> places(cloud.size);
  for (int64_t i = 0; i < cloud.size; ++i) {
    std::copy_n(cloud.row(i), 3, places[i].at);
    std::copy_n(&axes[i * 3], 3, places[i].axis);
  }
  return places;
}

// What is known of the neighbours of one centre, by columns.
template <class T>
struct Neighbourhood {
  explicit Neighbourhood(int64_t k)
      : stride(std::max<int64_t>(kSorted, padded(k))),
        present(stride),
        codes(kPadding + stride),
        doubles(stride * kDoubles),
        own(stride * kNumbers) {}
  enum Double { flat_x, flat_y, flat_z, flat, key, rank, kDoubles };
  enum Number { x, y, z, axis_x, axis_y, axis_z, rounded_key, kNumbers };
  double* column(Double which) { return doubles.data() + which * stride; }
  T* number(int which) { return own.data() + which * stride; }
  // In the order around the axis; the last comes once more before the first.
  int32_t* places() { return codes.data() + kPadding; }
  int64_t stride, count = 0;
  Lines<int32_t> present;  // indices
  Lines<int32_t> codes;    // of keys, and then places
  Lines<double> doubles;
  Lines<T> own;
};

// Those that are there; the indices after them, up to a full register, are `filler`.
template <class T>
[[gnu::always_inline]] inline void find_present(const int64_t* row, int64_t k, int64_t filler, Neighbourhood<T>& hood) {
  int32_t* present = hood.present.data();
  int64_t any = 0;
  for (int64_t j = 0; j < k; ++j) {
    any |= row[j];
    present[j] = static_cast<int32_t>(row[j]);
  }
  hood.count = k;
  if (any < 0) {
    hood.count = 0;
    for (int64_t j = 0; j < k; ++j) {
      present[hood.count] = static_cast<int32_t>(row[j]);
      hood.count += row[j] >= 0;
    }
  }
  std::fill(present + hood.count, present + padded(hood.count), static_cast<int32_t>(filler));
}

template <class T, int kLanes>
[[gnu::always_inline]] inline void gather(const Place<T>* places, Neighbourhood<T>& hood) {
  using H = Neighbourhood<T>;
  const int32_t* present = hood.present.data();
  for (int64_t j = 0; j < padded(hood.count); j += kLanes) {
    Register<T, kLanes> at[kRow], axis[kRow];
    to_columns<T, kLanes>([&](int i) __attribute__((always_inline)) { return places[present[j + i]].at; }, at);
    to_columns<T, kLanes>([&](int i) __attribute__((always_inline)) { return places[present[j + i]].axis; }, axis);
    for (int d = 0; d < 3; ++d) {
      simd::Vector<T, kLanes>::store(hood.number(H::x + d) + j, at[d]);
      simd::Vector<T, kLanes>::store(hood.number(H::axis_x + d) + j, axis[d]);
    }
  }
}

// Directions in the plane across the axis, and the squared length of what lies in it.
template <class T>
[[gnu::always_inline]] inline void flatten(Neighbourhood<T>& hood, int64_t count, const Place<T>& centre) {
  using H = Neighbourhood<T>;
  const Coordinates n = coordinates(centre.axis);
  const T cx = centre.at[0], cy = centre.at[1], cz = centre.at[2];
  const T *at_x = hood.number(H::x), *at_y = hood.number(H::y), *at_z = hood.number(H::z);
  double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  double* length = hood.column(H::flat);
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const double x = at_x[j] - cx, y = at_y[j] - cy, z = at_z[j] - cz;
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

// The first of the greatest lengths; `count` is padded. As integers, numbers that are not negative have the same order.
[[gnu::always_inline]] inline int64_t find_greatest(const double* length, int64_t count) {
  int64_t greatest = 0, left = 0;
  for (int64_t j = 0; j < count; ++j) greatest = std::max(greatest, std::bit_cast<int64_t>(length[j]));
  for (int64_t j = 0; j < count; ++j) {
    const int64_t here = std::bit_cast<int64_t>(length[j]) == greatest ? count - j : 0;
    left = left < here ? here : left;
  }
  return count - left;
}

// Where each neighbour stands in one turn around the axis, from that which is farthest from it: 1 there, falling to -3.
template <class T>
[[gnu::always_inline]] inline void find_keys(Neighbourhood<T>& hood, int64_t count, const Coordinates& n) {
  using H = Neighbourhood<T>;
  const double *u = hood.column(H::flat_x), *v = hood.column(H::flat_y), *w = hood.column(H::flat_z);
  const int64_t first = find_greatest(hood.column(H::flat), count);
  const Coordinates start{u[first], v[first], w[first]}, sideways = cross(start, n);
  double* key = hood.column(H::key);
  T* rounded_key = hood.number(H::rounded_key);
  int32_t* codes = hood.places();
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const double along = u[j] * start.x + v[j] * start.y + w[j] * start.z;
    const double side = u[j] * sideways.x + v[j] * sideways.y + w[j] * sideways.z;
    const double cosine = std::min(std::max(along, -1.0), 1.0);
    key[j] = side < -kRounding<T> ? -cosine - 2 : cosine;
    rounded_key[j] = static_cast<T>(key[j]);
    codes[j] = static_cast<int32_t>((-1 - ((key[j] + kRoundKey) - kRoundKey)) * kCodes);
  }
}

// Sorts codes with their places, after which come as many others as make up kSorted.
template <class T, int kLanes>
[[gnu::always_inline]] inline void sort_codes(Neighbourhood<T>& hood) {
  int32_t* codes = hood.places();
  const auto count = static_cast<int32_t>(hood.count);
  constexpr int32_t greatest = std::numeric_limits<int32_t>::max();
#pragma GCC ivdep
  for (int32_t j = 0; j < kSorted; ++j) {
    const int32_t code = j < count ? codes[j] : greatest - j * kSorted;
    codes[j] = (code & -kSorted) + j;
  }
  constexpr int registers = kSorted / kLanes;
  Words<kLanes> words[registers];
  std::memcpy(words, codes, sizeof(words));
  sort_words<registers, kLanes>(words);
  std::memcpy(codes, words, sizeof(words));
}

// Places from the sorted codes; false if two codes are equal, so that they do not tell the order.
template <class T>
[[gnu::always_inline]] inline bool places_of_codes(Neighbourhood<T>& hood) {
  int32_t* codes = hood.places();
  int32_t equal = 0;
  for (int32_t i = 1; i < kSorted; ++i) equal |= ((codes[i] ^ codes[i - 1]) & -kSorted) == 0;
  for (int32_t i = 0; i < kSorted; ++i) codes[i] &= kSorted - 1;
  return equal == 0;
}

// Places in descending order of their keys; of equal keys, as they stand in the row. Counts those before each.
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
  for (int64_t j = 0; j < count; ++j) hood.places()[static_cast<int64_t>(rank[j])] = static_cast<int32_t>(j);
}

// What comes before the first, and, so that registers are full, after the last.
template <class T>
[[gnu::always_inline]] inline void close_turn(Neighbourhood<T>& hood) {
  int32_t* places = hood.places();
  if (hood.count > 0) places[-1] = places[hood.count - 1];
  std::fill(places + hood.count, places + padded(hood.count), 0);
}

template <class T>
void sort_keys(Neighbourhood<T>& hood) {
  const double* key = hood.column(Neighbourhood<T>::key);
  const auto rounded = [&](int64_t j) { return (key[j] + kRoundKey) - kRoundKey; };
  std::iota(hood.places(), hood.places() + hood.count, 0);
  std::stable_sort(hood.places(), hood.places() + hood.count,
                   [&](int64_t i, int64_t j) { return rounded(i) > rounded(j); });
}

// Numbers of a column by their places in it, which are less than kSorted where kFew.
template <bool kFew, int kLanes, class T>
[[gnu::always_inline]] inline void look_up(const T* column, const int32_t* places, T* found) {
#if defined(__x86_64__) && !defined(__clang__)
  if constexpr (kFew && kLanes == 16 && sizeof(T) == sizeof(int32_t)) {
    Words<kLanes> here, low, high;
    std::memcpy(&here, places, sizeof(here));
    std::memcpy(&low, column, sizeof(low));
    std::memcpy(&high, column + kLanes, sizeof(high));
    const Words<kLanes> words = __builtin_ia32_vpermt2vard512_mask(here, low, high, static_cast<uint16_t>(-1));
    std::memcpy(found, &words, sizeof(words));
    return;
  }
#endif
  for (int l = 0; l < kLanes; ++l) found[l] = column[places[l]];
}

// The features of some neighbours, by columns, from those of the neighbours and of the ones before them.
template <class T, int kLanes>
[[gnu::always_inline]] inline void find_features(const Place<T>& centre,
                                                 const T (&now)[Neighbourhood<T>::kNumbers][kLanes],
                                                 const T (&last)[Neighbourhood<T>::kNumbers][kLanes],
                                                 T (&found)[kInvariants][kLanes]) {
  using H = Neighbourhood<T>;
  const T cx = centre.at[0], cy = centre.at[1], cz = centre.at[2];
  const T nx = centre.axis[0], ny = centre.axis[1], nz = centre.axis[2];
  // An axis may be at right angles to its neighbours by construction: rounding must not decide on signs there.
  constexpr T margin = kRounding<T>;
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const T x = now[H::x][l] - cx, y = now[H::y][l] - cy, z = now[H::z][l] - cz;
    const T a = x - (last[H::x][l] - cx), b = y - (last[H::y][l] - cy), c = z - (last[H::z][l] - cz);
    const T p = now[H::axis_x][l], q = now[H::axis_y][l], r = now[H::axis_z][l];
    const T u = last[H::axis_x][l], v = last[H::axis_y][l], w = last[H::axis_z][l];
    const T squared = x * x + y * y + z * z;
    const T inverse = inverse_length(squared), step_inverse = inverse_length(a * a + b * b + c * c);
    const T own = (x * nx + y * ny + z * nz) * inverse;
    const T other = (x * p + y * q + z * r) * inverse;
    const T step_own = (a * p + b * q + c * r) * step_inverse;
    const T step_other = (a * u + b * v + c * w) * step_inverse;
    const T turned = angle_between(p, q, r, nx, ny, nz);
    const T step_turned = angle_between(p, q, r, u, v, w);
    found[0][l] = std::sqrt(squared);
    found[1][l] = now[H::rounded_key][l] - last[H::rounded_key][l];
    found[2][l] = own;
    found[3][l] = other;
    found[4][l] = own + margin < other ? turned : -turned;
    found[5][l] = step_own;
    found[6][l] = step_other;
    found[7][l] = step_own + margin < step_other ? step_turned : -step_turned;
  }
}

template <class T, int kLanes, bool kFew>
[[gnu::always_inline]] inline void write_features(const Place<T>& centre, Neighbourhood<T>& hood, T* out,
                                                  int64_t* ordered) {
  using H = Neighbourhood<T>;
  for (int64_t first = 0; first < hood.count; first += kLanes) {
    const int32_t* places = hood.places() + first;
    alignas(64) T now[H::kNumbers][kLanes], last[H::kNumbers][kLanes], found[kInvariants][kLanes];
    for (int d = 0; d < H::kNumbers; ++d) {
      look_up<kFew, kLanes>(hood.number(d), places, now[d]);
      look_up<kFew, kLanes>(hood.number(d), places - 1, last[d]);
    }
    find_features(centre, now, last, found);
    int32_t indices[kLanes];
    look_up<kFew, kLanes>(hood.present.data(), places, indices);
    Register<T, kLanes> low[kRow], high[kRow];
    for (int i = 0; i < kRow; ++i) {
      low[i] = simd::Vector<T, kLanes>::load(found[i]);
      high[i] = simd::Vector<T, kLanes>::load(found[kRow + i]);
    }
    if (hood.count - first < kLanes) {
      const int64_t rest = hood.count - first;
      T rows[kLanes * kInvariants];
      write_rows<T, kLanes>(low, high, rows);
      std::copy_n(rows, rest * kInvariants, out + first * kInvariants);
      std::copy_n(indices, rest, ordered + first);
    } else {
      write_rows<T, kLanes>(low, high, out + first * kInvariants);
      for (int l = 0; l < kLanes; ++l) ordered[first + l] = indices[l];
    }
  }
  out[1] = -3 - hood.number(H::rounded_key)[hood.places()[-1]];
}

}  // namespace

template <class T>
void rotation_invariant_features(const Cloud<T>& cloud, std::span<const T> axes, std::span<const int64_t> centers,
                                 const Table& neighbours, std::span<T> features, std::span<int64_t> ordered) {
  const int64_t k = neighbours.k;
  const std::vector<Place<T>> joined = join(cloud, axes);
  const Place<T>* places = joined.data();
  parallel_for((neighbours.rows + kTogether - 1) / kTogether, [&](int64_t piece) {
    std::vector<Neighbourhood<T>> hoods(kAtOnce, Neighbourhood<T>(k));
    const int64_t end = std::min(neighbours.rows, (piece + 1) * kTogether);
    for (int64_t first = piece * kTogether; first < end; first += kAtOnce) {
      const int64_t rows = std::min(kAtOnce, end - first);
      const auto centre = [&](int64_t i) -> const Place<T>& { return places[centers[first + i]]; };
      with_widest_registers([&](auto bytes) __attribute__((always_inline)) {
        constexpr int lanes = kLanesIn<T, decltype(bytes)>, words = kLanesIn<int32_t, decltype(bytes)>;
        for (int64_t i = 0; i < rows; ++i) {
          find_present(neighbours.row(first + i), k, centers[first + i], hoods[i]);
          gather<T, lanes>(places, hoods[i]);
        }
        for (int64_t i = 0; i < rows; ++i) flatten(hoods[i], padded(hoods[i].count), centre(i));
        for (int64_t i = 0; i < rows; ++i)
          if (hoods[i].count > 0) find_keys(hoods[i], padded(hoods[i].count), coordinates(centre(i).axis));
        for (int64_t i = 0; i < rows; ++i)
          if (hoods[i].count <= kSorted) sort_codes<T, words>(hoods[i]);
        for (int64_t i = 0; i < rows; ++i) {
          if (hoods[i].count > kMostRanked)
            sort_keys(hoods[i]);
          else if (hoods[i].count > kSorted || !places_of_codes(hoods[i]))
            rank_keys(hoods[i], hoods[i].count);
          close_turn(hoods[i]);
        }
        for (int64_t i = 0; i < rows; ++i) {
          T* out = features.data() + (first + i) * k * kInvariants;
          int64_t* order = ordered.data() + (first + i) * k;
          const int64_t count = hoods[i].count;
          if (count > kSorted)
            write_features<T, lanes, false>(centre(i), hoods[i], out, order);
          else if (count > 0)
            write_features<T, lanes, true>(centre(i), hoods[i], out, order);
          std::fill(out + count * kInvariants, out + k * kInvariants, T(0));
          std::fill(order + count, order + k, -1);
        }
      });
    }
  });
}

template void rotation_invariant_features(const Cloud<float>&, std::span<const float>, std::span<const int64_t>,
                                          const Table&, std::span<float>, std::span<int64_t>);
template void rotation_invariant_features(const Cloud<double>&, std::span<const double>, std::span<const int64_t>,
                                          const Table&, std::span<double>, std::span<int64_t>);

}  // namespace mk::points
