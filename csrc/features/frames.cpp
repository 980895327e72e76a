#include "features/frames.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "features/patch_loops.h"

namespace mk::features {

namespace {

constexpr int kIterations = 15;
constexpr double kConverged = 1.001;  // ratio of the second moments
constexpr double kFlattest = 5;       // ratio of the axes past which adaptation has gone astray
constexpr double kShapeStep = 18.0 / (kShapeSide - 1);
constexpr double kShapeWindow = 3;  // sigma of the window, in which gradients count

constexpr double kReach = 3;      // sigmas that the blur of patches reaches
constexpr double kDensest = 1.5;  // samples are at most this many sigmas of the level apart
constexpr int kGroup = 16;        // floats of a cache line, which rows of samples fill

// Singular vectors of symmetric [a b; b c]: (cos, sin) of the greater singular value, and both values.
struct Symmetric {
  double cos, sin, greater, less;

  Symmetric(double a, double b, double c) {
    const double mean = (a + c) / 2, half = (a - c) / 2, radius = std::sqrt(half * half + b * b);
    greater = mean + radius;
    less = greater > 0 ? std::max(0.0, a * c - b * b) / greater : 0.0;
    // Half the angle of (half, b), from the greater of its sine and cosine.
    cos = 1;
    sin = 0;
    if (!(radius > 0)) return;
    const double larger = std::sqrt((1 + std::abs(half) / radius) / 2), smaller = std::abs(b) / (2 * radius * larger);
    cos = half >= 0 ? larger : smaller;
    sin = std::copysign(half >= 0 ? smaller : larger, b);
  }
};

std::vector<float> shape_window() {
  std::vector<float> weights(kShapeSide * kPatchRow);
  const auto coordinate = [](int i) { return (i - kShapeSide / 2) * kShapeStep; };
  for (int i = 1; i + 1 < kShapeSide; ++i) {
    for (int j = 1; j + 1 < kShapeSide; ++j) {
      const double squared = coordinate(i) * coordinate(i) + coordinate(j) * coordinate(j);
      weights[i * kPatchRow + j] = static_cast<float>(std::exp(-squared / (2 * kShapeWindow * kShapeWindow)));
    }
  }
  return weights;
}

// Second moments of the gradient of the patch around an ellipse.
Symmetric second_moments(const Ellipse& ellipse, PatchSampler& sampler) {
  static const std::vector<float> weights = shape_window();
  std::array<float, 3> sums;
  patch_loops().moments(sampler.sample(ellipse, kShapeSide, kShapeStep), weights.data(), sums.data());
  return {sums[0], sums[1], sums[2]};
}

}  // namespace

Ellipse ellipse_of(const Frame& f) {
  const Symmetric s(f.a * f.a + f.b * f.b, f.a * f.c + f.b * f.d, f.c * f.c + f.d * f.d);
  return {s.cos, s.sin, std::sqrt(s.greater), std::sqrt(s.less), f.x, f.y};
}

void PatchSampler::Axis::set(double new_length, double new_level_sigma, double new_step) {
  if (length == new_length && level_sigma == new_level_sigma && step == new_step) return;
  length = new_length;
  level_sigma = new_level_sigma;
  step = new_step;
  dense = std::max(1, static_cast<int>(std::ceil(step * length / (kDensest * level_sigma))));
  const double there = level_sigma / length;
  gaussian(std::sqrt(std::max(0.0, 1 - there * there)) * dense / step, kReach, weights);
  margin = static_cast<int>(weights.size()) / 2;
}

float* PatchSampler::Scratch::at_least(size_t wanted) {
  if (size < wanted) {
    floats = make_buffer(wanted);
    std::fill_n(floats.get(), wanted, 0.0f);
    size = wanted;
  }
  return floats.get();
}

const float* PatchSampler::sample(const Ellipse& ellipse, int side, double step) {
  // The blurriest level that is not more blurred than the patch is to be along its minor axis.
  const double finest = space_->sigma(0, 0);
  const double doublings = std::max(0.0, std::log2(ellipse.minor / finest) + 1e-9);
  const size_t octave = std::min(static_cast<size_t>(doublings), space_->octaves.size() - 1);
  const int level =
      std::min(static_cast<int>((doublings - static_cast<double>(octave)) * space_->levels), space_->levels);
  const Octave& from = space_->octaves[octave];
  const double sigma = space_->sigma(octave, level);
  across_.set(ellipse.major, sigma, step);
  down_.set(ellipse.minor, sigma, step);

  // Samples come in planes side by side, each of every dense-th column, so that those of one sum lie as far apart.
  const int taps = static_cast<int>(across_.weights.size()), taps_down = static_cast<int>(down_.weights.size());
  const int columns = side + (taps - 1) / across_.dense, rows = (side - 1) * down_.dense + taps_down;
  const int plane = (columns + kGroup - 1) / kGroup * kGroup, stride = plane * across_.dense;
  float* const samples = samples_.at_least(rows * stride);
  const double half = (side - 1) / 2.0 * step;
  const double du = step / across_.dense, dv = step / down_.dense;
  const double u = -half - across_.margin * du, v = -half - down_.margin * dv;
  const Frame f = ellipse.frame();
  for (int p = 0; p < across_.dense; ++p) {
    const double first = u + p * du;
    const Grid grid{(f.a * first + f.b * v + f.x) / from.step,
                    (f.c * first + f.d * v + f.y) / from.step,
                    static_cast<float>(f.a * step / from.step),
                    static_cast<float>(f.c * step / from.step),
                    static_cast<float>(f.b * dv / from.step),
                    static_cast<float>(f.d * dv / from.step),
                    rows,
                    columns};
    patch_loops().sample(from.level(level), grid, stride, samples + p * plane);
  }

  // Down, in one go over all rows where all are kept, then across.
  const int at_once = down_.dense == 1 ? side : 1;
  float* const blurred = blurred_.at_least(side * stride + kPatchRow);
  rows_.resize(taps_down);
  for (int i = 0; i < side; i += at_once) {
    for (int k = 0; k < taps_down; ++k) rows_[k] = samples + (i * down_.dense + k) * stride;
    pixel_rows().weighted_sum(rows_.data(), down_.weights.data(), taps_down, at_once * stride, blurred + i * stride);
  }
  offsets_.resize(taps);
  for (int k = 0; k < taps; ++k) offsets_[k] = k % across_.dense * plane + k / across_.dense;
  float* const patch = patch_.at_least(side * kPatchRow + kGroup);
  patch_loops().across(blurred, stride, offsets_.data(), across_.weights.data(), taps, side, patch);
  return patch;
}

Ellipse adapt(const Ellipse& disc, PatchSampler& sampler) {
  Ellipse adapted = disc;
  Frame shape = disc.frame();
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    Ellipse next = ellipse_of(shape);
    if (!(next.major <= kFlattest * next.minor)) break;
    const double scale = disc.minor / std::sqrt(next.major * next.minor);
    next.major *= scale;
    next.minor *= scale;
    adapted = next;
    const Symmetric moments = second_moments(adapted, sampler);
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
