#include "features/frames.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace mk::features {

namespace {

constexpr int kIterations = 15;
constexpr double kConverged = 1.001;  // ratio of the second moments
constexpr double kFlattest = 5;       // ratio of the axes past which adaptation has gone astray
constexpr PatchShape kShapePatch{41, 18.0 / 40};
constexpr double kShapeWindow = 3;  // sigma of the window, in which gradients count

constexpr double kReach = 3;      // sigmas that the blur of patches reaches
constexpr double kDensest = 1.5;  // samples are at most this many sigmas of the level apart

// Singular vectors of symmetric [a b; b c]: (cos, sin) of the greater singular value, and both values.
struct Symmetric {
  double cos, sin, greater, less;

  Symmetric(double a, double b, double c) {
    const double mean = (a + c) / 2, half = (a - c) / 2, radius = std::hypot(half, b);
    greater = mean + radius;
    less = greater > 0 ? std::max(0.0, a * c - b * b) / greater : 0.0;
    const double angle = radius > 0 ? std::atan2(b, half) / 2 : 0.0;
    cos = std::cos(angle);
    sin = std::sin(angle);
  }
};

double window(double u, double v, double sigma) { return std::exp(-(u * u + v * v) / (2 * sigma * sigma)); }

std::vector<float> shape_window() {
  constexpr int side = kShapePatch.side;
  std::vector<float> weights(side * side);
  for (int i = 0; i < side * side; ++i)
    weights[i] = static_cast<float>(
        window((i / side - side / 2) * kShapePatch.step, (i % side - side / 2) * kShapePatch.step, kShapeWindow));
  return weights;
}

// Second moments xx, xy, yy of the gradient of a patch.
std::array<double, 3> second_moments(const float* patch) {
  static const std::vector<float> weights = shape_window();
  constexpr int side = kShapePatch.side, inner = side - 2;
  std::array<float, 3 * inner> sums{};
  for (int i = 1; i <= inner; ++i) {
    const float* row = patch + i * side + 1;
    pixel_rows().moments(row - side, row, row + side, weights.data() + i * side + 1, inner, sums.data());
  }
  std::array<double, 3> moments{};
  for (int m = 0; m < 3; ++m) moments[m] = std::accumulate(&sums[m * inner], &sums[m * inner] + inner, 0.0);
  return moments;
}

}  // namespace

Ellipse ellipse_of(const Frame& f) {
  const Symmetric s(f.a * f.a + f.b * f.b, f.a * f.c + f.b * f.d, f.c * f.c + f.d * f.d);
  return {s.cos, s.sin, std::sqrt(s.greater), std::sqrt(s.less), f.x, f.y};
}

void PatchSampler::Axis::set(double length, double level_sigma, double step) {
  dense = std::max(1, static_cast<int>(std::ceil(step * length / (kDensest * level_sigma))));
  const double there = level_sigma / length;
  gaussian(std::sqrt(std::max(0.0, 1 - there * there)) * dense / step, kReach, weights);
  margin = static_cast<int>(weights.size()) / 2;
}

void PatchSampler::blur(const std::vector<float>& weights, const float* in, int64_t stride, int64_t size, float* out) {
  rows_.resize(weights.size());
  for (size_t k = 0; k < weights.size(); ++k) rows_[k] = in + static_cast<int64_t>(k) * stride;
  pixel_rows().weighted_sum(rows_.data(), weights.data(), static_cast<int>(weights.size()), size, out);
}

const float* PatchSampler::sample(const Ellipse& ellipse, const PatchShape& shape) {
  // The blurriest level that is not more blurred than the patch is to be along its minor axis.
  const double finest = space_->sigma(0, 0);
  const double doublings = std::max(0.0, std::log2(ellipse.minor / finest) + 1e-9);
  const size_t octave = std::min(static_cast<size_t>(doublings), space_->octaves.size() - 1);
  const int level =
      std::min(static_cast<int>((doublings - static_cast<double>(octave)) * space_->levels), space_->levels);
  const Octave& from = space_->octaves[octave];
  const double sigma = space_->sigma(octave, level);
  across_.set(ellipse.major, sigma, shape.step);
  down_.set(ellipse.minor, sigma, shape.step);
  const int side = shape.side, width = across_.samples(side), height = down_.samples(side);

  samples_.resize(width * height);
  const double half = (side - 1) / 2.0 * shape.step;
  const double du = shape.step / across_.dense, dv = shape.step / down_.dense;
  const double u = -half - across_.margin * du, v = -half - down_.margin * dv;
  const Frame f = ellipse.frame();
  for (int i = 0; i < height; ++i) {
    const double row = v + i * dv;
    const Ray ray{static_cast<float>((f.a * u + f.b * row + f.x) / from.step),
                  static_cast<float>((f.c * u + f.d * row + f.y) / from.step), static_cast<float>(f.a * du / from.step),
                  static_cast<float>(f.c * du / from.step)};
    pixel_rows().sample(from.level(level), ray, width, samples_.data() + i * width);
  }

  // Down, then across, each in one go over all rows: where a sum runs over the end of a row, nothing is kept.
  const int kept_rows = height - 2 * down_.margin, size = kept_rows * width;
  blurred_.resize(size);
  blur(down_.weights, samples_.data(), width, size, blurred_.data());
  blur(across_.weights, blurred_.data(), 1, size - 2 * across_.margin, samples_.data());
  patch_.resize(side * side);
  for (int i = 0; i < side; ++i) {
    const float* row = samples_.data() + i * down_.dense * width;
    for (int j = 0; j < side; ++j) patch_[i * side + j] = row[j * across_.dense];
  }
  return patch_.data();
}

Ellipse adapt(const Ellipse& disc, PatchSampler& sampler) {
  Ellipse adapted = disc;
  Frame shape = disc.frame();
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    Ellipse next = ellipse_of(shape);
    if (!(next.major <= kFlattest * next.minor)) break;
    const double scale = disc.minor / next.minor;
    next.major *= scale;
    next.minor = disc.minor;
    adapted = next;
    const auto [xx, xy, yy] = second_moments(sampler.sample(adapted, kShapePatch));
    const Symmetric moments(xx, xy, yy);
    if (!(moments.less > 0) || moments.greater < kConverged * moments.less) break;
    // The directions in which the gradient is strong become short: times P Q^(-1/2), Q with a greatest entry of 1.
    const Frame f = adapted.frame();
    const double longer = std::sqrt(moments.greater / moments.less);
    shape = {f.a * moments.cos + f.b * moments.sin,
             longer * (f.b * moments.cos - f.a * moments.sin),
             f.c * moments.cos + f.d * moments.sin,
             longer * (f.d * moments.cos - f.c * moments.sin),
             f.x,
             f.y};
  }
  return adapted;
}

}  // namespace mk::features
