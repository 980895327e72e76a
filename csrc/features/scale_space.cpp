#include "features/scale_space.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/parallel.h"

namespace mk::features {

namespace {

constexpr double kReach = 4;       // sigmas that a blur reaches
constexpr int32_t kSmallest = 12;  // pixels of the shorter side of an octave

// Rows above and below the image, and pixels left and right of it, repeat its rim.
Buffer blur(const Pixels& image, double sigma) {
  std::vector<float> weights;
  gaussian(sigma, kReach, weights);
  const int count = static_cast<int>(weights.size()), radius = count / 2;
  const int64_t width = image.width, height = image.height;
  Buffer result = make_buffer(width * height);
  constexpr int64_t block = 16;
  parallel_for((height + block - 1) / block, [&](int64_t b) {
    std::vector<const float*> rows(count);
    std::vector<float> wide(width + 2 * radius);
    for (int64_t y = b * block; y < std::min(height, (b + 1) * block); ++y) {
      for (int k = 0; k < count; ++k)
        rows[k] = image.values + std::clamp<int64_t>(y + k - radius, 0, height - 1) * width;
      pixel_rows().weighted_sum(rows.data(), weights.data(), count, width, wide.data() + radius);
      std::fill_n(wide.begin(), radius, wide[radius]);
      std::fill_n(wide.end() - radius, radius, wide[radius + width - 1]);
      for (int k = 0; k < count; ++k) rows[k] = wide.data() + k;
      pixel_rows().weighted_sum(rows.data(), weights.data(), count, width, result.get() + y * width);
    }
  });
  return result;
}

// Twice the size: pixels between two are their mean; the last row and column are repeated.
Buffer doubled_image(const Pixels& image) {
  const int64_t width = image.width, height = image.height;
  Buffer result = make_buffer(4 * width * height);
  parallel_for(2 * height, [&](int64_t y) {
    const float* top = image.values + y / 2 * width;
    const float* low = image.values + std::min((y + 1) / 2, height - 1) * width;
    float* out = result.get() + y * 2 * width;
    for (int64_t x = 0; x < width; ++x) {
      const int64_t next = std::min(x + 1, width - 1);
      out[2 * x] = 0.5f * (top[x] + low[x]);
      out[2 * x + 1] = 0.25f * (top[x] + top[next] + low[x] + low[next]);
    }
  });
  return result;
}

// Every second pixel of every second row.
Buffer halved_image(const Pixels& image) {
  const int64_t width = image.width / 2, height = image.height / 2;
  Buffer result = make_buffer(width * height);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) result[y * width + x] = image.values[2 * y * image.width + 2 * x];
  }
  return result;
}

}  // namespace

void gaussian(double sigma, double reach, std::vector<float>& weights) {
  const int radius = sigma < 1e-3 ? 0 : static_cast<int>(std::ceil(reach * sigma));
  weights.resize(2 * radius + 1);
  weights[radius] = 1;
  double sum = 1;
  for (int k = 1; k <= radius; ++k) {
    const double weight = std::exp(-0.5 * k * k / (sigma * sigma));
    weights[radius - k] = weights[radius + k] = static_cast<float>(weight);
    sum += 2 * weight;
  }
  const float scale = static_cast<float>(1 / sum);
  for (float& weight : weights) weight *= scale;
}

double ScaleSpace::sigma(size_t octave, double level) const {
  return octaves[octave].step * kBaseSigma * std::exp2(level / levels);
}

ScaleSpace scale_space(const Pixels& image, int levels, bool doubled) {
  const auto missing = [](double wanted, double there) {
    return std::sqrt(std::max(0.0, wanted * wanted - there * there));
  };
  ScaleSpace space{levels, {}};
  Octave next{image.width, image.height, 1.0, {}};
  Buffer twice;
  if (doubled) {
    twice = doubled_image(image);
    next = {2 * image.width, 2 * image.height, 0.5, {}};
  }
  const Pixels first{doubled ? twice.get() : image.values, next.width, next.height};
  Buffer base = blur(first, missing(kBaseSigma, kInputSigma / next.step));
  twice.reset();
  for (;;) {
    next.levels.push_back(std::move(base));
    for (int s = 1; s < levels + 3; ++s) {
      const double before = kBaseSigma * std::exp2((s - 1.0) / levels);
      next.levels.push_back(blur(next.level(s - 1), missing(before * std::exp2(1.0 / levels), before)));
    }
    space.octaves.push_back(std::move(next));
    const Octave& last = space.octaves.back();
    if (std::min(last.width, last.height) / 2 < kSmallest) return space;
    base = halved_image(last.level(levels));
    next = {last.width / 2, last.height / 2, 2 * last.step, {}};
  }
}

}  // namespace mk::features
