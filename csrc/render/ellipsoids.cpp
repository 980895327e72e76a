#include "render/ellipsoids.h"

#include <array>
#include <cmath>
#include <sstream>
#include <vector>

#include "common/parallel.h"
#include "render/check.h"

namespace mk::render {

namespace {

using Vec3 = std::array<double, 3>;
using Mat3 = std::array<Vec3, 3>;

struct Quaternion {
  double w, x, y, z, norm;  // unit, and the length it had
};

template <class T>
Quaternion unit_quaternion(const T* q) {
  const double norm = std::hypot(std::hypot(double(q[0]), double(q[1])), std::hypot(double(q[2]), double(q[3])));
  return {q[0] / norm, q[1] / norm, q[2] / norm, q[3] / norm, norm};
}

// Columns are the ellipsoid's own axes.
Mat3 rotation(const Quaternion& q) {
  const auto [w, x, y, z, norm] = q;
  return {{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
           {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
           {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}};
}

// Written with the covariance S = R diag(axes^2) R', whose entries are sums of positive terms on the diagonal,
// so that elongated ellipsoids lose no digits.
Quadric quadric(const Vec3& c, const Vec3& axes, const Mat3& r) {
  Mat3 m{}, s{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 3; ++k) {
        m[i][j] += r[i][k] * r[j][k] / (axes[k] * axes[k]);
        s[i][j] += r[i][k] * r[j][k] * axes[k] * axes[k];
      }
    }
  }
  const double volume = axes[0] * axes[1] * axes[2];
  return {.cx = c[0],
          .cy = c[1],
          .cz = c[2],
          .kx = m[0][0],
          .ky = s[2][2] / (volume * m[0][0]) / volume,
          .kz = 1.0 / s[2][2],
          .txy = m[0][1] / m[0][0],
          .txz = m[0][2] / m[0][0],
          .tyz = -s[1][2] / s[2][2]};
}

template <class T>
Vec3 triple(std::span<const T> values, int64_t n) {
  return {values[3 * n], values[3 * n + 1], values[3 * n + 2]};
}

template <class T>
Scene<T> scene_of(const Ellipsoids<T>& in) {
  check_common(in.centers, in.axes, in.colors, in.opacity, in.background);
  check_finite(in.rotations, "rotations");
  Scene<T> scene{in.batch, in.count,  in.channels, in.depth,      in.height, in.width,
                 {},       in.colors, in.opacity,  in.background, in.look};
  for (int64_t n = 0; n < in.batch * in.count; ++n) {
    if (unit_quaternion(&in.rotations[4 * n]).norm > 0) continue;
    std::ostringstream message;
    message << "rotations must be quaternions of non-zero length, but number " << n << " is all zeros";
    throw std::invalid_argument(message.str());
  }
  scene.quadrics.resize(in.batch * in.count);
  parallel_blocks(in.batch * in.count, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Mat3 r = rotation(unit_quaternion(&in.rotations[4 * n]));
      scene.quadrics[n] = quadric(triple(in.centers, n), triple(in.axes, n), r);
    }
  });
  return scene;
}

// dL/d(w, x, y, z) of the unit quaternion from dL/dR.
std::array<double, 4> pull_back(const Quaternion& q, const Mat3& g) {
  const auto [w, x, y, z, norm] = q;
  return {
      2 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1])),
      2 * (w * (g[2][1] - g[1][2]) + y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0])) - 4 * x * (g[1][1] + g[2][2]),
      2 * (w * (g[0][2] - g[2][0]) + x * (g[0][1] + g[1][0]) + z * (g[1][2] + g[2][1])) - 4 * y * (g[0][0] + g[2][2]),
      2 * (w * (g[1][0] - g[0][1]) + x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1])) - 4 * z * (g[0][0] + g[1][1])};
}

}  // namespace

template <class T>
void draw_ellipsoids(const Ellipsoids<T>& in, std::span<T> volume) {
  draw(scene_of(in), volume);
}

template <class T>
void differentiate_ellipsoids(const Ellipsoids<T>& in, std::span<const T> grad_volume,
                              const EllipsoidsGradient<T>& out) {
  const Scene<T> scene = scene_of(in);
  std::vector<Moments> moments(scene.quadrics.size());
  differentiate(scene, grad_volume, std::span(moments), out.colors, out.opacity, out.background);
  parallel_blocks(in.batch * in.count, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Moments& mom = moments[n];
      const Quaternion q = unit_quaternion(&in.rotations[4 * n]);
      const Mat3 r = rotation(q);
      const Vec3 axes = triple(in.axes, n);
      const Vec3 first{mom.x, mom.y, mom.z};
      const Mat3 second{{{mom.xx, mom.xy, mom.xz}, {mom.xy, mom.yy, mom.yz}, {mom.xz, mom.yz, mom.zz}}};
      Vec3 grad_center{};
      Mat3 grad_rotation{};
      for (int k = 0; k < 3; ++k) {
        const double inverse2 = 1.0 / (axes[k] * axes[k]);
        double along = 0, along2 = 0;  // first and second moment along the ellipsoid's own axis k
        for (int i = 0; i < 3; ++i) {
          along += r[i][k] * first[i];
          for (int j = 0; j < 3; ++j) {
            grad_rotation[i][k] += 2 * inverse2 * second[i][j] * r[j][k];
            along2 += r[i][k] * second[i][j] * r[j][k];
          }
        }
        for (int i = 0; i < 3; ++i) grad_center[i] -= 2 * inverse2 * along * r[i][k];
        out.axes[3 * n + k] = static_cast<T>(-2 * along2 * inverse2 / axes[k]);
      }
      for (int i = 0; i < 3; ++i) out.centers[3 * n + i] = static_cast<T>(grad_center[i]);
      const std::array<double, 4> g = pull_back(q, grad_rotation), unit{q.w, q.x, q.y, q.z};
      const double radial = g[0] * q.w + g[1] * q.x + g[2] * q.y + g[3] * q.z;
      for (int i = 0; i < 4; ++i) out.rotations[4 * n + i] = static_cast<T>((g[i] - radial * unit[i]) / q.norm);
    }
  });
}

template void draw_ellipsoids<float>(const Ellipsoids<float>&, std::span<float>);
template void draw_ellipsoids<double>(const Ellipsoids<double>&, std::span<double>);
template void differentiate_ellipsoids<float>(const Ellipsoids<float>&, std::span<const float>,
                                              const EllipsoidsGradient<float>&);
template void differentiate_ellipsoids<double>(const Ellipsoids<double>&, std::span<const double>,
                                               const EllipsoidsGradient<double>&);

}  // namespace mk::render
