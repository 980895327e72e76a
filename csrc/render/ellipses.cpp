#include "render/ellipses.h"

#include <cmath>
#include <vector>

#include "common/parallel.h"
#include "render/check.h"

namespace mk::render {

namespace {

Quadric quadric(double cx, double cy, double w, double h, double angle) {
  const double cos = std::cos(angle), sin = std::sin(angle);
  const double kx = cos * cos / (w * w) + sin * sin / (h * h);
  const double mxy = cos * sin * (1.0 / (w * w) - 1.0 / (h * h));
  const double ky = 1.0 / (w * w * sin * sin + h * h * cos * cos);
  return {.cx = cx, .cy = cy, .cz = 0, .kx = kx, .ky = ky, .kz = 0, .txy = mxy / kx, .txz = 0, .tyz = 0};
}

template <class T>
Scene<T> scene_of(const Ellipses<T>& in) {
  check_common(in.centers, in.axes, in.colors, in.opacity, in.background);
  check_finite(in.angles, "angles");
  Scene<T> scene{in.batch,  in.count,   in.channels,   1,      in.height, in.width, {},
                 in.colors, in.opacity, in.background, in.look};
  scene.quadrics.resize(in.batch * in.count);
  parallel_blocks(in.batch * in.count, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      scene.quadrics[n] =
          quadric(in.centers[2 * n], in.centers[2 * n + 1], in.axes[2 * n], in.axes[2 * n + 1], in.angles[n]);
    }
  });
  return scene;
}

}  // namespace

template <class T>
void draw_ellipses(const Ellipses<T>& in, std::span<T> image) {
  draw(scene_of(in), image);
}

template <class T>
void differentiate_ellipses(const Ellipses<T>& in, std::span<const T> grad_image, const EllipsesGradient<T>& out) {
  const Scene<T> scene = scene_of(in);
  std::vector<Moments> moments(scene.quadrics.size());
  differentiate(scene, grad_image, std::span(moments), out.colors, out.opacity, out.background);
  parallel_blocks(in.batch * in.count, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const Moments& m = moments[n];
      const double w = in.axes[2 * n], h = in.axes[2 * n + 1];
      const double cos = std::cos(double(in.angles[n])), sin = std::sin(double(in.angles[n]));
      // First and second moments along the ellipse's own axes.
      const double p = cos * m.x + sin * m.y, q = -sin * m.x + cos * m.y;
      const double pp = cos * cos * m.xx + 2 * cos * sin * m.xy + sin * sin * m.yy;
      const double qq = sin * sin * m.xx - 2 * cos * sin * m.xy + cos * cos * m.yy;
      const double pq = cos * sin * (m.yy - m.xx) + (cos * cos - sin * sin) * m.xy;
      const double gp = -2 * p / (w * w), gq = -2 * q / (h * h);
      out.centers[2 * n] = static_cast<T>(cos * gp - sin * gq);
      out.centers[2 * n + 1] = static_cast<T>(sin * gp + cos * gq);
      out.axes[2 * n] = static_cast<T>(-2 * pp / (w * w * w));
      out.axes[2 * n + 1] = static_cast<T>(-2 * qq / (h * h * h));
      out.angles[n] = static_cast<T>(2 * pq * (1 / (w * w) - 1 / (h * h)));
    }
  });
}

template void draw_ellipses<float>(const Ellipses<float>&, std::span<float>);
template void draw_ellipses<double>(const Ellipses<double>&, std::span<double>);
template void differentiate_ellipses<float>(const Ellipses<float>&, std::span<const float>,
                                            const EllipsesGradient<float>&);
template void differentiate_ellipses<double>(const Ellipses<double>&, std::span<const double>,
                                             const EllipsesGradient<double>&);

}  // namespace mk::render
