// Images of one size at growing scales, in device memory: what features/scale_space.h is on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/cuda.h"
#include "common/launch.cuh"
#include "features/affine_covariant_cuda.h"
#include "features/scale_space.h"

namespace mk::cuda::affine {

constexpr int kMostOctaves = 32;  // each has half the side of the one before
constexpr int kMostRadius = 63;   // of a blur; an octave of one level has the greatest, 45
constexpr int32_t kSmallestSide = 12;
constexpr double kBlurReach = 4;  // sigmas

struct DeviceOctave {
  float* values;  // [images, planes, height, width]
  int32_t width, height;
  double step;  // pixels of the image from one pixel of the octave to the next

  __host__ __device__ int64_t pixels() const { return int64_t{width} * height; }
};

struct DeviceSpace {
  int images, levels, octave_count;
  DeviceOctave octaves[kMostOctaves];

  __host__ __device__ int planes() const { return levels + 3; }
  __device__ const float* plane(int octave, int image, int level) const {
    const DeviceOctave& from = octaves[octave];
    return from.values + (int64_t{image} * planes() + level) * from.pixels();
  }
};

// One level of all images.
struct Planes {
  float* values;
  int64_t apart;  // from an image to the next
};

inline Planes level_of(const DeviceSpace& space, int octave, int level) {
  const DeviceOctave& from = space.octaves[octave];
  return {from.values + level * from.pixels(), space.planes() * from.pixels()};
}

// Rows of all images, in pieces: a block takes a piece, a thread a pixel.
struct Pieces {
  int32_t width, height;
  uint32_t per_row, count;

  Pieces(int64_t planes, int32_t w, int32_t h)
      : width(w),
        height(h),
        per_row(static_cast<uint32_t>((w + kThreads - 1) / kThreads)),
        count(static_cast<uint32_t>(planes * h * per_row)) {}

  // body(plane, y, x) for the pixels of this block.
  template <class Body>
  __device__ void visit(const Body& body) const {
    for (uint32_t piece = blockIdx.x; piece < count; piece += gridDim.x) {
      const uint32_t row = piece / per_row;
      const int64_t x = int64_t{piece % per_row} * kThreads + threadIdx.x;
      if (x < width)
        body(static_cast<int32_t>(row / height), static_cast<int32_t>(row % height), static_cast<int32_t>(x));
    }
  }
};

// A Gaussian, from its middle outwards.
struct BlurWeights {
  int radius;
  float weights[kMostRadius + 1];

  explicit BlurWeights(double sigma) : weights{} {
    radius = sigma < 1e-3 ? 0 : std::min(kMostRadius, static_cast<int>(std::ceil(kBlurReach * sigma)));
    weights[0] = 1;
    double sum = 1;
    for (int k = 1; k <= radius; ++k) {
      const double weight = std::exp(-0.5 * k * k / (sigma * sigma));
      weights[k] = static_cast<float>(weight);
      sum += 2 * weight;
    }
    const float scale = static_cast<float>(1 / sum);
    for (int k = 0; k <= radius; ++k) weights[k] *= scale;
  }
};

// One channel of float, as large as the image; images with values that are not finite, or too large, are marked.
template <class T>
__global__ void __launch_bounds__(kThreads)
    to_grey(const DeviceImage* images, Pieces pieces, double scale, Planes out, int* bad) {
  pieces.visit([=](int32_t image, int32_t y, int32_t x) {
    const T* const values = static_cast<const T*>(images[image].values);
    const int64_t at = int64_t{y} * pieces.width + x;
    double value;
    if (images[image].channels == 3)
      value = (static_cast<double>(values[3 * at]) + static_cast<double>(values[3 * at + 1]) +
               static_cast<double>(values[3 * at + 2])) /
              3;
    else
      value = static_cast<double>(values[at]);
    const float grey = static_cast<float>(value * scale);
    out.values[image * out.apart + at] = grey;
    if (!(fabsf(grey) <= features::kMostGrey)) atomicExch(bad + image, 1);
  });
}

// Twice the size: pixels between two are their mean; the last row and column are repeated.
__global__ void __launch_bounds__(kThreads) double_size(Pieces pieces, Planes in, Planes out) {
  pieces.visit([=](int32_t image, int32_t y, int32_t x) {
    const int32_t width = pieces.width / 2, height = pieces.height / 2;
    const float* const from = in.values + image * in.apart;
    const float* const top = from + int64_t{y / 2} * width;
    const float* const low = from + int64_t{min((y + 1) / 2, height - 1)} * width;
    const int32_t left = x / 2, right = min(left + 1, width - 1);
    const float value =
        x % 2 == 0 ? 0.5f * (top[left] + low[left]) : 0.25f * (top[left] + top[right] + low[left] + low[right]);
    out.values[image * out.apart + int64_t{y} * pieces.width + x] = value;
  });
}

// Every second pixel of every second row of images `wide` pixels wide.
__global__ void __launch_bounds__(kThreads) halve_size(Pieces pieces, int32_t wide, Planes in, Planes out) {
  pieces.visit([=](int32_t image, int32_t y, int32_t x) {
    out.values[image * out.apart + int64_t{y} * pieces.width + x] =
        in.values[image * in.apart + int64_t{2 * y} * wide + 2 * x];
  });
}

// Products are added one by one from the first on, as on the CPU. Pixels beyond the rim are those on it.
__global__ void __launch_bounds__(kThreads) blur_down(Pieces pieces, BlurWeights blur, Planes in, Planes out) {
  pieces.visit([&](int32_t image, int32_t y, int32_t x) {
    const float* const column = in.values + image * in.apart + x;
    float sum = 0;
    for (int k = -blur.radius; k <= blur.radius; ++k) {
      const int32_t row = min(max(y + k, 0), pieces.height - 1);
      sum = fmaf(blur.weights[k < 0 ? -k : k], column[int64_t{row} * pieces.width], sum);
    }
    out.values[image * out.apart + int64_t{y} * pieces.width + x] = sum;
  });
}

__global__ void __launch_bounds__(kThreads) blur_across(Pieces pieces, BlurWeights blur, Planes in, Planes out) {
  pieces.visit([&](int32_t image, int32_t y, int32_t x) {
    const float* const row = in.values + image * in.apart + int64_t{y} * pieces.width;
    float sum = 0;
    for (int k = -blur.radius; k <= blur.radius; ++k)
      sum = fmaf(blur.weights[k < 0 ? -k : k], row[min(max(x + k, 0), pieces.width - 1)], sum);
    out.values[image * out.apart + int64_t{y} * pieces.width + x] = sum;
  });
}

// As many blocks as there is work for; their loops take what is beyond.
inline unsigned grid_of(int64_t count) { return static_cast<unsigned>(std::clamp<int64_t>(count, 1, 1 << 30)); }

class Blurrer {
 public:
  Blurrer(int images, float* between, cudaStream_t stream) : images_(images), between_(between), stream_(stream) {}

  void run(const DeviceOctave& octave, Planes in, Planes out, double sigma) const {
    const Pieces pieces(images_, octave.width, octave.height);
    const BlurWeights weights(sigma);
    const Planes between{between_, octave.pixels()};
    blur_down<<<grid_of(pieces.count), kThreads, 0, stream_>>>(pieces, weights, in, between);
    launched("starting a blur");
    blur_across<<<grid_of(pieces.count), kThreads, 0, stream_>>>(pieces, weights, between, out);
    launched("starting a blur");
  }

 private:
  int images_;
  float* between_;
  cudaStream_t stream_;
};

// Sizes of the octaves; without memory yet.
inline DeviceSpace plan_space(int images, int32_t width, int32_t height, int levels, bool doubled) {
  DeviceSpace space{images, levels, 0, {}};
  DeviceOctave next{nullptr, doubled ? 2 * width : width, doubled ? 2 * height : height, doubled ? 0.5 : 1.0};
  do {
    space.octaves[space.octave_count++] = next;
    next = {nullptr, next.width / 2, next.height / 2, 2 * next.step};
  } while (std::min(next.width, next.height) >= kSmallestSide && space.octave_count < kMostOctaves);
  return space;
}

// Fills the octaves from images that lie in `grey`, which may be one of the levels after the first of octave 0. With
// `doubled`, `wide` is another such level.
inline void fill_space(const DeviceSpace& space, Planes grey, Planes wide, bool doubled, float* between,
                       cudaStream_t stream) {
  const auto missing = [](double wanted, double there) {
    return std::sqrt(std::max(0.0, wanted * wanted - there * there));
  };
  const Blurrer blurrer(space.images, between, stream);
  const DeviceOctave& first = space.octaves[0];
  if (doubled) {
    const Pieces pieces(space.images, first.width, first.height);
    double_size<<<grid_of(pieces.count), kThreads, 0, stream>>>(pieces, grey, wide);
    launched("starting to double images");
  }
  blurrer.run(first, doubled ? wide : grey, level_of(space, 0, 0),
              missing(features::kBaseSigma, features::kInputSigma / first.step));
  for (int o = 0; o < space.octave_count; ++o) {
    const DeviceOctave& octave = space.octaves[o];
    if (o > 0) {
      const Pieces pieces(space.images, octave.width, octave.height);
      halve_size<<<grid_of(pieces.count), kThreads, 0, stream>>>(
          pieces, space.octaves[o - 1].width, level_of(space, o - 1, space.levels), level_of(space, o, 0));
      launched("starting to halve images");
    }
    for (int s = 1; s < space.planes(); ++s) {
      const double before = features::kBaseSigma * std::exp2((s - 1.0) / space.levels);
      blurrer.run(octave, level_of(space, o, s - 1), level_of(space, o, s),
                  missing(before * std::exp2(1.0 / space.levels), before));
    }
  }
}

}  // namespace mk::cuda::affine
