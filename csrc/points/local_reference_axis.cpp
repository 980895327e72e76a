#include "points/local_reference_axis.h"

#include <algorithm>
#include <vector>

#include "common/double_lanes.h"
#include "common/parallel.h"
#include "points/columns.h"

namespace mk::points {

namespace {

constexpr int kLanes = 16;          // points whose neighbours are looked at together
constexpr int kWide = 2 * kLanes;   // points whose axes are found together: registers do not wait for each other
constexpr int64_t kTogether = 128;  // points of one piece of work
// Cyclic rotations of a 3 x 3 matrix converge quadratically: a fifth sweep changes no bit of any axis.
constexpr int kSweeps = 4;
// Rounding in float64: of sums, as a share of the greatest eigenvalue, and of weights.
constexpr double kSumRounding = 1e-14;
// A point is on the plane through the centroid if it is as near to it as this share of the greatest coordinate.
template <class T>
constexpr double kOnPlane = sizeof(T) == sizeof(float) ? 1e-6 : 1e-15;

using Lanes = double[kLanes];
using Wide = double[kWide];

// The centre of a cloud and its greatest coordinate.
struct Centre {
  Coordinates mean{};
  double extent = 0;
};

template <class T>
Centre centre_of(const Cloud<T>& cloud) {
  Centre centre;
  const double share = 1.0 / static_cast<double>(cloud.size);
  for (int64_t i = 0; i < cloud.size; ++i) {
    const Coordinates at = coordinates(cloud.row(i));
    centre.mean = {centre.mean.x + share * at.x, centre.mean.y + share * at.y, centre.mean.z + share * at.z};
    centre.extent = std::max({centre.extent, std::abs(at.x), std::abs(at.y), std::abs(at.z)});
  }
  return centre;
}

// Symmetric matrices, one a lane.
struct Matrices {
  Wide xx{}, xy{}, xz{}, yy{}, yz{}, zz{};
};

// What is near some points, one row a neighbour and one lane a point.
template <class T>
struct Surroundings {
  explicit Surroundings(int64_t k)
      : size(std::max<int64_t>(1, k) * kLanes), near(size), at(3 * size), x(size), y(size), z(size), squared(size) {}
  int64_t size;
  Lines<int32_t> near;  // indices, point by point
  Lines<T> at;          // x, y and z of each neighbour
  T own[3][kLanes];
  Lines<double> x, y, z, squared;  // offsets, and their lengths
};

// Registers of doubles of so many bytes.
template <int kBytes>
struct DoublesOf {
  using Type = simd::BaselineDoubles;
};
#if defined(__x86_64__)
template <>
struct DoublesOf<32> {
  using Type = simd::Avx2Doubles;
};
template <>
struct DoublesOf<64> {
  using Type = simd::Avx512Doubles;
};
#endif
template <int kBytes>
using Doubles = typename DoublesOf<kBytes>::Type;

template <class T>
struct alignas(kRow * sizeof(T)) Place {
  T at[kRow]{};
};

template <class T>
std::vector<Place<T>> places_of(const Cloud<T>& cloud) {
  std::vector<Place<T>> places(cloud.size);
  for (int64_t i = 0; i < cloud.size; ++i) std::copy_n(cloud.row(i), 3, places[i].at);
  return places;
}

// An absent neighbour is taken for the point itself, which adds nothing.
template <class T, int kColumn>
[[gnu::always_inline]] inline void gather(const Place<T>* places, const Table& neighbours, int64_t first, int count,
                                          Surroundings<T>& around) {
  const int64_t k = neighbours.k;
  for (int l = 0; l < kLanes; ++l) {
    const int64_t point = first + std::min(l, count - 1);
    const int64_t* row = neighbours.row(point);
    int32_t* near = around.near.data() + l * k;
    for (int64_t j = 0; j < k; ++j) near[j] = static_cast<int32_t>(row[j] < 0 ? point : row[j]);
    for (int d = 0; d < 3; ++d) around.own[d][l] = places[point].at[d];
  }
  for (int l = 0; l < kLanes; l += kColumn) {
    const int32_t* near = around.near.data() + l * k;
    T* at = around.at.data() + l;
    for (int64_t j = 0; j < k; ++j, at += 3 * kLanes) {
      Register<T, kColumn> columns[kRow];
      to_columns<T, kColumn>([&](int i) __attribute__((always_inline)) { return places[near[i * k + j]].at; }, columns);
      for (int d = 0; d < 3; ++d) simd::Vector<T, kColumn>::store(at + d * kLanes, columns[d]);
    }
  }
}

// Sums for kLanes points, from lane `first` of the matrices on. Offsets are divided by the greatest distance, so that
// no product overflows.
template <class L, class T>
[[gnu::always_inline]] inline void moments(Surroundings<T>& around, int64_t k, bool weighted, Matrices& sums,
                                           int first) {
  double *x = around.x.data(), *y = around.y.data(), *z = around.z.data(), *squared = around.squared.data();
  const T* at = around.at.data();
  Lanes greatest{}, scale;
  for (int64_t j = 0; j < k * kLanes; j += kLanes, at += 3 * kLanes)
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int l = 0; l < kLanes; ++l) {
      x[j + l] = static_cast<double>(at[l]) - static_cast<double>(around.own[0][l]);
      y[j + l] = static_cast<double>(at[kLanes + l]) - static_cast<double>(around.own[1][l]);
      z[j + l] = static_cast<double>(at[2 * kLanes + l]) - static_cast<double>(around.own[2][l]);
      squared[j + l] = x[j + l] * x[j + l] + y[j + l] * y[j + l] + z[j + l] * z[j + l];
      greatest[l] = greatest[l] < squared[j + l] ? squared[j + l] : greatest[l];
    }
  for (int l = 0; l < kLanes; ++l) scale[l] = greatest[l] > 0 ? 1 / std::sqrt(greatest[l]) : 0;
  using V = typename L::V;
  using Real = typename V::Real;
  // Weights are 1 throughout, or fall with the distance from 1 at the point to 0, exactly, at the farthest neighbour.
  const Real start = V::broadcast(weighted ? 1 : 0), least = V::broadcast(weighted ? 0 : 1);
  const Real rounding = V::broadcast(kSumRounding);
  for (int l = 0; l < kLanes; l += V::lanes) {
    const Real factor = V::load(scale + l);
    Real xx{}, xy{}, xz{}, yy{}, yz{}, zz{};
    for (int64_t j = l; j < k * kLanes; j += kLanes) {
      const Real near = start - L::root(V::load(squared + j)) * factor;
      const Real weight = L::choose(rounding, near, near, least);
      const Real a = V::load(x + j) * factor, b = V::load(y + j) * factor, c = V::load(z + j) * factor;
      const Real wa = weight * a, wb = weight * b, wc = weight * c;
      xx = xx + wa * a;
      xy = xy + wa * b;
      xz = xz + wa * c;
      yy = yy + wb * b;
      yz = yz + wb * c;
      zz = zz + wc * c;
    }
    V::store(sums.xx + first + l, xx);
    V::store(sums.xy + first + l, xy);
    V::store(sums.xz + first + l, xz);
    V::store(sums.yy + first + l, yy);
    V::store(sums.yz + first + l, yz);
    V::store(sums.zz + first + l, zz);
  }
}

// Three orthogonal vectors of one lane each; rows[d] holds coordinate d of all three.
struct Frames {
  Wide rows[3][3]{};
};

// Makes the element pq of the matrices 0 by a rotation in the plane of p and q; r is the third axis.
[[gnu::always_inline]] inline void rotate(Wide& pp, Wide& qq, Wide& pq, Wide& pr, Wide& qr, Frames& frames, int p,
                                          int q) {
  Wide cosine, sine;
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int l = 0; l < kWide; ++l) {
    const double apart = qq[l] - pp[l], twice = 2 * pq[l];
    const double below = std::abs(apart) + std::sqrt(apart * apart + twice * twice);
    const double above = apart < 0 ? -twice : twice;
    const double tangent = below > 0 ? above / below : 0;
    cosine[l] = 1 / std::sqrt(1 + tangent * tangent);
    sine[l] = tangent * cosine[l];
    pp[l] -= tangent * pq[l];
    qq[l] += tangent * pq[l];
    pq[l] = 0;
    const double old = pr[l];
    pr[l] = cosine[l] * old - sine[l] * qr[l];
    qr[l] = sine[l] * old + cosine[l] * qr[l];
  }
  for (auto& row : frames.rows)
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int l = 0; l < kWide; ++l) {
      const double old = row[p][l];
      row[p][l] = cosine[l] * old - sine[l] * row[q][l];
      row[q][l] = sine[l] * old + cosine[l] * row[q][l];
    }
}

// Eigenvectors of the smallest eigenvalues; 0 where the two smallest cannot be told apart.
template <class T>
[[gnu::always_inline]] inline void smallest_axes(Matrices& a, Wide (&axis)[3]) {
  Frames frames;
  for (int d = 0; d < 3; ++d) std::fill_n(frames.rows[d][d], kWide, 1.0);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    rotate(a.xx, a.yy, a.xy, a.xz, a.yz, frames, 0, 1);
    rotate(a.xx, a.zz, a.xz, a.xy, a.yz, frames, 0, 2);
    rotate(a.yy, a.zz, a.yz, a.xy, a.xz, frames, 1, 2);
  }
  for (int l = 0; l < kWide; ++l) {
    const bool y_first = a.yy[l] < a.xx[l];
    const double lower = y_first ? a.yy[l] : a.xx[l], upper = y_first ? a.xx[l] : a.yy[l];
    const bool z_first = a.zz[l] < lower;
    const double smallest = z_first ? a.zz[l] : lower, rest = z_first ? lower : a.zz[l];
    const double middle = rest < upper ? rest : upper, greatest = rest < upper ? upper : rest;
    const double gap = middle - smallest;
    const bool stands_out =
        (gap * gap > kRounding<T> * kRounding<T> * middle * greatest) & (middle > kSumRounding * greatest);
    for (int d = 0; d < 3; ++d) {
      const double of_xy = y_first ? frames.rows[d][1][l] : frames.rows[d][0][l];
      const double found = z_first ? frames.rows[d][2][l] : of_xy;
      axis[d][l] = stands_out ? found : 0;
    }
  }
}

// Which of n and -n: away from the centre of the cloud; on the plane through it, the coordinate of the greatest size
// is positive.
[[gnu::always_inline]] inline void turn_outwards(Wide (&axis)[3], const Wide (&at)[3], const Centre& centre,
                                                 double on_plane) {
  const double mx = centre.mean.x, my = centre.mean.y, mz = centre.mean.z, least = on_plane * centre.extent;
#pragma GCC ivdep
  for (int l = 0; l < kWide; ++l) {
    const double x = axis[0][l], y = axis[1][l], z = axis[2][l];
    const double away = x * (at[0][l] - mx) + y * (at[1][l] - my) + z * (at[2][l] - mz);
    const double y_or_z = std::abs(z) > std::abs(y) ? z : y;
    const double greatest = std::abs(y_or_z) > std::abs(x) ? y_or_z : x;
    const double deciding = std::abs(away) > least ? away : greatest;
    const double sign = deciding < 0 ? -1.0 : 1.0;
    axis[0][l] = sign * x + 0.0;
    axis[1][l] = sign * y + 0.0;
    axis[2][l] = sign * z + 0.0;
  }
}

}  // namespace

template <class T>
void local_reference_axis(const Cloud<T>& cloud, const Table& neighbours, bool weighted, std::span<T> axes) {
  if (cloud.size == 0) return;
  const Centre centre = centre_of(cloud);
  const std::vector<Place<T>> places = places_of(cloud);
  parallel_for((cloud.size + kTogether - 1) / kTogether, [&](int64_t piece) {
    Surroundings<T> around(neighbours.k);
    const int64_t end = std::min(cloud.size, (piece + 1) * kTogether);
    for (int64_t first = piece * kTogether; first < end; first += kWide) {
      const int count = static_cast<int>(std::min<int64_t>(kWide, end - first));
      Wide axis[3];
      with_widest_registers([&](auto bytes) __attribute__((always_inline)) {
        constexpr int lanes = kLanesIn<T, decltype(bytes)>;
        Matrices matrices;
        Wide at[3];
        for (int half = 0; half < kWide; half += kLanes) {
          gather<T, lanes>(places.data(), neighbours, first + std::min(half, count - 1), std::max(1, count - half),
                           around);
          moments<Doubles<decltype(bytes)::value>>(around, neighbours.k, weighted, matrices, half);
          for (int d = 0; d < 3; ++d)
            for (int l = 0; l < kLanes; ++l) at[d][half + l] = static_cast<double>(around.own[d][l]);
        }
        smallest_axes<T>(matrices, axis);
        turn_outwards(axis, at, centre, kOnPlane<T>);
      });
      for (int l = 0; l < count; ++l)
        for (int d = 0; d < 3; ++d) axes[(first + l) * 3 + d] = static_cast<T>(axis[d][l]);
    }
  });
}

template void local_reference_axis(const Cloud<float>&, const Table&, bool, std::span<float>);
template void local_reference_axis(const Cloud<double>&, const Table&, bool, std::span<double>);

}  // namespace mk::points
