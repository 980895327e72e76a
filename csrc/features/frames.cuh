// Affine adaptation on a CUDA device: a team of threads a disc. The method is that of features/frames.cpp.
#pragma once

#include "features/patches.cuh"

namespace mk::cuda::affine {

constexpr int kIterations = 15;
constexpr double kConverged = 1.001;  // ratio of the second moments
constexpr int kShapeSide = 41;
constexpr double kShapeStep = 18.0 / 40;
constexpr float kShapeWindow = 3;  // sigma of the window, in which gradients count

struct DeviceBlob {
  double x, y, sigma;
  float response;
  int32_t image;
};

// The ellipse of a matrix; the turn of the disc within it is lost.
__device__ inline DeviceEllipse ellipse_of(const Matrix& f, double x, double y) {
  const Symmetric s(f.a * f.a + f.b * f.b, f.a * f.c + f.b * f.d, f.c * f.c + f.d * f.d);
  return {s.cos, s.sin, sqrt(s.greater), sqrt(s.less), x, y};
}

// Second moments xx, xy, yy of the gradient of the patch, in thread 0. `window` weighs rows and columns.
__device__ inline void second_moments(const float* patch, const float* window, double (*parts)[kWarps],
                                      double (&moments)[3]) {
  constexpr int inner = kShapeSide - 2;
  float xx = 0, xy = 0, yy = 0;
  for (int t = static_cast<int>(threadIdx.x); t < inner * inner; t += kTeam) {
    const int i = 1 + t / inner, j = 1 + t % inner;
    const float* const at = patch + i * kShapeSide + j;
    const float x = at[1] - at[-1], y = at[kShapeSide] - at[-kShapeSide], weight = window[i] * window[j];
    xx = fmaf(weight * x, x, xx);
    xy = fmaf(weight * x, y, xy);
    yy = fmaf(weight * y, y, yy);
  }
  moments[0] = team_sum(static_cast<double>(xx), parts[0]);
  moments[1] = team_sum(static_cast<double>(xy), parts[1]);
  moments[2] = team_sum(static_cast<double>(yy), parts[2]);
}

// The matrix to go on with: directions in which the gradient is strong become short. False where it is alike in all.
__device__ inline bool sharpen(const DeviceEllipse& ellipse, const double (&m)[3], Matrix& shape) {
  const Symmetric moments(m[0], m[1], m[2]);
  if (!(moments.less > 0) || moments.greater < kConverged * moments.less) return false;
  const Matrix f = matrix_of(ellipse);
  const double longer = sqrt(moments.greater / moments.less);
  shape = {f.a * moments.cos + f.b * moments.sin, longer * (f.b * moments.cos - f.a * moments.sin),
           f.c * moments.cos + f.d * moments.sin, longer * (f.d * moments.cos - f.c * moments.sin)};
  return true;
}

// The ellipse of each blob, a disc unless `adapted`.
__global__ void __launch_bounds__(kTeam, kTeamsAtOnce)
    adapt_blobs(DeviceSpace space, const DeviceBlob* blobs, int64_t count, bool adapted, DeviceEllipse* ellipses) {
  __shared__ PatchMemory memory;
  __shared__ float window[kShapeSide];
  __shared__ double parts[3][kWarps];
  __shared__ bool round_enough, going_on;
  __shared__ Matrix shape;  // of thread 0, as is memory.ellipse between patches
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kShapeSide; i += kTeam) {
    const float from_middle = static_cast<float>((i - kShapeSide / 2) * kShapeStep);
    window[i] = expf(-from_middle * from_middle / (2 * kShapeWindow * kShapeWindow));
  }
  for (int64_t k = blockIdx.x; k < count; k += gridDim.x) {
    const DeviceBlob blob = blobs[k];
    if (thread == 0) {
      memory.ellipse = {1, 0, blob.sigma, blob.sigma, blob.x, blob.y};
      shape = {blob.sigma, 0, 0, blob.sigma};
    }
    for (int iteration = 0; adapted && iteration < kIterations; ++iteration) {
      if (thread == 0) {
        DeviceEllipse next = ellipse_of(shape, blob.x, blob.y);
        round_enough = next.major <= kFlattest * next.minor;
        if (round_enough) {
          const double scale = blob.sigma / sqrt(next.major * next.minor);
          next.major *= scale;
          next.minor *= scale;
          memory.ellipse = next;
        }
      }
      __syncthreads();
      if (!round_enough) break;
      sample_patch<kShapeSide>(space, blob.image, kShapeStep, memory);
      double moments[3];
      second_moments(memory.patch, window, parts, moments);
      if (thread == 0) going_on = sharpen(memory.ellipse, moments, shape);
      __syncthreads();
      if (!going_on) break;
    }
    if (thread == 0) ellipses[k] = memory.ellipse;
    __syncthreads();  // until all have read what is set anew
  }
}

}  // namespace mk::cuda::affine
