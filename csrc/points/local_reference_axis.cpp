#include "points/local_reference_axis.h"

#include <algorithm>
#include <vector>

#include "common/parallel.h"

namespace mk::points {

namespace {

constexpr int kLanes = 16;          // points that are worked on together: two registers do not wait for each other
constexpr int64_t kTogether = 128;  // points of one piece of work
// Cyclic rotations of a 3 x 3 matrix converge quadratically: a fifth sweep changes no bit of any axis.
constexpr int kSweeps = 4;
// Rounding in float64: of sums, as a share of the greatest eigenvalue, and of weights.
constexpr double kSumRounding = 1e-14;
// A point is on the plane through the centroid if it is as near to it as this share of the greatest coordinate.
template <class T>
constexpr double kOnPlane = sizeof(T) == sizeof(float) ? 1e-6 : 1e-15;

using Lanes = double[kLanes];

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
  Lanes xx{}, xy{}, xz{}, yy{}, yz{}, zz{};
};

// Offsets from points to their neighbours, one row a neighbour.
struct Offsets {
  explicit Offsets(int64_t k) : x(k * kLanes), y(k * kLanes), z(k * kLanes), squared(k * kLanes) {}
  std::vector<double> x, y, z, squared;
};

// An absent neighbour is taken for the point itself, which adds nothing.
template <class T>
void fill(const Cloud<T>& cloud, const Table& neighbours, int64_t first, int count, Offsets& offsets) {
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t point = first + std::min(lane, count - 1);
    const Coordinates own = coordinates(cloud.row(point));
    const int64_t* row = neighbours.row(point);
    for (int64_t j = 0; j < neighbours.k; ++j) {
      const Coordinates other = coordinates(cloud.row(row[j] < 0 ? point : row[j]));
      offsets.x[j * kLanes + lane] = other.x - own.x;
      offsets.y[j * kLanes + lane] = other.y - own.y;
      offsets.z[j * kLanes + lane] = other.z - own.z;
    }
  }
}

// Offsets are divided by the greatest distance, so that no product overflows.
[[gnu::always_inline]] inline Matrices moments(Offsets& offsets, int64_t k, bool weighted) {
  double *x = offsets.x.data(), *y = offsets.y.data(), *z = offsets.z.data(), *squared = offsets.squared.data();
  Lanes greatest{}, scale;
  for (int64_t j = 0; j < k * kLanes; j += kLanes)
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int l = 0; l < kLanes; ++l) {
      squared[j + l] = x[j + l] * x[j + l] + y[j + l] * y[j + l] + z[j + l] * z[j + l];
      greatest[l] = greatest[l] < squared[j + l] ? squared[j + l] : greatest[l];
    }
  for (int l = 0; l < kLanes; ++l) scale[l] = greatest[l] > 0 ? 1 / std::sqrt(greatest[l]) : 0;
  Matrices sums;
  // Weights are 1 throughout, or fall with the distance from 1 at the point to 0, exactly, at the farthest neighbour.
  const double start = weighted ? 1 : 0, least = weighted ? 0 : 1;
  for (int64_t j = 0; j < k * kLanes; j += kLanes) {
    const double *row_x = x + j, *row_y = y + j, *row_z = z + j, *row_squared = squared + j;
#pragma GCC ivdep
#pragma GCC unroll 1
    for (int l = 0; l < kLanes; ++l) {
      const double near = start - std::sqrt(row_squared[l]) * scale[l], weight = near > kSumRounding ? near : least;
      const double a = row_x[l] * scale[l], b = row_y[l] * scale[l], c = row_z[l] * scale[l];
      const double wa = weight * a, wb = weight * b, wc = weight * c;
      sums.xx[l] += wa * a;
      sums.xy[l] += wa * b;
      sums.xz[l] += wa * c;
      sums.yy[l] += wb * b;
      sums.yz[l] += wb * c;
      sums.zz[l] += wc * c;
    }
  }
  return sums;
}

// Three orthogonal vectors of one lane each; rows[d] holds coordinate d of all three.
struct Frames {
  Lanes rows[3][3]{};
};

// Makes the element pq of the matrices 0 by a rotation in the plane of p and q; r is the third axis.
[[gnu::always_inline]] inline void rotate(Lanes& pp, Lanes& qq, Lanes& pq, Lanes& pr, Lanes& qr, Frames& frames, int p,
                                          int q) {
  Lanes cosine, sine;
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int l = 0; l < kLanes; ++l) {
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
    for (int l = 0; l < kLanes; ++l) {
      const double old = row[p][l];
      row[p][l] = cosine[l] * old - sine[l] * row[q][l];
      row[q][l] = sine[l] * old + cosine[l] * row[q][l];
    }
}

// Eigenvectors of the smallest eigenvalues; 0 where the two smallest cannot be told apart.
template <class T>
[[gnu::always_inline]] inline void smallest_axes(Matrices& a, Lanes (&axis)[3]) {
  Frames frames;
  for (int d = 0; d < 3; ++d) std::fill_n(frames.rows[d][d], kLanes, 1.0);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    rotate(a.xx, a.yy, a.xy, a.xz, a.yz, frames, 0, 1);
    rotate(a.xx, a.zz, a.xz, a.xy, a.yz, frames, 0, 2);
    rotate(a.yy, a.zz, a.yz, a.xy, a.xz, frames, 1, 2);
  }
  for (int l = 0; l < kLanes; ++l) {
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
double direction(const Coordinates& n, const Coordinates& at, const Centre& centre, double on_plane) {
  const Coordinates& mean = centre.mean;
  const double away = n.x * (at.x - mean.x) + n.y * (at.y - mean.y) + n.z * (at.z - mean.z);
  if (std::abs(away) > on_plane * centre.extent) return away < 0 ? -1 : 1;
  const double y_or_z = std::abs(n.z) > std::abs(n.y) ? n.z : n.y;
  return (std::abs(y_or_z) > std::abs(n.x) ? y_or_z : n.x) < 0 ? -1 : 1;
}

}  // namespace

template <class T>
void local_reference_axis(const Cloud<T>& cloud, const Table& neighbours, bool weighted, std::span<T> axes) {
  if (cloud.size == 0) return;
  const Centre centre = centre_of(cloud);
  parallel_for((cloud.size + kTogether - 1) / kTogether, [&](int64_t piece) {
    Offsets offsets(neighbours.k);
    const int64_t end = std::min(cloud.size, (piece + 1) * kTogether);
    for (int64_t first = piece * kTogether; first < end; first += kLanes) {
      const int count = static_cast<int>(std::min<int64_t>(kLanes, end - first));
      fill(cloud, neighbours, first, count, offsets);
      Lanes axis[3];
      simd::with_widest([&]() __attribute__((always_inline)) {
        Matrices matrices = moments(offsets, neighbours.k, weighted);
        smallest_axes<T>(matrices, axis);
      });
      for (int l = 0; l < count; ++l) {
        const Coordinates n{axis[0][l], axis[1][l], axis[2][l]};
        const double sign = direction(n, coordinates(cloud.row(first + l)), centre, kOnPlane<T>);
        for (int d = 0; d < 3; ++d) axes[(first + l) * 3 + d] = static_cast<T>(sign * axis[d][l] + 0.0);
      }
    }
  });
}

template void local_reference_axis(const Cloud<float>&, const Table&, bool, std::span<float>);
template void local_reference_axis(const Cloud<double>&, const Table&, bool, std::span<double>);

}  // namespace mk::points
