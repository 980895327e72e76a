// Orientations and descriptors of patches on a CUDA device: a team of threads a patch. Sums are those of
// features/sift.cpp, but each entry gathers its samples, so that they are always added in the same order.
#pragma once

#include "features/frames.cuh"

namespace mk::cuda::affine {

constexpr int kPlaces = 4, kDirections = 8;
constexpr float kPlace = 3;  // side of a place
constexpr int kSiftSide = kLargestSide, kInner = kSiftSide - 2;
constexpr float kSiftStep = 0.5f;
constexpr float kSiftWindow = kPlaces / 2.0f * kPlace;
constexpr float kMostOfOne = 0.2f;  // that one entry may have of the length

constexpr int kOrientationBins = 36, kSmoothings = 6, kMostOrientations = 4;
constexpr float kOrientationWindow = 1.5f, kOrientationReach = 4.5f;
constexpr double kPeak = 0.8;

constexpr float kPerRadian = 0.15915494309189535f;

// The turn of the disc within an ellipse.
struct Turn {
  double cos, sin;
};

// One that lays the x-axis along a direction in which many gradients point; or the one that keeps the y-axis upright.
struct DeviceFeature {
  int64_t blob;
  Turn turn;
};

// From the disc to its image, of the turn that keeps the y-axis upright in the image.
__device__ inline Turn upright(const DeviceEllipse& e) {
  // The y-axis (-sin, cos) of the turn is to be mapped to a multiple of (0, 1): it is the inverse image of that.
  const double x = e.sin / e.major, y = e.cos / e.minor, length = hypot(x, y);
  return {y / length, -x / length};
}

// Lengths, weighed by a Gaussian window up to `reach`, and turns (0 to 1, from +x towards -y) of the gradients of the
// patch around memory.ellipse, in memory.work. As sample_patch: between barriers.
__device__ inline void patch_gradients(const DeviceSpace& space, int image, float window_sigma, float reach,
                                       PatchMemory& memory) {
  static_assert(2 * kInner * kInner <= sizeof(PatchMemory::work) / sizeof(float));
  sample_patch<kSiftSide>(space, image, kSiftStep, memory);
  float *const lengths = memory.work, *const turns = lengths + kInner * kInner;
  for (int t = static_cast<int>(threadIdx.x); t < kInner * kInner; t += kTeam) {
    const int i = t / kInner, j = t % kInner;
    const float* const at = memory.patch + (i + 1) * kSiftSide + j + 1;
    const float x = at[1] - at[-1], y = at[-kSiftSide] - at[kSiftSide];
    const float u = static_cast<float>(j - kInner / 2) * kSiftStep, v = static_cast<float>(i - kInner / 2) * kSiftStep;
    const float squared = u * u + v * v;
    const float weight = squared <= reach * reach ? expf(-squared / (2 * window_sigma * window_sigma)) : 0.0f;
    const float turn = atan2f(y, x) * kPerRadian;
    lengths[t] = weight * sqrtf(x * x + y * y);
    turns[t] = turn < 0 ? turn + 1 : turn;
  }
  __syncthreads();
}

// At most four turns of each blob's ellipse, towards the peaks of the histogram of its gradients, and how many.
__global__ void __launch_bounds__(kTeam, kTeamsAtOnce)
    find_orientations(DeviceSpace space, const DeviceBlob* blobs, const DeviceEllipse* ellipses, int64_t count,
                      Turn* turns, int32_t* turn_counts) {
  __shared__ PatchMemory memory;
  __shared__ double bins[2][kOrientationBins];
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t k = blockIdx.x; k < count; k += gridDim.x) {
    if (thread == 0) memory.ellipse = ellipses[k];
    __syncthreads();
    patch_gradients(space, blobs[k].image, kOrientationWindow, kOrientationReach, memory);
    constexpr int within = static_cast<int>(kOrientationReach / kSiftStep), middle = kInner / 2;
    if (thread < kOrientationBins) {
      double sum = 0;
      for (int i = middle - within; i <= middle + within; ++i) {
        for (int j = middle - within; j <= middle + within; ++j) {
          // A bin's middle is half a bin past its begin.
          const double place = memory.work[kInner * kInner + i * kInner + j] * static_cast<double>(kOrientationBins);
          double off = fabs(place - 0.5 - thread);
          off = fmin(off, kOrientationBins - off);
          sum += fmax(0.0, 1 - off) * memory.work[i * kInner + j];
        }
      }
      bins[0][thread] = sum;
    }
    for (int round = 0; round < kSmoothings; ++round) {
      __syncthreads();
      const double* const rough = bins[round % 2];
      if (thread < kOrientationBins)
        bins[(round + 1) % 2][thread] = (rough[(thread + kOrientationBins - 1) % kOrientationBins] + rough[thread] +
                                         rough[(thread + 1) % kOrientationBins]) /
                                        3;
    }
    __syncthreads();
    if (thread == 0) {
      const double* const smooth = bins[kSmoothings % 2];
      double top = 0, heights[kMostOrientations];
      for (int b = 0; b < kOrientationBins; ++b) top = fmax(top, smooth[b]);
      Turn* const best = turns + k * kMostOrientations;
      int found = 0;
      for (int b = 0; b < kOrientationBins; ++b) {
        const double height = smooth[b], before = smooth[(b + kOrientationBins - 1) % kOrientationBins],
                     after = smooth[(b + 1) % kOrientationBins];
        if (!(height > kPeak * top && height > before && height > after)) continue;
        if (found == kMostOrientations && !(height > heights[found - 1])) continue;
        int at = found < kMostOrientations ? found++ : found - 1;
        for (; at > 0 && height > heights[at - 1]; --at) {
          heights[at] = heights[at - 1];
          best[at] = best[at - 1];
        }
        const double off = (before - after) / (2 * (before + after - 2 * height));
        double sin, cos;
        sincospi(2 * (b + 0.5 + off) / kOrientationBins, &sin, &cos);
        heights[at] = height;
        best[at] = {cos, -sin};  // turns go towards -y
      }
      // A flat patch, or one that looks alike from all sides.
      if (found == 0) best[found++] = {1, 0};
      turn_counts[k] = found;
    }
    __syncthreads();  // until all has been read
  }
}

// Frames, descriptors and responses of features; of all blobs, upright, where `features` is null.
__global__ void __launch_bounds__(kTeam, kTeamsAtOnce)
    describe_features(DeviceSpace space, const DeviceBlob* blobs, const DeviceEllipse* ellipses,
                      const DeviceFeature* features, int64_t count, FeatureArrays out) {
  static_assert(kTeam == features::kDescriptorLength && kTeam == kPlaces * kPlaces * kDirections);
  __shared__ PatchMemory memory;
  __shared__ float parts[2][kWarps];
  __shared__ Turn shared_turn;
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t k = blockIdx.x; k < count; k += gridDim.x) {
    const int64_t b = features == nullptr ? k : features[k].blob;
    if (thread == 0) {
      const DeviceEllipse ellipse = ellipses[b];
      const Turn turn = features == nullptr ? upright(ellipse) : features[k].turn;
      const Matrix f = matrix_of(ellipse);
      float* const frame = out.frames + 6 * k;
      frame[0] = static_cast<float>(f.a * turn.cos + f.b * turn.sin);
      // An upright frame has a zero, exactly and not but for rounding.
      frame[1] = features == nullptr ? 0.0f : static_cast<float>(f.b * turn.cos - f.a * turn.sin);
      frame[2] = static_cast<float>(ellipse.x);
      frame[3] = static_cast<float>(f.c * turn.cos + f.d * turn.sin);
      frame[4] = static_cast<float>(f.d * turn.cos - f.c * turn.sin);
      frame[5] = static_cast<float>(ellipse.y);
      out.responses[k] = blobs[b].response;
      memory.ellipse = ellipse;
      shared_turn = turn;
    }
    __syncthreads();
    patch_gradients(space, blobs[b].image, kSiftWindow, 2 * kSiftWindow, memory);

    // A thread an entry: the samples less than a place from the middle of its own, weighed by how near they are.
    const int direction = thread % kDirections, column = thread / kDirections % kPlaces,
              row = thread / kDirections / kPlaces;
    const float cos = static_cast<float>(shared_turn.cos), sin = static_cast<float>(shared_turn.sin);
    const float place_x = (static_cast<float>(column) - (kPlaces - 1) / 2.0f) * kPlace;
    const float place_y = (static_cast<float>(row) - (kPlaces - 1) / 2.0f) * kPlace;
    const float turned = static_cast<float>(-atan2(shared_turn.sin, shared_turn.cos)) * kPerRadian;
    const float reach = kPlace * (fabsf(cos) + fabsf(sin)) / kSiftStep;
    const float middle_j = (cos * place_x - sin * place_y) / kSiftStep + kInner / 2;
    const float middle_i = (sin * place_x + cos * place_y) / kSiftStep + kInner / 2;
    const int first_i = max(0, static_cast<int>(ceilf(middle_i - reach))),
              last_i = min(kInner - 1, static_cast<int>(floorf(middle_i + reach)));
    const int first_j = max(0, static_cast<int>(ceilf(middle_j - reach))),
              last_j = min(kInner - 1, static_cast<int>(floorf(middle_j + reach)));
    const float *const lengths = memory.work, *const turns = lengths + kInner * kInner;
    float entry = 0;
    for (int i = first_i; i <= last_i; ++i) {
      const float v = static_cast<float>(i - kInner / 2) * kSiftStep;
      for (int j = first_j; j <= last_j; ++j) {
        const float u = static_cast<float>(j - kInner / 2) * kSiftStep;
        const float near_x = 1 - fabsf(fmaf(cos, u, sin * v) - place_x) / kPlace;
        const float near_y = 1 - fabsf(fmaf(cos, v, -sin * u) - place_y) / kPlace;
        float off = (turns[i * kInner + j] - turned) * kDirections;
        off = fabsf(off - static_cast<float>(direction));
        off = off >= kDirections ? off - kDirections : off;
        const float near_direction = 1 - fminf(off, kDirections - off);
        if (near_x > 0 && near_y > 0 && near_direction > 0)
          entry = fmaf(lengths[i * kInner + j] * near_x * near_y, near_direction, entry);
      }
    }
    const float most = kMostOfOne * sqrtf(team_sum(entry * entry, parts[0]));
    entry = fminf(entry, most);
    const float length = sqrtf(team_sum(entry * entry, parts[1]));
    out.descriptors[k * kTeam + thread] = most > 0 ? entry / length : 0.0f;
    __syncthreads();  // until all has been read
  }
}

}  // namespace mk::cuda::affine
